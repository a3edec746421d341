"""Memory of a job on its device: a plan from numbers, and the plan carried out.

The plan is arithmetic. How many values live at once was counted on the public configurations of the networks
(``python -m benchmarks.bench_activations``); how much more than that a card takes, and what is left free for others,
are rules of thumb. Both are told in benchmarks/NOTES.md. A wrong guess is mended on the way: see ``tighter``.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from model_manager.networks import networks_of, weights_bytes

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, ModelMixin

logger = logging.getLogger(__name__)
# Counted: values that live at once per pixel of the picture, with guidance, by the UNet's added conditioning (none:
# Stable Diffusion 1.x and 2.x; pooled text and sizes: XL): while one frame is predicted; kept of the anchor for the
# chunks that follow; and while one frame is decoded.
UNET_VALUES_PER_PIXEL: Mapping[str | None, int] = {None: 260, "text_time": 158}
ANCHOR_VALUES_PER_PIXEL: Mapping[str | None, int] = {None: 176, "text_time": 400}
DECODER_VALUES_PER_PIXEL = 768
# Rules of thumb: what the kernels' workspaces and the allocator's gaps make of that, what is left to others, and the
# share of the rest that frames may take together.
OVERHEAD = 3.0
RESERVE_BYTES = 500_000_000
CHUNK_SHARE = 0.5
MAX_CHUNK = 64
SHARED_MEMORY_CHUNK = 8  # more gain nothing on a processor
TILE_PX = 512
UNKNOWN_BYTES = 8 * 2**30  # of memory where the system does not say
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Load:
    """Bytes that a job puts on a device: ``weights`` of all its networks; of those, ``step`` of the ones that are
    needed in every step, ``autoencoder`` of that one; ``anchor`` for what is kept of the anchor frame while frames are
    predicted, ``frame`` for predicting one, ``picture`` for decoding one (they always come one by one), ``tile`` for
    decoding one tile of it."""

    weights: int
    step: int
    autoencoder: int
    anchor: int
    frame: int
    picture: int
    tile: int


@dataclass(frozen=True)
class MemoryPlan:
    """Measures for a job to fit: frames predicted at once, whether networks wait in main memory until they are needed,
    whether pictures are decoded in tiles. The last alone changes the picture, by a little."""

    chunk_size: int
    offload: bool = False
    tile_vae: bool = False

    def __str__(self) -> str:
        measures = [f"{self.chunk_size} frame{'s' * (self.chunk_size > 1)} at once"]
        measures += ["the parts of the model taking turns on the device"] * self.offload
        measures += ["pictures decoded in tiles"] * self.tile_vae
        return ", ".join(measures)

    @property
    def frugal(self) -> bool:
        """True where anything is done that there would be no reason for with memory to spare."""
        return self.offload or self.tile_vae


def make_plan(
    load: Load, free_bytes: int, frames: int, *, shared: bool = False, chunk_size: int | None = None
) -> MemoryPlan:
    """Return the plan for a job of so many frames.

    Whole pictures are worth more than speed: networks take turns before pictures are decoded in tiles. Where even that
    does not fit, the plan is the most frugal one, and it is tried.

    Args:
        load: what the job needs.
        free_bytes: what it may have, its own weights included.
        shared: the device's memory is the machine's, so that nothing is won by moving weights.
        chunk_size: frames at once where the user has chosen; what fits by default.
    """
    usable = free_bytes - RESERVE_BYTES
    offload = not shared and load.weights + max(load.anchor + load.frame, load.picture) > usable
    in_step, in_decoding = (load.step, load.autoencoder) if offload else (load.weights, load.weights)
    fitting = int(CHUNK_SHARE * (usable - in_step - load.anchor) / load.frame)
    chosen = chunk_size or max(1, min(fitting, SHARED_MEMORY_CHUNK if shared else MAX_CHUNK))
    return MemoryPlan(min(chosen, frames), offload, load.tile < load.picture and load.picture > usable - in_decoding)


def tighter(plan: MemoryPlan, *, shared: bool) -> MemoryPlan | None:
    """Return the plan to try after memory ran out: half the frames at once, then networks taking turns, then None."""
    if plan.chunk_size > 1:
        return replace(plan, chunk_size=plan.chunk_size // 2)
    return None if plan.offload or shared else replace(plan, offload=True)


class NetworkHolder(Protocol):
    """Networks of several jobs on one device, as ``Loader`` keeps them."""

    device: str

    def free_bytes(self, networks: Collection[Any]) -> int:
        """Return the memory that a job with these networks may take."""

    def keep_only(self, networks: Collection[Any]) -> None:
        """Let go of all other networks."""


def plan_job(
    loader: NetworkHolder,
    pipeline: DiffusionPipeline,
    *,
    size_px: tuple[int, int],
    frames: int,
    chunk_size: int | None,
) -> MemoryPlan:
    """Return the plan for a job on a loader's device. Before it has to be frugal, networks of other jobs go.

    ``size_px`` is width and height; ``chunk_size`` None takes what fits.
    """
    load, networks = load_of(pipeline, *size_px), networks_of(pipeline.components).values()
    shared = is_shared(loader.device)
    plan = make_plan(load, loader.free_bytes(networks), frames, shared=shared, chunk_size=chunk_size)
    if plan.frugal:
        loader.keep_only(networks)
        plan = make_plan(load, loader.free_bytes(networks), frames, shared=shared, chunk_size=chunk_size)
    logger.info("%d frames of %dx%d on %s: %s", frames, *size_px, loader.device, plan)
    return plan


def load_of(pipeline: DiffusionPipeline, width: int, height: int) -> Load:
    """Return the bytes that a job with one of our pipelines needs for pictures of this size in pixels."""
    sizes = {name: weights_bytes([network]) for name, network in networks_of(pipeline.components).items()}
    unet, kind = pipeline.unet, pipeline.unet.config.get("addition_embed_type")
    bytes_per_value = unet.dtype.itemsize * width * height
    growth = pipeline.autoencoder_dtype.itemsize / pipeline.vae.dtype.itemsize
    per_pixel = OVERHEAD * DECODER_VALUES_PER_PIXEL * pipeline.autoencoder_dtype.itemsize
    return Load(
        weights=sum(sizes.values()),
        step=sizes["unet"] + sizes.get("controlnet", 0),
        autoencoder=int(sizes["vae"] * growth),
        anchor=ANCHOR_VALUES_PER_PIXEL[kind] * bytes_per_value,
        frame=int(OVERHEAD * UNET_VALUES_PER_PIXEL[kind] * bytes_per_value),
        picture=int(per_pixel * width * height),
        tile=int(per_pixel * min(width, TILE_PX) * min(height, TILE_PX)),
    )


def is_shared(device: str) -> bool:
    """Return whether a device has no memory of its own: processors and Apple's graphics."""
    return not device.startswith("cuda")


def free_card_bytes(device: str) -> int:
    """Return the free bytes of a graphics card, those included that PyTorch keeps there for later."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def device_bytes(device: str) -> int:
    """Return a graphics card's memory, else the machine's or what its container may take, in bytes; 0 where the system
    does not say."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_properties(device).total_memory
    if not hasattr(os, "sysconf"):
        return 0
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CONTAINER_LIMIT.read_text().strip() if CONTAINER_LIMIT.exists() else ""
    return min(machine, int(limit)) if limit.isdecimal() else machine


def give_back_memory(device: str) -> None:
    """Free what nobody holds any more."""
    gc.collect()  # pipelines hold their parts in circles
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


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
