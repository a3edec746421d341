"""The way of a job, from a request to a clip; read it from top to bottom.

check(request) -> row, pipeline -> prepare(request, row, pipeline) -> plan -> run_with_retries(prepared, plan) -> Clip
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from annotators.controls import CONTROLS, LastAnnotator
from errors import GenerationFailed, InvalidSettings
from generation.modes import MODES, attention_of, call_arguments
from generation.progress import Reporter, fit_preview, stop_if
from generation.prompts import (
    EncoderPrompts,
    encoder_prompts,
    frame_prompts,
    prompt_notes,
    style_notes,
    styled,
)
from generation.request import Clip, GenerationRequest, PreparedJob
from generation.schedulers import build_scheduler
from generation.sources import (
    check_affordable,
    check_source_video,
    fit_picture,
    read_first_frame,
    read_source,
)
from model_manager.adapters import left_out
from model_manager.admission import admit
from model_manager.builtin_models import ModelRow
from model_manager.catalogue import Catalogue
from model_manager.loader import Loader
from model_manager.memory import MemoryPlan, is_shared, plan_job, tighter
from model_manager.placement import placed
from model_manager.prompt_notation import notation_notes
from utils import memory_errors

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class Resources(Protocol):
    """The parts of ``Model`` that a job works with; ``previews`` are matrices of ``fit_preview`` by VAE."""

    catalogue: Catalogue
    annotator: LastAnnotator
    previews: dict[str, np.ndarray]

    @property
    def loader(self) -> Loader: ...

    def row(self, name: str, *, edits: bool = False) -> ModelRow: ...


def check(request: GenerationRequest) -> GenerationRequest:
    """Return the request with its first frame read, once everything holds that can be seen without a checkpoint; raises
    UserError."""
    settings, mode = request.settings, MODES.get(request.settings.mode)
    if mode is None:
        raise TypeError(f"there is no mode {settings.mode!r}")
    if mode.takes_source and request.source is None:
        raise InvalidSettings("source: choose a video")
    if request.source is not None and not mode.takes_source:
        raise InvalidSettings(f"source: {settings.mode} takes no video")
    if request.first_frame is not None and not mode.takes_first_frame:
        raise InvalidSettings(f"first_frame: {settings.mode} takes no first frame")
    first_frame = None if request.first_frame is None else read_first_frame(request.first_frame)
    if request.source is not None:
        check_source_video(request.source)
    else:
        frame_prompts([getattr(settings, name) for name in mode.storyboard], settings.num_frames)
    return replace(request, first_frame=first_frame)


def run_job(request: GenerationRequest, resources: Resources) -> Clip:
    """Make the clip of a checked request; raises UserError and Cancelled."""
    started = time.monotonic()
    stop_if(request.cancel)
    mode, settings = MODES[request.settings.mode], request.settings
    row = resources.catalogue.with_adapters(resources.row(settings.model, edits=mode.edits), settings)
    if not mode.takes_source:
        together = row.trained_on_videos or settings.anchors == "all"
        size = settings.width, settings.height
        admit(resources.loader, row, frames=settings.num_frames, size_px=size, together=together)
    pipeline = mode.pipeline(resources.loader, row, settings)
    job = prepare(request, row, pipeline, annotator=resources.annotator, device=resources.loader.device)
    plan = plan_job(
        *(resources.loader, pipeline),
        shape=(job.settings.num_frames, *job.size_px),
        chunk_size=job.settings.chunk_size,
        together=job.one_batch,
    )
    return run_with_retries(job, plan, resources, started=started)


def prepare(
    request: GenerationRequest, row: ModelRow, pipeline: Any, *, annotator: LastAnnotator, device: str
) -> PreparedJob:
    """Read what the request names, fill in its open settings, draw its control video, and put its pipeline in order."""
    mode, asked = MODES[request.settings.mode], request.settings
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = build_scheduler(asked.scheduler, pipeline.scheduler.config)
    source: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    if request.source is not None:
        wanted = {"fps": asked.fps, "num_frames": asked.num_frames, "start_seconds": asked.source_start}
        source, notes = read_source(request.source, **wanted, side_px=asked.resolution or pipeline.own_side_px())
    settings, size = resolve_settings(asked, row, own_size_px=pipeline.own_size_px(), source=source)
    video = source
    if source is not None and mode.annotates and not settings.source_is_control:
        kind = CONTROLS[settings.control]
        own = {name: getattr(settings, name) for name in kind.settings}
        video = annotator.draw(
            kind, source, settings=own, device=device, before_frame=lambda _: stop_if(request.cancel)
        )
    first_frame: np.ndarray | None = None
    if request.first_frame is not None:
        if pipeline.draws_together:
            raise InvalidSettings(f"first_frame: {row.label} was trained on videos and begins by itself")
        first_frame = fit_picture(read_first_frame(request.first_frame), *size)
    own_prompts = frame_prompts([getattr(settings, name) for name in mode.storyboard], settings.num_frames)
    written = styled(EncoderPrompts(settings.prompt, settings.negative_prompt, own_prompts), row.style)
    prompts = encoder_prompts(written, row, tokenizer=pipeline.tokenizer)
    return PreparedJob(
        request=request,
        row=row,
        pipeline=pipeline,
        settings=settings,
        prompts=prompts,
        size_px=size,
        one_batch=pipeline.draws_together or settings.anchors == "all",
        video=video,
        first_frame=first_frame,
        notes=(
            *notes,
            *(note for lora in row.loras for note in left_out(lora, pipeline.components)),
            *notation_notes(written.texts, [lora.name for lora in row.tagged_loras], row.embeddings),
            *style_notes(written, row.style),
            *prompt_notes(prompts, row, tokenizer=pipeline.tokenizer),
        ),
    )


def resolve_settings(
    settings: Any, row: ModelRow, *, own_size_px: tuple[int, int], source: np.ndarray | None
) -> tuple[Any, tuple[int, int]]:
    """Fill in every open setting but the chunk size, from the checkpoint's row, the ``own_size_px`` of its pictures,
    width and height, and the source's frames; also return the video's width and height.

    Raises InvalidSettings for more pixels than one job may ask for.
    """
    if source is None:
        own_width, own_height = row.size_px or own_size_px
        width, height, frames = settings.width or own_width, settings.height or own_height, settings.num_frames
        filled: dict[str, Any] = {"width": width, "height": height}
    else:
        frames, height, width = source.shape[:3]
        filled = {"num_frames": frames, "resolution": min(width, height)}
    check_affordable(frames, width, height)
    from_row = MODES[settings.mode].from_row
    filled |= {name: getattr(row, own) for name, own in from_row.items() if getattr(settings, name) in (None, "auto")}
    if "anchors" in filled and (settings.anchor_period or settings.match_filter):
        filled["anchors"] = "first"  # only one frame can rotate, or be matched with
    return settings.model_copy(update={**filled, "model": row.name}), (width, height)


def run_with_retries(job: PreparedJob, plan: MemoryPlan, resources: Resources, *, started: float) -> Clip:
    """Run the pipeline under the plan, and under tighter ones where memory runs out; raises GenerationFailed and
    Cancelled."""
    from pipelines.video import RunOptions

    pipeline, request, device, previews = job.pipeline, job.request, resources.loader.device, resources.previews
    capped = not job.one_batch and plan.chunk_size < min(job.settings.chunk_size or 1, job.settings.num_frames)
    notes = [*job.notes, *([f"To fit the memory here: {plan}."] if plan.frugal or capped else [])]
    attention, vae = attention_of(job.settings), job.row.vae or job.row.source

    def tighten(plan: MemoryPlan) -> MemoryPlan:
        if job.one_batch:
            raise GenerationFailed("out of memory: all frames are computed at once; make it shorter")
        notes.append(f"Memory was short; went on with {(tighter_plan := next_plan(plan, device, job.size_px))}.")
        return tighter_plan

    def fit(plan: MemoryPlan) -> np.ndarray:
        with placed(pipeline, plan, device):
            return fit_preview(pipeline)

    def draw(plan: MemoryPlan) -> np.ndarray:
        watch = Reporter(
            *(request.on_step, request.cancel),
            started=started,
            steps=job.settings.num_inference_steps,
            frames=job.settings.num_frames,
            matrix=previews.get(vae),
        )
        with placed(pipeline, plan, device):
            frames = pipeline(
                **call_arguments(job),
                options=RunOptions(plan.chunk_size, attention, weighted_prompts=True, watch=watch),
            )[0]
            if getattr(pipeline.vae, "use_tiling", False) and not plan.tile_vae:
                notes.append("Memory was short; went on decoding pictures in tiles.")
        return frames

    if request.on_step is not None and vae not in previews:
        previews[vae], plan = retried(fit, plan, tighten)
    frames, plan = retried(draw, plan, tighten)
    settings = job.settings.model_copy(update={"chunk_size": plan.chunk_size})
    return Clip(frames, settings, time.monotonic() - started, tuple(notes), job.video, job.row.style)


def retried(
    work: Callable[[MemoryPlan], Result], plan: MemoryPlan, tighten: Callable[[MemoryPlan], MemoryPlan]
) -> tuple[Result, MemoryPlan]:
    """Return the result of ``work`` under the first plan, of this one and ever tighter ones, that memory suffices for;
    and that plan. Raises what ``tighten`` raises where there is none, and GenerationFailed for numbers that are not
    finite."""
    import torch

    while True:
        try:
            with memory_errors():
                return work(plan), plan
        except torch.OutOfMemoryError:
            pass  # until here the error holds on to what fills the memory
        except FloatingPointError as error:
            raise GenerationFailed(
                f"{error}: this checkpoint overflows with these settings; try a lower guidance scale, another "
                "scheduler or its own picture size"
            ) from error
        plan = tighten(plan)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def next_plan(plan: MemoryPlan, device: str, size_px: tuple[int, int]) -> MemoryPlan:
    """Return the plan for another try after memory ran out; raises GenerationFailed where there is none."""
    tighter_plan = tighter(plan, shared=is_shared(device))
    if tighter_plan is None:
        width, height = size_px
        raise GenerationFailed(f"out of memory even for one {width}x{height} frame at a time: make the picture smaller")
    logger.info("out of memory: going on with %s", tighter_plan)
    return tighter_plan
