"""Engines behind the same three methods: this program's own modes, or a text-to-video pipeline of diffusers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from comparison.diffusers_engine import VideoPipeline
from comparison.engine_specs import DiffusersPipeline, EngineSpec
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
from model_manager.prompt_notation import notation_notes, words_of
from pipelines.prompt_weights import plain_text
from settings import DirectorSettings, GenerationSettings, check_pixels, is_directed
from settings.parsing import parse

OF_ONE_CLIP = ("prompt", "seed", "storyboard")
SHARED = ("mode", *OF_ONE_CLIP)
SIZES = ("num_frames", "width", "height")


@dataclass(frozen=True)
class EngineOutput:
    """Clip of an engine: ``frames`` uint8 (frames, height, width, 3); ``save`` writes it with its metadata to a path;
    ``settings`` are the engine's, without those of this one clip."""

    frames: np.ndarray
    fps: int
    save: Callable[[Path], object]
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """Source of videos from texts. Its methods raise UserErrors with one line each, and Cancelled."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings that are the same for all clips, for the report."""

    def load(self) -> None:
        """Load the networks, so that the first clip takes as long as the others."""

    def generate(self, prompt: str, seed: int, *, on_step: OnStep, cancel: threading.Event | None) -> EngineOutput:
        """Draw a clip; ``on_step`` gets the progress after each denoising step."""

    def release(self) -> None:
        """Free the memory."""


class StudioEngine:
    """Engine of this program's own modes, under ``settings`` without a prompt and a seed."""

    def __init__(self, model: Model, settings: Mapping[str, Any], fps: int, *, chat_model: ChatModel | None) -> None:
        self._settings = {"fps": fps, **settings}
        self.settings = without_folders(self._settings, model.catalogue)
        self._model = model
        self._chat_model = chat_model

    def settings_of(self, prompt: str, seed: int) -> GenerationSettings:
        """Return the settings of one clip; modes without a director get key moments as one sentence. Raises
        UserError."""
        text = prompt if self._settings["mode"] == DirectorSettings.mode else as_sentence(prompt)
        return with_offered_names(parse({**self._settings, "prompt": text, "seed": seed}), self._model.catalogue)

    def load(self) -> None:
        """Load the checkpoint; raises UserError."""
        self._model.load(self.settings_of("a circle", 0))

    def generate(self, prompt: str, seed: int, *, on_step: OnStep, cancel: threading.Event | None) -> EngineOutput:
        """Draw a clip, with a storyboard of the chat model's if there is one; raises UserError and Cancelled."""
        settings = self.settings_of(prompt, seed)
        if self._chat_model is not None and is_directed(settings):
            settings = directed(settings, self._chat_model)
        clip = self._model.generate(settings, on_step=on_step, cancel=cancel)
        own = {name: value for name, value in clip.settings.to_dict().items() if name not in OF_ONE_CLIP}
        return EngineOutput(clip.frames, clip.fps, clip.save, own, clip.notes)

    def release(self) -> None:
        """Free the memory."""
        self._model.release()


class DiffusersEngine:
    """Engine of a text-to-video pipeline of diffusers; raises ValueError for sizes with too many pixels."""

    def __init__(self, pipeline: DiffusersPipeline, label: str, sizes: Mapping[str, int], *, device: str) -> None:
        self.settings = {"source": public_name(pipeline.source), **pipeline.call, **sizes}
        self._pipeline = VideoPipeline(pipeline, label, device)
        self._sizes, self._fps = sizes, pipeline.fps
        if all(self.settings.get(name) for name in SIZES):
            check_pixels(*(self.settings[name] for name in SIZES))

    def load(self) -> None:
        """Load the pipeline; raises UserError."""
        self._pipeline.load()

    def generate(self, prompt: str, seed: int, *, on_step: OnStep, cancel: threading.Event | None) -> EngineOutput:
        """Draw a clip from key moments as one sentence; raises UserError and Cancelled."""
        text, notes = plain_text(words_of(as_sentence(prompt))), tuple(notation_notes([prompt], (), {}))
        frames = self._pipeline.generate(text, seed, self._sizes, on_step=on_step, cancel=cancel)
        metadata = {"prompt": text, "seed": str(seed), "source": str(self.settings["source"])}
        save = partial(write_video, frames=frames, fps=self._fps, metadata=metadata)
        return EngineOutput(frames, self._fps, save, self.settings, notes)

    def release(self) -> None:
        """Free the memory."""
        self._pipeline.release()


def build_engine(
    choice: EngineChoice,
    spec: EngineSpec,
    comparison: ComparisonSettings,
    *,
    model: Model,
    chat_model: ChatModel | None,
) -> Engine:
    """Return the engine of a specification; raises InvalidSettings, with the engine's name, for settings that it does
    not have."""
    sizes = {name: value for name in SIZES if (value := getattr(comparison, name)) is not None}
    if spec.pipeline is not None:
        if choice.settings:
            raise InvalidSettings(f"{choice.engine}: takes no settings of its own, not {next(iter(choice.settings))}")
        try:
            return DiffusersEngine(spec.pipeline, spec.label, sizes, device=model.loader.device)
        except ValueError as error:
            raise InvalidSettings(f"{choice.engine}: {error}") from None
    for name in SHARED:
        if name in choice.settings:
            raise InvalidSettings(f"{choice.label or choice.engine}: {name} is the same for all engines")
    settings = {**(spec.settings or {}), **sizes, **choice.settings}
    engine = StudioEngine(model, settings, comparison.fps, chat_model=chat_model)
    _check_prompts(engine, choice, comparison)
    return engine


def _check_prompts(engine: StudioEngine, choice: EngineChoice, comparison: ComparisonSettings) -> None:
    """Raise InvalidSettings, with the engine's name, for a prompt that its settings do not allow."""
    try:
        for prompt in comparison.prompts:
            engine.settings_of(prompt, comparison.seeds[0])
    except InvalidSettings as error:
        raise InvalidSettings(f"{choice.label or choice.engine}: {error}") from None
    except UserError:
        pass  # a model that is not there is this engine's trouble alone, and reported when its turn comes


def label_of(choice: EngineChoice, spec: EngineSpec, model: Model) -> str:
    """Return the engine's label, followed by the model's if one is chosen."""
    name = choice.settings.get("model")
    if not isinstance(name, str):
        return spec.label
    label = model.rows[name].label.partition(" (")[0] if name in model.rows else Path(name).name
    return f"{spec.label}, {label}"
