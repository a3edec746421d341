"""A memory plan carried out: the networks of a pipeline where the plan wants them, and pictures decoded in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from model_manager.memory import TILE_PX, MemoryPlan

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, ModelMixin


@contextmanager
def placed(pipeline: DiffusionPipeline, plan: MemoryPlan, device: str) -> Iterator[None]:
    """Keep a pipeline's networks where the plan wants them: all on the device, or each there when it is needed (by
    accelerate's hooks). Afterwards no hook and no tile is left on components that other pipelines share."""
    try:
        if plan.offload:
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.to(device)
        with tiled(pipeline.vae, plan):
            yield
    finally:
        if plan.offload:
            pipeline.remove_all_hooks()
            pipeline.to("cpu", silence_dtype_warnings=True)


@contextmanager
def tiled(vae: ModelMixin, plan: MemoryPlan) -> Iterator[None]:
    """Let an autoencoder that can decode in tiles where the plan wants them. Their size is set also where none are
    wanted: decoding falls back on tiles where memory runs out."""
    if not hasattr(vae, "use_tiling"):
        yield
        return
    tiling = vae.use_tiling, vae.tile_sample_min_size, vae.tile_latent_min_size
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    vae.use_tiling, vae.tile_sample_min_size, vae.tile_latent_min_size = plan.tile_vae, TILE_PX, TILE_PX // factor
    try:
        yield
    finally:
        vae.use_tiling, vae.tile_sample_min_size, vae.tile_latent_min_size = tiling
