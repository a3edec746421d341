"""The one door to everything that generates: ``Model().generate(settings) -> Clip``.

Lazy: nothing is loaded before the first job. One lock is held around load, run and release, so that jobs of any
number of callers follow one another.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import registry
import video_io
from errors import Cancelled, GenerationFailed, InvalidSettings, ModelUnavailable
from loading import Loader, cached, reachable
from settings import Settings, TextToVideoSettings, check_pixels, to_json
from utils import choose_device, versions

if TYPE_CHECKING:
    import torch

    from pipelines.text_to_video import TextToVideoPipeline

logger = logging.getLogger(__name__)
PREVIEW_FRAMES = 8
SHARED_MEMORY_CHUNK = 8  # frames at once where the device shares the machine's memory (cpu, mps)


@dataclass(frozen=True)
class Progress:
    """How far a job is, and a first look at it.

    ``step`` of ``total`` denoising steps and ``frame`` of ``frames`` within the step are done; ``fraction`` of all
    predictions of a frame; ``seconds`` since the job began and ``seconds_left`` by the pace so far, None before
    there is one. ``preview`` is uint8 (n, h, w, 3), up to eight frames as small as the latents, or None.
    """

    step: int
    total: int
    frame: int
    frames: int
    fraction: float
    seconds: float
    seconds_left: float | None
    preview: np.ndarray | None


@dataclass(frozen=True)
class Clip:
    """A finished video: ``frames`` uint8 (frames, height, width, 3), the settings that make it again (seed, model
    and sizes filled in), the seconds it took, and remarks for the user."""

    frames: np.ndarray
    settings: Settings
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def fps(self) -> int:
        """Playback speed in frames per second."""
        return self.settings.fps  # type: ignore[attr-defined]

    def save(self, path: str | Path) -> Path:
        """Write an ``.mp4`` or ``.gif`` with settings and versions inside; raises ValueError for other suffixes."""
        metadata = {"settings": to_json(self.settings), "versions": json.dumps(versions())}
        return video_io.write_video(Path(path), self.frames, self.fps, metadata)


OnStep = Callable[[Progress], None]


class Model:
    """Makes videos with any checkpoint of the registry; safe to call from many threads."""

    def __init__(self, models: Sequence[str] = (), device: str | None = None, default: str = "auto") -> None:
        """Choose among the built-in models, T2V_MODELS and ``models`` (Hub ids, folders, .safetensors files);
        ``default`` is what "auto" means, by itself the best one at hand. Raises UserError for an absent device."""
        self.rows = registry.models(models)
        self._device_request = device
        self._default_name = default
        self._lock = threading.Lock()
        self._loader: Loader | None = None
        self._default: tuple[registry.ModelRow, str] | None = None
        self._previews: dict[str, np.ndarray] = {}

    @property
    def loader(self) -> Loader:
        """The loader on the chosen device; the choice imports torch, so it waits until it is needed."""
        if self._loader is None:
            self._loader = Loader(choose_device(self._device_request))
        return self._loader

    def default(self) -> tuple[registry.ModelRow, str]:
        """What "auto" is on this machine, and one line that says why."""
        if self._default is None:
            self._default = self._choose_default()
        return self._default

    def _choose_default(self) -> tuple[registry.ModelRow, str]:
        if self._default_name != "auto":
            named = (row for row in self.rows.values() if self._default_name in (row.name, row.source))
            row = next(named, None)
            if row is None:
                raise ModelUnavailable(f"model: {self._default_name} is not in the list")
            return row, "It was named when this program was started."
        toyworld, real = registry.TOYWORLD, registry.STABLE_DIFFUSION
        if not self.loader.device.startswith("cuda"):
            return toyworld, f"There is no CUDA device here; {real.label} would take minutes per video on this machine."
        if cached(real.source) or reachable(real.source):
            return real, "There is a CUDA device, and the weights are in reach."
        return toyworld, f"The weights of {real.label} are neither on this machine nor in reach."

    def row(self, name: str) -> registry.ModelRow:
        """The registry row of this name, or the default for "auto"; raises ModelUnavailable."""
        if name == "auto":
            return self.default()[0]
        if name not in self.rows:
            raise ModelUnavailable(f"model: must be auto or one of {', '.join(self.rows)}")
        return self.rows[name]

    def generate(
        self,
        settings: Settings,
        source: Any = None,
        on_step: OnStep | None = None,
        cancel: threading.Event | None = None,
    ) -> Clip:
        """Make a video.

        Args:
            settings: which mode, and everything it needs.
            source: a control or input video, for modes that take one.
            on_step: told about the progress between chunks and steps, on the calling thread.
            cancel: set it to stop within one step.

        Raises:
            UserError: a child that says what to change.
            Cancelled: after ``cancel``; the model is as it was before.
        """
        if not isinstance(settings, TextToVideoSettings):
            raise TypeError(f"no mode for {type(settings).__name__}")
        if source is not None:
            raise TypeError("text to video takes no source")
        settings = settings.resolved()
        while not self._lock.acquire(timeout=0.2):
            stop_if(cancel)
        try:
            return self._text_to_video(settings, on_step, cancel)
        finally:
            self._lock.release()

    def _text_to_video(
        self, settings: TextToVideoSettings, on_step: OnStep | None, cancel: threading.Event | None
    ) -> Clip:
        import torch

        from pipelines.text_to_video import TextToVideoPipeline

        started = time.monotonic()
        stop_if(cancel)
        row = self.row(settings.model)
        pipeline = TextToVideoPipeline(
            **self.loader.components(row), safety_checker=None, requires_safety_checker=False
        )
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = build_scheduler(settings.scheduler, pipeline.scheduler.config)
        settings = self.complete(settings, row, pipeline)
        notes = list(truncation_notes(pipeline.tokenizer, settings))
        frames: np.ndarray | None = None
        while frames is None:
            reporter = Reporter(on_step, cancel, started, settings, self.preview_matrix(row, pipeline))
            try:
                frames = run(pipeline, settings, reporter)
            except torch.OutOfMemoryError:
                settings = with_half_the_chunk(settings)
                notes.append(f"Memory was short; went on with {settings.chunk_size} frames at once.")
            except FloatingPointError as error:
                raise GenerationFailed(
                    f"{error}: this checkpoint overflows with these settings; try a lower guidance scale, another "
                    "scheduler or its own picture size"
                ) from error
            if frames is None and torch.cuda.is_available():
                torch.cuda.empty_cache()
        return Clip(frames, settings, time.monotonic() - started, tuple(notes))

    def complete(
        self, settings: TextToVideoSettings, row: registry.ModelRow, pipeline: TextToVideoPipeline
    ) -> TextToVideoSettings:
        """Settings with every open value filled in from the checkpoint and the machine; raises InvalidSettings."""
        own_px = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        width, height = settings.width or own_px, settings.height or own_px
        try:
            check_pixels(settings.num_frames, width, height)
        except ValueError as error:
            raise InvalidSettings(str(error)) from None
        chunk = settings.chunk_size or fitting_chunk(self.loader.device, width, height)
        return settings.model_copy(
            update={
                "model": row.name,
                "width": width,
                "height": height,
                "motion_window": settings.motion_window or row.motion_window,
                "chunk_size": min(chunk, settings.num_frames),
            }
        )

    def preview_matrix(self, row: registry.ModelRow, pipeline: TextToVideoPipeline) -> np.ndarray:
        """What turns latents into approximate colours: float32 (channels + 1, 3), fitted once per checkpoint."""
        if row.source not in self._previews:
            self._previews[row.source] = fit_preview(pipeline.vae)
        return self._previews[row.source]


class Reporter:
    """Stands between the pipeline and the caller: stops a cancelled job, reports progress with a preview."""

    def __init__(
        self,
        on_step: OnStep | None,
        cancel: threading.Event | None,
        started: float,
        settings: TextToVideoSettings,
        matrix: np.ndarray,
    ) -> None:
        self.on_step, self.cancel, self.started, self.matrix = on_step, cancel, started, matrix
        self.total, self.frames = settings.num_inference_steps, settings.num_frames
        self.predicted = 0  # frames, over all finished steps; the anchor's first steps are of one frame
        self.began = time.monotonic()

    def __call__(self, step: int, frames_done: int, latents: torch.Tensor) -> None:
        """The pipeline's ``watch``."""
        stop_if(self.cancel)
        if step < self.total and frames_done == len(latents):
            self.predicted += frames_done
            step, frames_done = step + 1, 0
        if self.on_step is None or frames_done < 0:
            return
        if step >= self.total:
            step, frames_done = self.total, 0
        now, done = time.monotonic(), self.predicted + frames_done
        left = (self.total - step) * self.frames - frames_done
        self.on_step(
            Progress(
                step=step,
                total=self.total,
                frame=frames_done,
                frames=self.frames,
                fraction=done / max(1, done + left),
                seconds=now - self.started,
                seconds_left=left * (now - self.began) / done if done else None,
                preview=to_preview(latents, self.matrix) if frames_done == 0 else None,
            )
        )


