"""The one denoising loop, the samplers of a video, re-noising and timestep arithmetic.

The loop takes callables. It knows nothing of text, ControlNets, guidance or pages; step outside, chunk inside,
so that every frame is computed once per step whatever the chunk.
"""

import copy
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.attention import AnchorCache

# Scaled latents of some frames (frames, c, h, w), the timestep, and which frames of the video they are, to noise of
# the same shape in float32.
Predictor = Callable[[torch.Tensor, torch.Tensor, slice], torch.Tensor]
LINEAR_MULTISTEP_ORDER = 4  # of LMSDiscreteScheduler by itself
# Called with the step, the frames done within it and all latents so far; whatever it raises stops the run.
Watch = Callable[[int, int, torch.Tensor], None]


def set_timesteps(scheduler: Any, num_inference_steps: int, device: Any) -> torch.Tensor:
    """Set up a scheduler and return its timesteps, from noise to picture.

    Few-step schedulers (LCM, TCD) refuse more steps than they were distilled from: they are given as many as are asked
    for where that is more. Otherwise they are left alone: given its own number, TCD spaces timesteps otherwise.
    """
    options: dict[str, Any] = {}
    original = getattr(scheduler.config, "original_inference_steps", None)
    if original is not None and original < num_inference_steps:
        options["original_inference_steps"] = num_inference_steps
    scheduler.set_timesteps(num_inference_steps, device=device, **options)
    return scheduler.timesteps


def step_starts(scheduler: Any) -> list[int]:
    """Return the indices of a scheduler's timesteps at which a whole step of its method begins. Methods of second order
    predict twice in a step, Runge-Kutta four times; in between latents are provisional."""
    count = len(scheduler.timesteps)
    if not hasattr(scheduler, "prk_timesteps"):
        return list(range(0, count, getattr(scheduler, "order", 1)))
    runge_kutta = len(scheduler.prk_timesteps)  # of PNDM; without, its first step is of second order
    return [*range(0, runge_kutta, 4), *range(runge_kutta, count)] if runge_kutta else [0, *range(2, count)]


def window_to_indices(timesteps: torch.Tensor, window: tuple[int, int]) -> tuple[int, int]:
    """The motion window in the steps of a scheduler.

    Args:
        timesteps: (steps,), falling.
        window: (T', T) of section 3.3.1 as training timesteps, T' < T; 881 and 941 in the paper.

    Returns:
        (i, j), i < j: the steps whose timesteps are nearest to T and to T', at least one apart.
    """
    later, earlier = window
    last = len(timesteps) - 1
    exact = timesteps.cpu().double()
    start = int((exact - earlier).abs().argmin())
    end = int((exact - later).abs().argmin())
    start = min(start, last - 1)
    return start, max(end, start + 1)


