"""What draws with one engine: this program's own modes, or a pipeline of diffusers, behind the same three methods."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from comparison.diffusers_engine import VideoPipeline
from comparison.engine_specs import EngineSpec
from comparison.settings import ComparisonSettings, EngineChoice
from director.director import ChatModel
from director.storyboard import as_sentence
from errors import InvalidSettings, UserError
from generation.progress import OnStep
from generation.prompts import directed
from media.video_io import write_video
from model import Model
from model_manager.discovery import public_name
from model_manager.offered_names import with_offered_names, without_folders
from settings import DirectorSettings, GenerationSettings, check_pixels, is_directed
from settings.parsing import parse

OF_ONE_CLIP = ("prompt", "seed", "storyboard")
SHARED = ("mode", *OF_ONE_CLIP)


@dataclass(frozen=True)
class EngineOutput:
    """A clip as an engine gives it: ``frames`` uint8 (frames, height, width, 3); ``save`` writes it with what made it
    inside; ``settings`` are all but those of this one clip."""

    frames: np.ndarray
    fps: int
    save: Callable[[Path], Any]
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """What draws with one spec. Errors are UserErrors with one line each, and Cancelled."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def load(self) -> None: ...

    def generate(self, prompt: str, seed: int, on_step: OnStep, cancel: threading.Event | None) -> EngineOutput: ...

    def release(self) -> None: ...


class StudioEngine:
    """Draws with this program's own modes, under ``settings`` without a prompt and a seed."""

    def __init__(self, model: Model, settings: Mapping[str, Any], fps: int, chat_model: ChatModel | None) -> None:
        self._settings = {"fps": fps, **settings}
        self.settings = without_folders(self._settings, model.catalogue)
        self._model = model
        self._chat_model = chat_model

    def settings_of(self, prompt: str, seed: int) -> GenerationSettings:
        """Complete settings; engines that are not directed read moments as one sentence. Raises UserError."""
        text = prompt if self._settings["mode"] == DirectorSettings.mode else as_sentence(prompt)
        return with_offered_names(parse({**self._settings, "prompt": text, "seed": seed}), self._model.catalogue)

    def load(self) -> None:
        """Raises UserError."""
        self._model.load(self.settings_of("a circle", 0))

    def generate(self, prompt: str, seed: int, on_step: OnStep, cancel: threading.Event | None) -> EngineOutput:
        """Raises UserError and Cancelled."""
        settings = self.settings_of(prompt, seed)
        if self._chat_model is not None and is_directed(settings):
            settings = directed(settings, self._chat_model)
        clip = self._model.generate(settings, on_step=on_step, cancel=cancel)
        own = {name: value for name, value in clip.settings.to_dict().items() if name not in OF_ONE_CLIP}
        return EngineOutput(clip.frames, clip.fps, clip.save, own, clip.notes)

    def release(self) -> None:
        """Frees the memory."""
        self._model.release()


class DiffusersEngine:
    """Draws with a text-to-video pipeline of diffusers, as it is."""

    def __init__(self, spec: EngineSpec, comparison: ComparisonSettings, device: str) -> None:
        assert spec.pipeline is not None
        own, asked = spec.pipeline.call, ("num_frames", "width", "height")
        given = {name: value for name in asked if (value := getattr(comparison, name)) is not None}
        self.settings = {"source": public_name(spec.pipeline.source), **own, **given}
        self._video = VideoPipeline(spec.pipeline, spec.label, device)
        self._given, self._fps = given, spec.pipeline.fps
        if all(self.settings.get(name) for name in asked):
            check_pixels(*(self.settings[name] for name in asked))

    def load(self) -> None:
        """Raises UserError."""
        self._video.load()

    def generate(self, prompt: str, seed: int, on_step: OnStep, cancel: threading.Event | None) -> EngineOutput:
        """Raises UserError and Cancelled."""
        text = as_sentence(prompt)
        frames = self._video.generate(text, seed, **self._given, on_step=on_step, cancel=cancel)
        metadata = {"prompt": text, "seed": str(seed), "source": str(self.settings["source"])}
        save = partial(write_video, frames=frames, fps=self._fps, metadata=metadata)
        return EngineOutput(frames, self._fps, save, self.settings)

    def release(self) -> None:
        """Frees the memory."""
        self._video.release()


def build_engine(
    choice: EngineChoice, spec: EngineSpec, comparison: ComparisonSettings, model: Model, chat_model: ChatModel | None
) -> Engine:
    """What draws with an engine; raises InvalidSettings for settings that it has not, with its name before them."""
    if spec.settings is None:
        if choice.settings:
            raise InvalidSettings(f"{choice.engine}: takes no settings of its own, not {next(iter(choice.settings))}")
        try:
            return DiffusersEngine(spec, comparison, model.loader.device)
        except ValueError as error:
            raise InvalidSettings(f"{choice.engine}: {error}") from None
    for name in SHARED:
        if name in choice.settings:
            raise InvalidSettings(f"{choice.label or choice.engine}: {name} is the same for all engines")
    shared = {name: getattr(comparison, name) for name in ("num_frames", "width", "height")}
    given = {name: value for name, value in shared.items() if value is not None}
    engine = StudioEngine(model, {**spec.settings, **given, **choice.settings}, comparison.fps, chat_model)
    try:
        for prompt in comparison.prompts:
            engine.settings_of(prompt, comparison.seeds[0])
    except InvalidSettings as error:
        raise InvalidSettings(f"{choice.label or choice.engine}: {error}") from None
    except UserError:
        pass  # a model that is not there is this engine's trouble alone, and told when its turn comes
    return engine


def label_of(choice: EngineChoice, spec: EngineSpec, model: Model) -> str:
    """The engine's name, and the model's where one is chosen."""
    name = choice.settings.get("model")
    if not isinstance(name, str):
        return spec.label
    label = model.rows[name].label.partition(" (")[0] if name in model.rows else Path(name).name
    return f"{spec.label}, {label}"
