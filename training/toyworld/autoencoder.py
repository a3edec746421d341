"""The toy world's autoencoder: 128x128 pictures to 4x32x32 latents.

Four times down, not eight: on 16x16 latents the layout of a picture drowns in noise before the timesteps at
which motion is written: objects keep colour and shape, and jump from place to place.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import nn
from torch.nn import functional

from toyworld.splits import SIZE_PX
from training.loop import ExponentialAverage, run_steps, take_step
from training.toyworld.data import Pool
from training.toyworld.text import as_pixels

CROP_PX = 64


def build_autoencoder() -> AutoencoderKL:
    """Build an untrained AutoencoderKL, 0.65 million parameters, convolutions only."""
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


def random_crops(pool: Pool, random: np.random.Generator, count: int, side_px: int = CROP_PX) -> np.ndarray:
    """Cut crops, uint8 (count, side_px, side_px, 3), two in three around a thing: empty ground teaches little."""
    crops = np.empty((count, side_px, side_px, 3), np.uint8)
    room = pool.images.shape[1] - side_px
    cell = pool.images.shape[1] // pool.masks.shape[1]
    for slot, index in enumerate(random.integers(len(pool), size=count)):
        top, left = random.integers(0, room + 1, 2)
        if random.random() < 0.67:
            rows, columns = np.nonzero(pool.masks[index])
            pick = random.integers(len(rows))
            shift = random.integers(-side_px // 2, side_px // 2, 2)
            centre = np.array([rows[pick], columns[pick]]) * cell + shift
            top, left = np.clip(centre - side_px // 2, 0, room)
        crops[slot] = pool.images[index, top : top + side_px, left : left + side_px]
    return crops


def psnr(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the peak signal-to-noise ratio in dB of each picture of a batch in -1..1."""
    error = ((images.clamp(-1, 1) - others.clamp(-1, 1)) / 2).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp(min=1e-10))


@dataclass(frozen=True)
class Reconstruction:
    """Hyperparameters of an autoencoder's training.

    Args:
        steps: optimizer steps.
        device: where it trains.
        learning_rate: at its peak.
        divergence: weight of the KL term.
        mosaic: latents of the first four pictures, averaged to half their size and laid side by side, decode to those
            pictures at half their size, so that an average of latents means an average of pictures (Kouzelis et al.
            2025).
        guided: number of first steps in which the first three latents are drawn to the picture's averaged colours,
            without which a narrow autoencoder may learn brightness alone for long.
        compiled: use torch.compile.
        deadline: as in run_steps.
    """

    steps: int
    device: str = "cpu"
    learning_rate: float = 2e-3
    divergence: float = 1e-5
    mosaic: bool = False
    guided: int = 0
    compiled: bool = False
    deadline: float = math.inf


def as_mosaic(pictures: torch.Tensor) -> torch.Tensor:
    """Average the first four of (n, c, h, w) to half their size and lay them out as one: (1, c, h, w)."""
    return rearrange(functional.avg_pool2d(pictures[:4], 2), "(b r q) c h w -> b c (r h) (q w)", r=2, q=2)


def _forward(
    model: AutoencoderKL, images: torch.Tensor, noise: torch.Tensor, mosaic: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the decoded pictures (with a mosaic of them last), their latents, and the KL term per value."""
    posterior = model.encode(images).latent_dist
    latents = posterior.mean + posterior.std * noise
    shown = torch.cat([latents, as_mosaic(latents)]) if mosaic else latents
    return model.decode(shown).sample, posterior.mean, posterior.kl().mean() / posterior.mean[0].numel()


def learn_to_reconstruct(
    path: Path,
    model: AutoencoderKL,
    crops: Callable[[np.random.Generator], np.ndarray | torch.Tensor],
    course: Reconstruction,
) -> None:
    """Train ``model`` in place on the pictures of ``crops``, uint8 (n, side, side, 3), resuming from ``path``.

    It ends with averaged weights, in evaluation mode.
    """
    model.to(course.device)
    average = ExponentialAverage(model, 0.998)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=course.learning_rate, weight_decay=0.0, betas=(0.9, 0.98), fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, course.learning_rate, total_steps=course.steps, pct_start=0.05
    )
    forward = _forward
    if course.compiled:
        model.to(memory_format=torch.channels_last)
        forward = torch.compile(forward, dynamic=False)

    def step(index: int) -> dict[str, float]:
        images = as_pixels(crops(np.random.default_rng([4, index]))).to(course.device)
        noise = torch.Generator().manual_seed(index)
        size = [side // 2 ** (len(model.config.block_out_channels) - 1) for side in images.shape[2:]]
        drawn = torch.randn((len(images), model.config.latent_channels, *size), generator=noise).to(course.device)
        with torch.autocast(course.device, torch.bfloat16):
            decoded, latents, divergence = forward(model, images, drawn, course.mosaic)
        target = torch.cat([images, as_mosaic(images)]) if course.mosaic else images
        error = decoded.float() - target
        squared = error.square().mean()
        loss = squared + 0.05 * error.abs().mean() + course.divergence * divergence
        if index < course.guided:
            colours = functional.interpolate(images, size=size, mode="area")
            loss = loss + (1 - index / course.guided) * (latents[:, :3].float() - colours).square().mean()
        loss.backward()
        take_step(model, optimizer, schedule, average)
        fidelity = psnr(target, decoded.detach().float())
        seen = {"psnr": fidelity[: len(images)].mean().item(), "kl": divergence.item()}
        return seen | ({"mosaic psnr": fidelity[-1].item()} if course.mosaic else {})

    parts = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule}
    run_steps(path, course.steps, parts, step, device=course.device, deadline=course.deadline)
    average.copy_to(model)
    model.to(memory_format=torch.contiguous_format)
    model.eval()


def set_scaling(model: AutoencoderKL, images: np.ndarray) -> None:
    """Set the ``scaling_factor`` that gives latents of ``images`` a standard deviation of 1."""
    with torch.no_grad():
        latents = model.encode(as_pixels(images).to(model.device)).latent_dist.mean
    model.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))


def train_autoencoder(folder: Path, pool: Pool, steps: int, device: str, batch: int = 32) -> AutoencoderKL:
    """Train the autoencoder; return it with its ``scaling_factor`` set, averaged weights, in evaluation mode."""
    torch.manual_seed(0)
    model = build_autoencoder()
    learn_to_reconstruct(
        folder / "autoencoder.pt",
        model,
        lambda random: random_crops(pool, random, batch),
        Reconstruction(steps, device),
    )
    set_scaling(model, pool.images[:200])
    return model


def fingerprint(model: nn.Module) -> str:
    """Return a short name of these very weights, for files that no other weights may use."""
    weights = b"".join(value.half().cpu().numpy().tobytes() for value in model.state_dict().values())
    return hashlib.blake2b(weights, digest_size=4).hexdigest()


@torch.no_grad()
def encode_pool(folder: Path, pool: Pool, model: AutoencoderKL, device: str, batch: int = 100) -> np.ndarray:
    """Encode the whole pool to scaled latents: float16 (n, 4, 32, 32) on disk, computed once."""
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