class Sampler:
    """The sampling of one video: one scheduler for the anchor frame, another for the frames that follow it.

    The anchor's runs from the first step on, exactly as for a still image. The others join later with a scheduler
    of their own, because a multistep method must not take the anchor's past for theirs. Frame k's random numbers
    (for stochastic schedulers) come from its own generator, so they do not depend on how many frames follow.
    The scheduler passed in is copied, never changed.
    """

    def __init__(
        self,
        scheduler: Any,
        num_inference_steps: int,
        device: Any,
        generators: list[torch.Generator] | None = None,
        eta: float = 0.0,
    ) -> None:
        self.anchor = copy.deepcopy(scheduler)
        self.timesteps = set_timesteps(self.anchor, num_inference_steps, device)
        self.initial = copy.deepcopy(self.anchor)
        self.others: Any = None
        self.joined_at = 0
        self.pinned: Callable[[int], torch.Tensor] | None = None
        self.generators = generators
        self.step_starts = step_starts(self.anchor)
        parameters = inspect.signature(scheduler.step).parameters
        self.takes_generator, self.takes_order = "generator" in parameters, "order" in parameters
        self.options = {"eta": eta} if "eta" in parameters else {}

    @property
    def init_noise_sigma(self) -> float:
        """The standard deviation of the latents at the first step."""
        return float(self.initial.init_noise_sigma)

    def pin(self, clean: torch.Tensor, noise: torch.Tensor) -> None:
        """The anchor is given: whatever is predicted for it, at every step it is ``clean`` (1, c, h, w), noised as far
        as that step is, always by the same ``noise``; after the last step it is ``clean``."""
        self.pinned = lambda index: self.noised(clean, noise, index)

    def window(self, motion_window: tuple[int, int]) -> tuple[int, int]:
        """The motion window as indices of timesteps, where whole steps begin; see ``window_to_indices``."""
        start, end = window_to_indices(self.timesteps[self.step_starts], motion_window)
        return self.step_starts[start], self.step_starts[end]

    def window_from_end(self, t0: int, t1: int) -> tuple[int, int]:
        """The motion window likewise, of whole steps counted from the last one, t0 < t1; none is before the first."""
        last = len(self.step_starts) - 1
        return self.step_starts[max(0, last - t1)], self.step_starts[max(0, last - t0)]

    def stop_after(self, steps: int) -> None:
        """Leave out the steps after so many: what is left of the noise stays in the latents."""
        self.timesteps = self.timesteps[:steps]

    def join(self, index: int) -> None:
        """The frames after the anchor begin at this step. A scheduler that cannot begin late shares the
        anchor's past, as in the authors' code."""
        self.joined_at = index
        if hasattr(self.initial, "set_begin_index"):
            self.others = copy.deepcopy(self.initial)
            self.others.set_begin_index(index)
        else:
            self.others = copy.deepcopy(self.anchor)

    def ahead(self) -> "Sampler":
        """A copy with which the anchor can run ahead without this one noticing, its generators included."""
        ahead = copy.copy(self)
        ahead.anchor = copy.deepcopy(self.anchor)
        if self.generators is not None:
            ahead.generators = [generator.clone_state() for generator in self.generators[:1]]
        return ahead

    def drew_since(self, state: torch.Tensor) -> bool:
        """Return True if the anchor's steps drew random numbers after its generator was in this state."""
        return self.generators is not None and not torch.equal(self.generators[0].get_state(), state)

    def scale(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Latents as the model wants them at this timestep."""
        if self.others is not None:
            self.others.scale_model_input(latents[1:], timestep)
        return self.anchor.scale_model_input(latents, timestep)

    def step(self, noise: torch.Tensor, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Step ``index`` of all frames: (frames, c, h, w) each."""
        stepped = [self._step(self.anchor, noise, index, latents, slice(0, 1))]
        if self.pinned is not None:  # stepped all the same, because a scheduler counts its steps
            stepped = [self.pinned(index + 1)]
        if len(latents) > 1:
            stepped.append(self._step(self.others, noise, index, latents, slice(1, None)))
        return torch.cat(stepped)

    def _step(
        self, scheduler: Any, noise: torch.Tensor, index: int, latents: torch.Tensor, frames: slice
    ) -> torch.Tensor:
        options: dict[str, Any] = dict(self.options)
        if self.takes_order and scheduler is self.others:  # it takes its order from its place, not from its past
            options["order"] = min(LINEAR_MULTISTEP_ORDER, index - self.joined_at + 1)
        if self.takes_generator and self.generators is not None:
            options["generator"] = self.generators[frames]
        return scheduler.step(noise[frames], self.timesteps[index], latents[frames], **options, return_dict=False)[0]

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, index: int) -> torch.Tensor:
        """Return clean latents as they are at the beginning of step ``index``; after the last step, themselves.

        Args:
            clean, noise: (frames, c, h, w), the noise standard normal.
        """
        if index == len(self.timesteps):
            return clean
        scheduler = self.initial
        if not hasattr(scheduler, "sigmas"):
            kept = scheduler.alphas_cumprod[int(self.timesteps[index])].double()
        else:
            sigma = self._sigma(index)
            if self.init_noise_sigma != 1:  # variance exploding: latents are picture + sigma x noise
                return clean + sigma.to(clean) * noise
            kept = 1 / (1 + sigma**2)
        return kept.sqrt().to(clean) * clean + (1 - kept).sqrt().to(clean) * noise

    def _sigma(self, index: int) -> torch.Tensor:
        """The noise against the picture at the beginning of a timestep; within a step, that of the timestep itself."""
        scheduler = self.initial
        if index in self.step_starts or not hasattr(scheduler, "log_sigmas"):
            return scheduler.sigmas[index].double()
        log_sigmas = scheduler.log_sigmas.double().cpu()
        timestep = self.timesteps[index].double().cpu()
        below = timestep.floor().long().clamp(0, len(log_sigmas) - 2)
        return log_sigmas[below].lerp(log_sigmas[below + 1], timestep - below).exp()

    def renoise(self, latents: torch.Tensor, noise: torch.Tensor, start: int, end: int) -> torch.Tensor:
        """Latents at step ``end`` taken back to the noisier step ``start`` (section 3.3.1, DDPM_Forward).

        Args:
            latents, noise: (frames, c, h, w), the noise standard normal.
            start, end: indices of timesteps at which whole steps begin, start < end.
        """
        scheduler = self.initial
        if not hasattr(scheduler, "sigmas"):
            kept = torch.prod(scheduler.alphas[int(self.timesteps[end]) : int(self.timesteps[start])])
        else:
            high, low = self._sigma(start) ** 2, self._sigma(end) ** 2
            if self.init_noise_sigma != 1:  # variance exploding: latents are picture + sigma x noise
                return latents + (high - low).sqrt().to(latents) * noise
            kept = (1 + low) / (1 + high)
        return kept.sqrt().to(latents) * latents + (1 - kept).sqrt().to(latents) * noise


