"""Memory of a job on its device: a plan from numbers.

The plan is arithmetic. How many values live at once was counted on the public configurations of the networks
(``python -m benchmarks.bench_activations``); how much more than that a card takes, and what is left free for others,
are rules of thumb. Both are told in benchmarks/NOTES.md. A wrong guess is mended on the way: see ``tighter``. Where
memory is the machine's, too much of it ends the process, so what cannot fit is refused: see ``refuse_beyond``.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from errors import GenerationFailed
from model_manager.networks import networks_of, weights_bytes

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

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
KEPT_BYTES_PER_PIXEL = 14  # of all frames: a source, its control, the pictures one by one and as a video, latents
MAX_CHUNK = 64
SHARED_MEMORY_CHUNK = 8  # more gain nothing on a processor
TILE_PX = 512
# Networks that the values were counted on: channels at the finest level, pixels along a latent's side.
COUNTED_UNET_CHANNELS, COUNTED_DECODER_CHANNELS, COUNTED_SCALE = 320, 128, 8
UNKNOWN_BYTES = 8 * 2**30  # of memory where the system does not say
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Load:
    """Bytes that a job puts on a device: ``weights`` of all its networks; of those, ``step`` of the ones that are
    needed in every step, ``autoencoder`` of that one; ``anchor`` for what is kept of the anchor frame while frames are
    predicted, ``frame`` for predicting one, ``picture`` for decoding one (they always come one by one), ``tile`` for
    decoding one tile of it; ``kept`` of each frame until the end."""

    weights: int
    step: int
    autoencoder: int
    anchor: int
    frame: int
    picture: int
    tile: int
    kept: int = 0

    def together(self, frames: int) -> int:
        """Return what is taken where so many frames are predicted at once, besides the weights."""
        return max(frames * self.frame, self.tile) + frames * self.kept


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
        chunk_size: frames at once where the user has chosen, what fits by default. On a card it is tried as it is; in
            shared memory, where trying may end the process, it is at most what fits.
    """
    usable = free_bytes - RESERVE_BYTES - (frames * load.kept if shared else 0)
    offload = not shared and load.weights + max(load.anchor + load.frame, load.picture) > usable
    in_step, in_decoding = (load.step, load.autoencoder) if offload else (load.weights, load.weights)
    for_frames = usable - in_step - load.anchor
    fitting = int(CHUNK_SHARE * for_frames / load.frame)
    chosen = chunk_size or max(1, min(fitting, SHARED_MEMORY_CHUNK if shared else MAX_CHUNK))
    if shared:
        chosen = max(1, min(chosen, for_frames // load.frame))
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

    def available_bytes(self, networks: Collection[Any]) -> int | None:
        """Return the memory of the machine that is there for such a job, if all others go; None where unknown."""

    def keep_only(self, networks: Collection[Any]) -> None:
        """Let go of all other networks."""


def plan_job(
    loader: NetworkHolder,
    pipeline: DiffusionPipeline,
    *,
    shape: tuple[int, int, int],
    chunk_size: int | None,
    together: bool = False,
) -> MemoryPlan:
    """Return the plan for a job on a loader's device. Before it has to be frugal, networks of other jobs go.

    ``shape`` is frames, width and height in pixels; ``chunk_size`` None takes what fits; ``together``: all frames have
    to be predicted at once. Raises GenerationFailed as ``refuse_beyond`` does.
    """
    frames, *size_px = shape
    load, networks = load_of(pipeline, *size_px), networks_of(pipeline.components).values()
    shared = is_shared(loader.device)
    if shared:
        refuse_beyond(loader.available_bytes(networks), load, frames, together=together)
    chunk_size = frames if together else chunk_size
    plan = make_plan(load, loader.free_bytes(networks), frames, shared=shared, chunk_size=chunk_size)
    if plan.frugal:
        loader.keep_only(networks)
        plan = make_plan(load, loader.free_bytes(networks), frames, shared=shared, chunk_size=chunk_size)
    if together:
        plan = replace(plan, chunk_size=frames)
    logger.info("%d frames of %dx%d on %s: %s", frames, *size_px, loader.device, plan)
    return plan


def refuse_beyond(available_bytes: int | None, load: Load, frames: int, *, together: bool) -> None:
    """Raise GenerationFailed where a processor's memory cannot hold a job, because trying ends the process.

    Of frames that are predicted in chunks only the weights and what is kept of them count, which no chunk makes less;
    ``available_bytes`` None is unknown, and refuses nothing.
    """
    needed = load.weights + (load.together(frames) if together else frames * load.kept)
    if available_bytes is None or needed <= available_bytes:
        return
    why = "all frames are computed at once, which takes" if together else "this takes"
    raise GenerationFailed(
        f"not enough memory: {why} about {needed / 1e9:.1f} GB, and {available_bytes / 1e9:.1f} GB are free: ask for "
        "fewer frames or a smaller picture"
    )


def load_of(pipeline: DiffusionPipeline, width: int, height: int) -> Load:
    """Return the bytes that a job with one of our pipelines needs for pictures of this size in pixels."""
    sizes = {name: weights_bytes([network]) for name, network in networks_of(pipeline.components).items()}
    growth = pipeline.autoencoder_dtype.itemsize / pipeline.vae.dtype.itemsize
    return activations(
        pipeline.unet.config,
        pipeline.vae.config,
        (width, height),
        bytes_per_value=(pipeline.unet.dtype.itemsize, pipeline.autoencoder_dtype.itemsize),
        weights=(sum(sizes.values()), sizes["unet"] + sizes.get("controlnet", 0), int(sizes["vae"] * growth)),
    )


def activations(
    unet: Mapping[str, Any],
    vae: Mapping[str, Any],
    size_px: tuple[int, int],
    *,
    bytes_per_value: tuple[int, int],
    weights: tuple[int, int, int] = (0, 0, 0),
) -> Load:
    """Return the load of networks with these configurations.

    What was counted on Stable Diffusion grows with the channels at the finest level and, for the UNet, with the latents
    that a picture has.

    Args:
        unet: configuration of the UNet.
        vae: configuration of the autoencoder.
        size_px: width and height of the pictures.
        bytes_per_value: of the UNet and of the autoencoder as it computes.
        weights: of all networks, of those in each step, of the autoencoder.
    """
    pixels, tile = size_px[0] * size_px[1], min(size_px[0], TILE_PX) * min(size_px[1], TILE_PX)
    levels = len(vae.get("block_out_channels") or ()) or 4
    finer = (COUNTED_SCALE / 2 ** (levels - 1)) ** 2
    wide, deep = _channels(unet) / COUNTED_UNET_CHANNELS, _channels(vae) / COUNTED_DECODER_CHANNELS
    in_unet = bytes_per_value[0] * pixels * (wide or 1) * finer
    in_decoder = OVERHEAD * DECODER_VALUES_PER_PIXEL * bytes_per_value[1] * (deep or 1)
    kind = unet.get("addition_embed_type")
    return Load(
        *weights,
        anchor=int(ANCHOR_VALUES_PER_PIXEL.get(kind, max(ANCHOR_VALUES_PER_PIXEL.values())) * in_unet),
        frame=int(OVERHEAD * UNET_VALUES_PER_PIXEL.get(kind, max(UNET_VALUES_PER_PIXEL.values())) * in_unet),
        picture=int(in_decoder * pixels),
        tile=int(in_decoder * tile),
        kept=KEPT_BYTES_PER_PIXEL * pixels,
    )


def _channels(network: Mapping[str, Any]) -> int:
    """A network's channels at its finest level; 0 where its configuration does not say."""
    return (network.get("block_out_channels") or (0,))[0]


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
