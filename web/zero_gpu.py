"""ZeroGPU, the shared cards of Hugging Face Spaces: a job asks for one, for about as long as it will take.

There a card is lent to a function, which runs in another process: progress comes back as it is yielded, a clip at last.
Checkpoints are fetched and read before, so that no visitor's time on the card is spent on that. With the package
``spaces`` away from such a Space the function runs where it is called.
"""

from __future__ import annotations

import importlib
import importlib.util
import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from errors import Cancelled, UserError
from generation.job import check
from generation.progress import OnStep
from generation.request import GenerationRequest, Source
from model import Clip, Model, Progress
from settings import GenerationSettings

# Assumed, not measured: a slice of an H200 takes half of this for a step of Stable Diffusion 1.5 at 512x512.
PACE_S = 3e-7  # per frame, step and pixel, before a clip of the model has been made
FIXED_S = 15.0  # the card is had, the checkpoint goes there, frames are decoded
MARGIN = 1.5  # of the pace of clips that were made; a job that takes longer than it asked for is ended
USUAL_SIDE_PX = 512  # of pictures whose size the checkpoint or the source decides
Outcome = Progress | Clip | Exception


def has_spaces() -> bool:
    """Return whether the package of the Hub is here; a Space installs it by itself."""
    return importlib.util.find_spec("spaces") is not None


class ZeroGpuModel(Model):
    """A model whose every clip is made on a card that is lent for it; all else is ``Model``'s."""

    def __init__(self, *given: Any, **options: Any) -> None:
        """Take the arguments of ``Model``; the function is made known here because a Space wants to see it at start."""
        super().__init__(*given, **options)
        self._paces: dict[str, float] = {}
        gpu = importlib.import_module("spaces").GPU
        self._on_card = gpu(duration=self._card_seconds)(self._outcomes)

    def generate(
        self,
        settings: GenerationSettings,
        source: Source | None = None,
        on_step: OnStep | None = None,
        cancel: threading.Event | None = None,
        first_frame: Source | None = None,
    ) -> Clip:
        """Make a video as ``Model.generate`` does, on a card that is asked for when everything is ready for it."""
        settings = settings.resolved()
        check(GenerationRequest(settings, source, first_frame))
        self.load(settings)
        with closing(self._on_card(settings, source, first_frame)) as outcomes:
            clip = self._followed(outcomes, on_step, cancel)
        self._paces[settings.model] = clip.seconds / work_of(clip.settings)
        return clip

    def card_seconds(self, settings: GenerationSettings) -> int:
        """Return the time on the card to ask for, by the last clip of this model or by an assumption."""
        learnt = self._paces.get(settings.model)
        pace = PACE_S if learnt is None else MARGIN * learnt
        return round(FIXED_S + pace * work_of(settings))

    def _card_seconds(self, settings: GenerationSettings, *_: object) -> int:
        return self.card_seconds(settings)

    def _followed(self, outcomes: Iterator[Outcome], on_step: OnStep | None, cancel: threading.Event | None) -> Clip:
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            if cancel is not None and cancel.is_set():
                raise Cancelled
            if isinstance(outcome, Clip):
                return outcome
            if on_step is not None:
                on_step(outcome)
        raise AssertionError("a job ends with a clip or an error")

    def _outcomes(
        self, settings: GenerationSettings, source: Source | None, first_frame: Source | None
    ) -> Generator[Outcome, None, None]:
        """Yield progress, and a clip or an error at last; closing it stops the job within a step.

        Errors are yielded, since those that are raised on the card come back without their text.
        """
        told: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        cancel = threading.Event()

        def work() -> None:
            try:
                told.put(Model.generate(self, settings, source, told.put, cancel, first_frame))
            except (UserError, Cancelled) as error:
                told.put(error)
            except Exception as error:
                told.put(RuntimeError(f"{type(error).__name__}: {error}"))

        thread = threading.Thread(target=work, name="card")
        thread.start()
        try:
            while isinstance(outcome := told.get(), Progress):
                yield outcome
            yield outcome
        finally:
            cancel.set()
            thread.join()


def work_of(settings: Any) -> float:
    """Return frames times steps times pixels; a side that is left open counts as USUAL_SIDE_PX."""
    side = getattr(settings, "resolution", None)
    width = getattr(settings, "width", None) or side or USUAL_SIDE_PX
    height = getattr(settings, "height", None) or side or USUAL_SIDE_PX
    return float(settings.num_frames * settings.num_inference_steps * width * height)
