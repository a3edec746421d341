"""The toy world's UNet: learns to predict v on latents, first coarse (16x16), then at full size (32x32)."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from training.loop import ExponentialAverage, run_steps
from training.toyworld.captions import caption
from training.toyworld.data import MASK_CELLS, Pool, scene_at
from training.toyworld.text import WIDTH, tokenize

EMPTY_CAPTION_SHARE = 0.12  # classifier-free guidance (Ho & Salimans 2022) needs captions left out in training
OBJECT_WEIGHT = 3.0


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule with v-prediction (Salimans & Ho 2022)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def build_unet() -> UNet2DConditionModel:
    """An untrained UNet of 4.4 million parameters; attention at every level, at the finest only on the way up."""
    return UNet2DConditionModel(
        sample_size=MASK_CELLS,
        block_out_channels=(32, 64, 96, 96),
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
        up_block_types=("CrossAttnUpBlock2D",) * 4,
        layers_per_block=1,
        attention_head_dim=(1, 2, 3, 3),  # the number of heads, of 32 channels each (diffusers' historical name)
        cross_attention_dim=WIDTH,
        norm_num_groups=16,
    )


def attend_plainly(model: UNet2DConditionModel) -> None:
    """Attention as two products and a softmax where keys are few: there the fused kernel's backward pass on a CPU costs
    two to six times as much (a step of 32 pictures on two cores: 0.66 s instead of 0.86 s)."""
    fused = {name: processor for name, processor in model.attn_processors.items() if is_finest(name)}
    model.set_attn_processor({name: fused.get(name, AttnProcessor()) for name in model.attn_processors})


def is_finest(name: str) -> bool:
    """Whether a processor is of self-attention at the finest level."""
    return name.startswith("up_blocks.3.") and ".attn1." in name


def draw_timesteps(count: int, training_timesteps: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps to learn at, int64 (count,): a quarter anywhere, the others around two thirds of the way to noise,
    where outlines are decided; textures are learned soon enough."""
    anywhere = torch.rand(count, generator=generator)
    around = (0.68 + 0.17 * torch.randn(count, generator=generator)).clamp(0, 0.999)
    chosen = torch.where(torch.rand(count, generator=generator) < 0.25, anywhere, around)
    return (chosen * training_timesteps).long()


def cosine(steps: int, floor: float, warmup: int = 200):
    """Learning-rate factor: linear warm-up, then half a cosine from 1 down to ``floor``."""

    def factor(step: int) -> float:
        decay = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
        return min(1.0, (step + 1) / warmup) * decay

    return factor


def train_denoiser(
    path: Path,
    pool: Pool,
    latents: np.ndarray,
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    *,
    steps: int,
    cells: int = MASK_CELLS,
    start: dict[str, torch.Tensor] | None = None,
    learning_rate: float = 1.2e-3,
    floor: float = 0.0,
    batch: int = 32,
    device: str = "cpu",
    seed: int = 5,
    review: Callable[[UNet2DConditionModel], None] | None = None,
) -> UNet2DConditionModel:
    """The UNet with averaged weights, in evaluation mode; resumes from ``path``.

    ``cells`` below 32 trains on latents averaged down to that size, four times as fast for half the size.
    ``start`` are weights to begin with; ``review`` is given the averaged model every ten minutes.
    """
    torch.manual_seed(0)
    model = build_unet().to(device)
    if start is not None:
        model.load_state_dict(start)
    if device == "cpu":
        attend_plainly(model)
    average = ExponentialAverage(model, 0.9985)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(steps, floor))
    scheduler = build_scheduler()
    ratio = MASK_CELLS // cells

    def step(index: int) -> dict[str, float]:
        random = np.random.default_rng([seed, index])
        generator = torch.Generator().manual_seed(seed * 10**9 + index)
        chosen = np.sort(random.choice(len(pool), batch, replace=False))
        texts = [
            "" if random.random() < EMPTY_CAPTION_SHARE else caption(scene_at(int(number)), random) for number in chosen
        ]
        clean = functional.avg_pool2d(torch.from_numpy(latents[chosen]).float(), ratio)
        masks = functional.max_pool2d(torch.from_numpy(pool.masks[chosen])[:, None].float() / 255, ratio)
        weight = 1 + OBJECT_WEIGHT * functional.max_pool2d(masks, 3, stride=1, padding=1)
        noise = torch.randn(clean.shape, generator=generator)
        timesteps = draw_timesteps(batch, scheduler.config.num_train_timesteps, generator)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        target = scheduler.get_velocity(clean, noise, timesteps)
        with torch.autocast(device, torch.bfloat16):
            with torch.no_grad():
                states = text_encoder(tokenize(tokenizer, texts).to(device)).last_hidden_state
            predicted = model(noisy.to(device), timesteps.to(device), states).sample
        loss = (weight.to(device) * (predicted.float() - target.to(device)).square()).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        average.update(model)
        return {"loss": loss.item()}

    parts = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule}

    def averaged() -> UNet2DConditionModel:
        copy = build_unet().to(device)
        average.copy_to(copy)
        return copy.eval()

    run_steps(path, steps, parts, step, device=device, review=None if review is None else lambda: review(averaged()))
    return averaged()
