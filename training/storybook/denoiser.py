"""The storybook's UNet: learns to predict v on 4x32x32 latents, most of its work at 16x16 and below."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch.nn import functional

from storybook.captions import caption
from training.storybook.latents import LatentPool
from training.storybook.text import WIDTH
from training.toyworld.data import MASK_CELLS
from training.toyworld.denoiser import EMPTY_CAPTION_SHARE, Course, Examples, learn_velocity


def build_unet() -> UNet2DConditionModel:
    """An untrained UNet of 9.3 million parameters and 1.7 GFLOP; no attention at 32x32, where it would cost most."""
    return UNet2DConditionModel(
        sample_size=MASK_CELLS,
        block_out_channels=(32, 96, 160, 128),
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
        up_block_types=(*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(1, 3, 5, 4),  # the number of heads, of 32 channels each (diffusers' historical name)
        cross_attention_dim=WIDTH,
        norm_num_groups=16,
    )


def train_denoiser(
    path: Path,
    pool: LatentPool,
    encode_text: Callable[[list[str]], torch.Tensor],
    course: Course,
    *,
    cells: int = MASK_CELLS,
    start: dict[str, torch.Tensor] | None = None,
) -> UNet2DConditionModel:
    """The UNet with averaged weights, in evaluation mode; resumes from ``path``. ``cells`` below 32 trains on latents
    averaged down to that size; ``start`` are weights to begin with."""
    torch.manual_seed(0)
    model = build_unet()
    if start is not None:
        model.load_state_dict(start)
    if course.device == "cpu":
        model.set_attn_processor(AttnProcessor())  # see training.toyworld.denoiser.attend_plainly
    ratio = MASK_CELLS // cells

    def examples(random: np.random.Generator) -> Examples:
        chosen = np.sort(random.choice(len(pool), course.batch, replace=False))
        texts = ["" if random.random() < EMPTY_CAPTION_SHARE else caption(pool.scene(n), random) for n in chosen]
        clean = functional.avg_pool2d(torch.from_numpy(pool.latents[chosen]).float(), ratio)
        masks = functional.max_pool2d(torch.from_numpy(pool.masks[chosen])[:, None].float() / 255, ratio)
        return Examples(clean, masks, texts)

    return learn_velocity(path, model, examples, encode_text, course)
