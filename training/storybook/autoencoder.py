"""The storybook's autoencoder: 256x256 pictures to 4x32x32 latents, eight times down."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from storybook.render import SIZE_PX
from training.toyworld.autoencoder import Reconstruction, learn_to_reconstruct, random_crops
from training.toyworld.data import Pool
from training.toyworld.text import as_pixels

CROP_PX = 128
BATCH = 4


def build_autoencoder() -> AutoencoderKL:
    """An untrained AutoencoderKL, convolutions only; few channels where pixels are many, since a clip is decoded on a
    processor."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 48, 96, 128),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE_PX,
        mid_block_add_attention=False,
    )


def train_autoencoder(folder: Path, pool: Pool, course: Reconstruction) -> AutoencoderKL:
    """The trained autoencoder with its ``scaling_factor`` set, averaged weights, evaluation mode."""
    torch.manual_seed(0)
    model = build_autoencoder()
    learn_to_reconstruct(
        folder / "autoencoder.pt", model, lambda random: random_crops(pool, random, BATCH, CROP_PX), course
    )
    standardise_latents(model, pool.images[:200])
    return model


@torch.no_grad()
def standardise_latents(model: AutoencoderKL, images: np.ndarray | torch.Tensor) -> None:
    """Give every latent channel a mean of 0 and a standard deviation of 1 over ``images``, by the 1x1 convolutions on
    either side of the latents, which the picture does not notice: noise then hides every channel alike."""
    batches = [as_pixels(images[start : start + 10]).to(model.device) for start in range(0, len(images), 10)]
    means = torch.cat([model.encode(batch).latent_dist.mean for batch in batches])
    spread, centre = means.std((0, 2, 3)), means.mean((0, 2, 3))
    moments, back = model.quant_conv, model.post_quant_conv
    moments.bias.copy_(torch.cat([(moments.bias[:4] - centre) / spread, moments.bias[4:] - 2 * spread.log()]))
    moments.weight[:4] /= spread[:, None, None, None]
    back.bias += (back.weight[:, :, 0, 0] * centre).sum(1)
    back.weight *= spread[None, :, None, None]
    model.register_to_config(scaling_factor=1.0)