def run(pipeline: TextToVideoPipeline, settings: TextToVideoSettings, reporter: Reporter) -> np.ndarray:
    """The pipeline under complete settings: uint8 (frames, height, width, 3)."""
    import torch

    frames, _ = pipeline(
        prompt=settings.prompt,
        negative_prompt=settings.negative_prompt or None,
        video_length=settings.num_frames,
        height=settings.height,
        width=settings.width,
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(settings.seed),
        # The pipeline's arguments move the camera, as in diffusers; the settings move what is seen.
        motion_field_strength_x=-settings.motion_field_strength_x,
        motion_field_strength_y=-settings.motion_field_strength_y,
        motion_window=settings.motion_window,
        chunk_size=settings.chunk_size,
        cross_frame_attention=settings.cross_frame_attention,
        motion_field=settings.motion_field,
        output_type="uint8",
        watch=reporter,
        return_dict=False,
    )
    return frames


def stop_if(cancel: threading.Event | None) -> None:
    """Raise Cancelled where the caller has asked to stop."""
    if cancel is not None and cancel.is_set():
        raise Cancelled


def build_scheduler(name: str, config: Any) -> Any:
    """The scheduler of a setting's name, on a checkpoint's own noise schedule."""
    import diffusers

    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "ddim": (diffusers.DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
        "dpm++ 2m": (diffusers.DPMSolverMultistepScheduler, {}),
        "dpm++ 2m karras": (diffusers.DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
        "euler": (diffusers.EulerDiscreteScheduler, {}),
        "unipc": (diffusers.UniPCMultistepScheduler, {}),
        "lcm": (diffusers.LCMScheduler, {}),
    }
    kind, options = kinds[name]
    return kind.from_config(config, **options)


def fitting_chunk(device: str, width: int, height: int) -> int:
    """Frames computed at once by default. On a graphics card, what half of its free memory holds by a rule of
    thumb: 0.35 GB per frame of 512x512 with guidance in half precision; a wrong guess is halved on the way."""
    if not device.startswith("cuda"):
        return SHARED_MEMORY_CHUNK
    import torch

    free_bytes, _ = torch.cuda.mem_get_info(device)
    free_bytes += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    per_frame = 0.35e9 * (width * height) / 512**2
    return max(1, min(64, int(0.5 * free_bytes / per_frame)))


def with_half_the_chunk(settings: TextToVideoSettings) -> TextToVideoSettings:
    """Settings for a second try after memory ran out; raises GenerationFailed where one frame is too much."""
    if settings.chunk_size is None or settings.chunk_size == 1:
        raise GenerationFailed(
            f"out of memory even for one {settings.width}x{settings.height} frame at a time: make the picture smaller"
        )
    return settings.model_copy(update={"chunk_size": settings.chunk_size // 2})


def truncation_notes(tokenizer: Any, settings: TextToVideoSettings):
    """A remark for each text that is longer than the checkpoint reads."""
    limit = tokenizer.model_max_length
    for label, text in (("prompt", settings.prompt), ("negative prompt", settings.negative_prompt)):
        count = len(tokenizer(text, truncation=False, verbose=False).input_ids)
        if count > limit:
            yield f"The {label} is {count} tokens long; this checkpoint reads the first {limit} and ignores the rest."


def fit_preview(autoencoder: Any) -> np.ndarray:
    """A linear map from latents (and a one) to colours, fitted to what the autoencoder makes of flat colours:
    float32 (channels + 1, 3)."""
    import torch

    levels = torch.tensor([-0.9, 0.0, 0.9])
    colours = torch.cartesian_prod(levels, levels, levels)
    pictures = colours[:, :, None, None].expand(-1, -1, 64, 64).to(autoencoder.device, autoencoder.dtype)
    with torch.no_grad():
        latents = torch.cat([autoencoder.encode(picture[None]).latent_dist.mean for picture in pictures])
    middle = latents.float().mean(dim=(2, 3)).cpu() * autoencoder.config.scaling_factor
    inputs = torch.cat([middle, torch.ones(len(middle), 1)], dim=1)
    return torch.linalg.lstsq(inputs, colours).solution.numpy()


def to_preview(latents: torch.Tensor, matrix: np.ndarray) -> np.ndarray:
    """Small approximate pictures of up to eight frames, evenly chosen: uint8 (n, h, w, 3)."""
    chosen = np.unique(np.linspace(0, len(latents) - 1, PREVIEW_FRAMES).round().astype(int))
    values = latents[chosen].permute(0, 2, 3, 1).float().cpu().numpy()
    colours = values @ matrix[:-1] + matrix[-1]
    return np.clip((colours + 1) * 127.5, 0, 255).astype(np.uint8)
