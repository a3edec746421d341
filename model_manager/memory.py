"""How a job fits the memory of its device: a plan from numbers, and the plan carried out.

The plan is arithmetic. How many values live at once was counted on the public configurations of the networks
(``python -m benchmarks.bench_activations``); how much more than that a card takes, and what is left free for others,
are rules of thumb. Both are told in benchmarks/NOTES.md. A wrong guess is mended on the way: see ``tighter``.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
# Counted: values that live at once per pixel of the picture, with guidance, by what the UNet is told besides the text
# (nothing: Stable Diffusion 1.x and 2.x; text and sizes: XL): while one frame is predicted; what is kept of the anchor
# for the chunks that follow; and while one frame is decoded.
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
STATUS = Path("/proc/self/status")
ANONYMOUS, WATCH_EVERY_S = "RssAnon:", 0.01


@dataclass(frozen=True)
class Load:
    """What a job puts on a device, in bytes: ``weights`` of all its networks; of those, ``step`` of the ones that are
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
    """How a job is carried out: frames predicted at once, whether networks wait in main memory until they are needed,
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
        """Whether anything is done that there would be no reason for with memory to spare."""
        return self.offload or self.tile_vae


def make_plan(
    load: Load, free_bytes: int, frames: int, *, shared: bool = False, chunk_size: int | None = None
) -> MemoryPlan:
    """The plan for a job of so many frames.

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
    """What to try after memory ran out: half the frames at once, then networks that take turns, then nothing more."""
    if plan.chunk_size > 1:
        return replace(plan, chunk_size=plan.chunk_size // 2)
    return None if plan.offload or shared else replace(plan, offload=True)


def plan_job(loader: Any, pipeline: Any, size_px: tuple[int, int], frames: int, chunk_size: int | None) -> MemoryPlan:
    """The plan for a job on a loader's device. Before it has to be frugal, what other jobs have left there goes."""
    load, networks, shared = load_of(pipeline, *size_px), networks_of(pipeline).values(), is_shared(loader.device)
    plan = make_plan(load, loader.free_bytes(networks), frames, shared=shared, chunk_size=chunk_size)
    if plan.frugal:
        loader.keep_only(networks)
        plan = make_plan(load, loader.free_bytes(networks), frames, shared=shared, chunk_size=chunk_size)
    logger.info("%d frames of %dx%d on %s: %s", frames, *size_px, loader.device, plan)
    return plan


def load_of(pipeline: Any, width: int, height: int) -> Load:
    """What a job with one of our pipelines needs for pictures of this size in pixels."""
    sizes = {name: weights_bytes([network]) for name, network in networks_of(pipeline).items()}
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


def networks_of(pipeline: Any) -> dict[str, Any]:
    """The networks among a pipeline's parts, by name."""
    return {name: part for name, part in pipeline.components.items() if hasattr(part, "parameters")}


def weights_bytes(networks: Iterable[Any], device: str = "") -> int:
    """The memory that networks take, in bytes, in all or on one kind of device."""
    weights = (weight for network in networks for weight in network.parameters())
    return sum(weight.numel() * weight.element_size() for weight in weights if str(weight.device).startswith(device))


def is_shared(device: str) -> bool:
    """Whether a device has no memory of its own: processors and Apple's graphics."""
    return not device.startswith("cuda")


def free_card_bytes(device: str) -> int:
    """What is free on a graphics card, in bytes, what PyTorch keeps there for later included."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@contextmanager
def placed(pipeline: Any, plan: MemoryPlan, device: str) -> Iterator[None]:
    """Inside, a pipeline's networks are where the plan wants them: all on the device, or each there when it is needed
    (by accelerate's hooks); afterwards no hook and no tile is left on parts that other pipelines share."""
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
def tiled(vae: Any, plan: MemoryPlan) -> Iterator[None]:
    """Inside, an autoencoder that can decodes in tiles where the plan wants them. Their size is set also where none are
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


class PeakMemory:
    """The most that is taken of a device's memory until ``stop``, above what was taken when this was made.

    Of a processor's memory it is what the program has written there itself: pages of libraries and files, which
    whoever comes first reads in for all, are nobody's.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._watched = device.startswith("cpu") and STATUS.exists() and ANONYMOUS in STATUS.read_text()
        self._stopped = threading.Event()
        self._before = self._most = 0
        if device.startswith("cuda"):
            import torch

            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        elif self._watched:
            give_back_heap()
            self._before = anonymous_bytes()
            threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> int | None:
        """The peak in bytes; None where the system does not say: of Apple's graphics, and outside Linux."""
        self._stopped.set()
        if self._device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated(self._device) - self._before)
        return max(0, max(self._most, anonymous_bytes()) - self._before) if self._watched else None

    def _watch(self) -> None:
        while not self._stopped.wait(WATCH_EVERY_S):
            self._most = max(self._most, anonymous_bytes())


def anonymous_bytes() -> int:
    """This process's resident memory that belongs to no file. Linux only."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(ANONYMOUS))
    return int(line.split()[1]) * 1024


def give_back_heap() -> None:
    """Let the system have what the C library keeps of freed memory, where that is GNU's."""
    gc.collect()
    if STATUS.exists():
        with suppress(AttributeError, OSError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
