"""The toy world's UNet: learns to predict v on latents, first coarse (16x16), then at full size (32x32)."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, DDIMScheduler, SchedulerMixin, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from toyworld.captions import caption
from toyworld.splits import scene_at
from training.loop import ExponentialAverage, Stateful, run_steps, take_step
from training.toyworld.data import MASK_CELLS, Pool
from training.toyworld.text import WIDTH, tokenize

EMPTY_CAPTION_SHARE = 0.12  # classifier-free guidance (Ho & Salimans 2022) needs captions left out in training
OBJECT_WEIGHT = 3.0
OUTLINES = 0.68  # the share of the way to noise where outlines are decided on 32x32 latents


def build_scheduler() -> DDIMScheduler:
    """Build Stable Diffusion's noise schedule with v-prediction (Salimans & Ho 2022)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def with_zero_terminal_snr(scheduler: SchedulerMixin) -> DDIMScheduler:
    """Stretch the schedule until nothing of the picture is left at its last timestep, at which sampling then begins.

    Zero terminal SNR, arXiv 2305.08891, sections 3.1 and 3.3.
    """
    return DDIMScheduler.from_config(scheduler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing")


def build_unet() -> UNet2DConditionModel:
    """Build an untrained UNet of 4.4 million parameters; attention at every level, at the finest on the way up."""
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


def attend_plainly(model: UNet2DConditionModel | ControlNetModel) -> None:
    """Compute attention as two products and a softmax where keys are few.

    There the fused kernel's backward pass on a CPU costs two to six times as much (a step of 32 pictures on two cores:
    0.66 s instead of 0.86 s).
    """
    fused = {name: processor for name, processor in model.attn_processors.items() if is_finest(name)}
    model.set_attn_processor({name: fused.get(name, AttnProcessor()) for name in model.attn_processors})


def is_finest(name: str) -> bool:
    """Return True for the name of a self-attention processor at the finest level."""
    return name.startswith("up_blocks.3.") and ".attn1." in name


def draw_timesteps(
    count: int, training_timesteps: int, generator: torch.Generator, *, centre: float = OUTLINES
) -> torch.Tensor:
    """Timesteps to learn at, int64 (count,): a quarter anywhere, the others around ``centre``, the share of the way to
    noise where outlines are decided; textures are learned soon enough."""
    device = generator.device
    anywhere = torch.rand(count, generator=generator, device=device)
    around = (centre + 0.17 * torch.randn(count, generator=generator, device=device)).clamp(0, 0.999)
    chosen = torch.where(torch.rand(count, generator=generator, device=device) < 0.25, anywhere, around)
    return (chosen * training_timesteps).long()


def cosine(steps: int, floor: float, warmup: int = 200) -> Callable[[int], float]:
    """Return the learning-rate factor by step: linear warm-up, then half a cosine from 1 down to ``floor``."""

    def factor(step: int) -> float:
        decay = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
        return min(1.0, (step + 1) / warmup) * decay

    return factor


@dataclass(frozen=True)
class Course:
    """Options of a course of ``steps`` on the ``device``: the learning rate at its peak, after ``warmup`` steps,
    and as a share of it at the end; ``seed`` decides the data; ``offset_noise`` is the standard deviation of one more
    offset per channel in the noise, ``zero_terminal_snr`` leaves nothing of the picture at the last timestep;
    ``centre`` is the share of the way to noise that is learned most; ``compiled`` with torch.compile; ``deadline`` is
    run_steps'; ``review`` is given the averaged model every ten minutes."""

    steps: int
    learning_rate: float = 1.2e-3
    floor: float = 0.0
    batch: int = 32
    device: str = "cpu"
    seed: int = 5
    offset_noise: float = 0.0
    zero_terminal_snr: bool = False
    centre: float = OUTLINES
    compiled: bool = False
    warmup: int = 200
    deadline: float = math.inf
    review: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class Examples:
    """Some pictures to learn from: ``clean`` scaled latents (n, c, h, w), ``masks`` (n, 1, h, w) in 0..1, where things
    are, ``texts``, or what ``encode_text`` takes for them, and ``picture``, what else the network is shown (n,
    channels, ...), or None."""

    clean: torch.Tensor
    masks: torch.Tensor
    texts: Any
    picture: torch.Tensor | None = None


# A network, noisy latents, timesteps, text states and the picture of Examples, to velocity.
Velocity = Callable[[Any, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def unet_velocity(
    unet: nn.Module, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor, _: torch.Tensor | None
) -> torch.Tensor:
    """Predict with the UNet alone."""
    return unet(noisy, timesteps, states).sample


def learn_velocity(
    path: Path,
    model: nn.Module,
    examples: Callable[[np.random.Generator], Examples],
    encode_text: Callable[[Any], torch.Tensor],
    course: Course,
    velocity: Velocity = unet_velocity,
) -> Any:
    """Train ``model`` to predict v (Salimans & Ho 2022), resuming from ``path``.

    Returns a copy with averaged weights, in evaluation mode.
    """
    device = course.device
    model.to(device)
    average = ExponentialAverage(model, 0.9985)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=course.learning_rate, weight_decay=0.01, betas=(0.9, 0.99), fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(course.steps, course.floor, course.warmup))
    scheduler = with_zero_terminal_snr(build_scheduler()) if course.zero_terminal_snr else build_scheduler()
    running = torch.compile(model, dynamic=False) if course.compiled else model

    def step(index: int) -> dict[str, float]:
        chosen = examples(np.random.default_rng([course.seed, index]))
        clean = chosen.clean.to(device)
        generator = torch.Generator(device).manual_seed(course.seed * 10**9 + index)
        weight = 1 + OBJECT_WEIGHT * functional.max_pool2d(chosen.masks.to(device), 3, stride=1, padding=1)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        if course.offset_noise:
            noise += course.offset_noise * torch.randn((*noise.shape[:2], 1, 1), generator=generator, device=device)
        timesteps = draw_timesteps(len(noise), scheduler.config.num_train_timesteps, generator, centre=course.centre)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        target = scheduler.get_velocity(clean, noise, timesteps)
        picture = None if chosen.picture is None else chosen.picture.to(device)
        with torch.autocast(device, torch.bfloat16):
            with torch.no_grad():
                states = encode_text(chosen.texts)
            predicted = velocity(running, noisy, timesteps, states, picture)
        loss = (weight * (predicted.float() - target).square()).mean()
        loss.backward()
        take_step(model, optimizer, schedule, average)
        return {"loss": loss.item()}

    def averaged() -> Any:
        twin = copy.deepcopy(model)
        average.copy_to(twin)
        return twin.eval()

    parts: dict[str, Stateful] = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule}
    review = course.review
    watch = None if review is None else lambda: review(averaged())
    run_steps(path, course.steps, parts, step, device=device, review=watch, deadline=course.deadline)
    return averaged()


def text_states(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> Callable[[list[str]], torch.Tensor]:
    """Return a function that encodes texts on the encoder's device: (n, tokens, channels)."""
    return lambda texts: text_encoder(tokenize(tokenizer, texts).to(text_encoder.device)).last_hidden_state


def captions_at(numbers: np.ndarray, random: np.random.Generator) -> list[str]:
    """Return a fresh caption for each scene of the pool with these numbers, some of them empty."""
    return [
        "" if random.random() < EMPTY_CAPTION_SHARE else caption(scene_at(int(number)), random) for number in numbers
    ]


def train_denoiser(
    path: Path,
    pool: Pool,
    latents: np.ndarray,
    encode_text: Callable[[list[str]], torch.Tensor],
    course: Course,
    *,
    cells: int = MASK_CELLS,
    start: dict[str, torch.Tensor] | None = None,
) -> UNet2DConditionModel:
    """Train the UNet, resuming from ``path``; return it with averaged weights, in evaluation mode.

    ``cells`` below 32 trains on latents averaged down to that size, four times as fast for half the size.
    ``start`` are weights to begin with.
    """
    torch.manual_seed(0)
    model = build_unet()
    if start is not None:
        model.load_state_dict(start)
    if course.device == "cpu":
        attend_plainly(model)
    ratio = MASK_CELLS // cells

    def examples(random: np.random.Generator) -> Examples:
        chosen = np.sort(random.choice(len(pool), course.batch, replace=False))
        texts = captions_at(chosen, random)
        clean = functional.avg_pool2d(torch.from_numpy(latents[chosen]).float(), ratio)
        masks = functional.max_pool2d(torch.from_numpy(pool.masks[chosen])[:, None].float() / 255, ratio)
        return Examples(clean, masks, texts)

    return learn_velocity(path, model, examples, encode_text, course)
