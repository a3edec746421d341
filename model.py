"""The one door to everything that generates: ``Model().generate(settings) -> Clip``.

Lazy: nothing is loaded before the first job. One lock is held around load, run and release, so that jobs of any
number of callers follow one another.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from annotators.controls import LastAnnotator
from errors import ModelUnavailable
from generation.job import check, run_job
from generation.modes import MODES
from generation.progress import OnStep, Progress, stop_if
from generation.request import Clip, GenerationRequest, Source
from model_manager.builtin_models import ModelRow
from model_manager.catalogue import Extras, read_catalogue
from model_manager.default_model import best_model, named_model
from model_manager.loader import Loader
from settings import GenerationSettings
from utils import choose_device, fit_threads

__all__ = ["Clip", "Model", "Progress"]


class Model:
    """Makes videos with any checkpoint of the registry; safe to call from many threads."""

    def __init__(
        self,
        models: Sequence[str] = (),
        device: str | None = None,
        default: str = "auto",
        extras: Extras | None = None,
    ) -> None:
        """Choose among the built-in models, T2V_MODELS and ``models`` (Hub ids, folders, .safetensors files);
        ``default`` is what "auto" means, by itself the best one at hand; ``extras`` are LoRAs, VAEs, embeddings and
        folders of other programs. Raises UserError for what is not there, later for an absent device."""
        self.catalogue = read_catalogue(models, extras)
        self.rows = self.catalogue.models
        self._device_request = device
        self._default_name = default
        self._lock = threading.Lock()
        self._loader: Loader | None = None
        self._default: dict[bool, tuple[ModelRow, str]] = {}
        self.previews: dict[str, np.ndarray] = {}
        self.annotator = LastAnnotator()

    def offer(self, rows: Mapping[str, ModelRow]) -> None:
        """Leave out all models but these, before the first job."""
        self.catalogue = replace(self.catalogue, models=rows)
        self.rows = self.catalogue.models

    @property
    def loader(self) -> Loader:
        """The loader on the chosen device; the choice imports torch, so it waits until it is needed."""
        if self._loader is None:
            device = choose_device(self._device_request)
            fit_threads()
            self._loader = Loader(device)
        return self._loader

    def default(self, *, edits: bool = False) -> tuple[ModelRow, str]:
        """Return the row that "auto" stands for here, for drawing or for editing, and one line of reason."""
        if edits not in self._default:
            if self._default_name != "auto" and not edits:
                self._default[edits] = named_model(self.rows, self._default_name)
            else:
                self._default[edits] = best_model(self.rows, self.loader.device, edits=edits)
        return self._default[edits]

    def row(self, name: str, *, edits: bool = False) -> ModelRow:
        """Return the registry row of this name, or the default for "auto"; raises ModelUnavailable."""
        if name == "auto":
            return self.default(edits=edits)[0]
        if name not in self.rows or self.rows[name].edits != edits:
            if name in self.rows:
                edits_it = self.rows[name].edits
                what = "an editing checkpoint" if edits_it else "a checkpoint that draws and does not edit"
                where = "use it with --mode pix2pix (the tab Edit)" if edits_it else "choose one that edits"
                raise ModelUnavailable(f"model: {name} is {what}: {where}")
            fitting = [row.name for row in self.rows.values() if row.edits == edits]
            raise ModelUnavailable(f"model: must be auto or one of {', '.join(fitting)}")
        return self.rows[name]

    def generate(
        self,
        settings: GenerationSettings,
        source: Source | None = None,
        on_step: OnStep | None = None,
        cancel: threading.Event | None = None,
        first_frame: Source | None = None,
    ) -> Clip:
        """Make a video.

        Args:
            settings: which mode, and everything it needs.
            source: the video that steers or is edited, for modes that take one: a file, or uint8 (frames, height,
                width, 3).
            on_step: told about the progress between chunks and steps, on the calling thread.
            cancel: set it to stop within one step.
            first_frame: what frame 0 is, where the mode can: a picture file, or uint8 (height, width, 3).

        Raises:
            UserError: a child that says what to change.
            Cancelled: after ``cancel``; the model is as it was before.
        """
        request = check(GenerationRequest(settings.resolved(), source, first_frame, on_step, cancel))
        with self._turn(cancel):
            return run_job(request, self)

    def load(self, settings: GenerationSettings) -> None:
        """Load what a job with these settings needs, so that it begins at once; raises UserError."""
        mode = MODES[settings.mode]
        with self._lock:
            row = self.catalogue.with_adapters(self.row(settings.model, edits=mode.edits), settings)
            mode.pipeline(self.loader, row, settings)

    def release(self) -> None:
        """Let go of every model; the next job loads its own again."""
        with self._lock:
            self.loader.release()
            self.annotator.release()

    @contextmanager
    def _turn(self, cancel: threading.Event | None) -> Iterator[None]:
        """Wait for the jobs before, and let none in besides; raises Cancelled."""
        while not self._lock.acquire(timeout=0.2):
            stop_if(cancel)
        try:
            yield
        finally:
            self._lock.release()