@dataclass(frozen=True)
class Plan:
    """Execution of a run, on which its result does not depend.

    ``anchor`` keeps the anchor frame's keys and values, ``chunk_size`` is the number of frames predicted at once (all
    by default), ``watch`` is told about the progress.
    """

    anchor: AnchorCache | None = None
    chunk_size: int | None = None
    watch: Watch = lambda step, frames_done, latents: None


def denoise(
    predict: Predictor, sampler: Sampler, latents: torch.Tensor, steps: range, plan: Plan | None = None
) -> torch.Tensor:
    """Denoise all frames together over some of the sampler's steps.

    Args:
        predict: scaled latents of some frames, timestep and which frames they are, to noise.
        sampler: scales and steps.
        latents: (frames, c, h, w) at the first of ``steps``; frame 0 is the anchor.
        steps: indices into ``sampler.timesteps``.
        plan: its watch is called before every prediction and after every step.

    Returns:
        (frames, c, h, w) after the last step.
    """
    plan = plan or Plan()
    frames = len(latents)
    chunk = min(plan.chunk_size or frames, frames)
    for index in steps:
        timestep = sampler.timesteps[index]
        scaled = sampler.scale(latents, timestep)
        anchor_frame = 0 if plan.anchor is None else plan.anchor.options.anchor_at(index, frames)
        noise: dict[int, torch.Tensor] = {}
        done = 0
        for part in chunks(frames, chunk, anchor_frame):
            plan.watch(index, done, latents)
            with chunk_anchor(plan.anchor, part, anchor_frame, chunked=chunk < frames):
                noise[part.start] = predict(scaled[part], timestep, part)
            done += part.stop - part.start
        latents = sampler.step(torch.cat([noise[start] for start in sorted(noise)]), index, latents)
        plan.watch(index, frames, latents)
    return latents


def chunks(frames: int, chunk: int, anchor_frame: int = 0) -> list[slice]:
    """A video in chunks, the one that holds the anchor frame before the others."""
    parts = [slice(start, min(start + chunk, frames)) for start in range(0, frames, chunk)]
    return sorted(parts, key=lambda part: not part.start <= anchor_frame < part.stop)


def chunk_anchor(
    anchor: AnchorCache | None, part: slice, anchor_frame: int, *, chunked: bool
) -> AbstractContextManager[None]:
    """Return the context of a chunk: the anchor is recorded in the chunk that holds it, and reused in the others."""
    if anchor is None:
        return nullcontext()
    if not chunked:
        return anchor.whole(anchor_frame)
    return anchor.record(anchor_frame - part.start) if part.start <= anchor_frame < part.stop else anchor.reuse()
