"""The toy world's autoencoder: 128x128 pictures to 4x32x32 latents.

Four times down, not eight: on 16x16 latents the layout of a picture drowns in noise before the timesteps at
which motion is written: objects keep colour and shape, and jump from place to place.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn

from toyworld.splits import SIZE_PX
from training.loop import ExponentialAverage, run_steps
from training.toyworld.data import Pool
from training.toyworld.text import as_pixels

CROP_PX = 64


def build_autoencoder() -> AutoencoderKL:
    """An untrained AutoencoderKL, 0.65 million parameters, convolutions only."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE_PX,
        mid_block_add_attention=False,
    )


def random_crops(pool: Pool, random: np.random.Generator, count: int) -> np.ndarray:
    """uint8 (count, CROP_PX, CROP_PX, 3); two in three around something, since empty ground teaches little."""
    crops = np.empty((count, CROP_PX, CROP_PX, 3), np.uint8)
    room = SIZE_PX - CROP_PX
    for slot, index in enumerate(random.integers(len(pool), size=count)):
        top, left = random.integers(0, room + 1, 2)
        if random.random() < 0.67:
            rows, columns = np.nonzero(pool.masks[index])
            pick = random.integers(len(rows))
            cell = SIZE_PX // pool.masks.shape[1]
            shift = random.integers(-CROP_PX // 2, CROP_PX // 2, 2)
            centre = np.array([rows[pick], columns[pick]]) * cell + shift
            top, left = np.clip(centre - CROP_PX // 2, 0, room)
        crops[slot] = pool.images[index, top : top + CROP_PX, left : left + CROP_PX]
    return crops


def psnr(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of each picture of a batch in -1..1."""
    error = ((images.clamp(-1, 1) - others.clamp(-1, 1)) / 2).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp(min=1e-10))


def train_autoencoder(folder: Path, pool: Pool, steps: int, device: str, batch: int = 32) -> AutoencoderKL:
    """The trained autoencoder with its ``scaling_factor`` set, averaged weights, evaluation mode."""
    torch.manual_seed(0)
    model = build_autoencoder().to(device)
    average = ExponentialAverage(model, 0.998)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.05)

    def step(index: int) -> dict[str, float]:
        random = np.random.default_rng([4, index])
        images = as_pixels(random_crops(pool, random, batch)).to(device)
        noise = torch.Generator().manual_seed(index)
        with torch.autocast(device, torch.bfloat16):
            posterior = model.encode(images).latent_dist
            drawn = torch.randn(posterior.mean.shape, generator=noise).to(device)
            latents = posterior.mean + posterior.std * drawn
            decoded = model.decode(latents).sample
        error = decoded.float() - images
        squared, divergence = error.square().mean(), posterior.kl().mean() / latents[0].numel()
        (squared + 0.05 * error.abs().mean() + 1e-5 * divergence).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        average.update(model)
        return {"psnr": psnr(images, decoded.detach().float()).mean().item(), "kl": divergence.item()}

    parts = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule}
    run_steps(folder / "autoencoder.pt", steps, parts, step, device=device)
    average.copy_to(model)
    model.eval()
    with torch.no_grad():
        latents = model.encode(as_pixels(pool.images[:200]).to(device)).latent_dist.mean
    model.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    return model


def fingerprint(model: nn.Module) -> str:
    """A short name for these very weights, so that what was made with others is never taken for theirs."""
    weights = b"".join(value.half().cpu().numpy().tobytes() for value in model.state_dict().values())
    return hashlib.blake2b(weights, digest_size=4).hexdigest()


@torch.no_grad()
def encode_pool(folder: Path, pool: Pool, model: AutoencoderKL, device: str, batch: int = 100) -> np.ndarray:
    """Scaled latents of the whole pool: float16 (n, 4, 32, 32) on disk, made once."""
    path = folder / f"latents-{len(pool)}-{fingerprint(model)}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        shape = (len(pool), 4, *pool.masks.shape[1:])
        latents = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
        for start in range(0, len(pool), batch):
            images = as_pixels(pool.images[start : start + batch]).to(device)
            with torch.autocast(device, torch.bfloat16):
                mean = model.encode(images).latent_dist.mean
            latents[start : start + batch] = (mean * model.config.scaling_factor).float().cpu().numpy()
        latents.flush()
        partial.replace(path)
    return np.load(path, mmap_mode="r")
