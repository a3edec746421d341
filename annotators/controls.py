"""The table of control kinds: each row is all that the program knows of one way to steer a video.

A new kind is one row, an annotator and, on the page, a tab. Settings, models, discovery, jobs and tabs read this table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotators.base import Annotator, BeforeFrame
from annotators.canny import Canny
from annotators.depth import Depth
from annotators.pose import Pose
from errors import GenerationFailed
from utils import ROOT, memory_errors

DEPTH_ESTIMATORS = {
    "depth-anything-v2-small": "depth-anything/Depth-Anything-V2-Small-hf",
    "dpt-hybrid-midas": "Intel/dpt-hybrid-midas",
    "toyworld": str(ROOT / "checkpoints" / "toyworld-depth-estimator"),
}
# A network that finds people, and one that finds their joints.
POSE_NETWORKS = ("PekingU/rtdetr_r50vd_coco_o365", "usyd-community/vitpose-base-simple")


@dataclass(frozen=True)
class ExampleClip:
    """A clip of ``examples/`` to try a tab with, its name on the page, and a prompt for it."""

    label: str
    file: str
    prompt: str

    @property
    def is_control(self) -> bool:
        """Return whether the clip is a control video already, and no plain one."""
        return not self.file.startswith("plain")


@dataclass(frozen=True)
class ControlKind:
    """One row of the table.

    ``annotator`` makes the kind's annotator from ``device=`` and the kind's own ``settings``, by their names in
    ``ControlSettings``. ``controlnet`` is the Hub id of a ControlNet for Stable Diffusion 1.x and its finetunes,
    ``toyworld_controlnet`` the folder of one in ``checkpoints/``. A ControlNet's file that has one of the ``words`` in
    its name is of this kind. ``examples`` are for the kind's tab.
    """

    annotator: Callable[..., Annotator]
    words: tuple[str, ...]
    settings: tuple[str, ...] = ()
    controlnet: str | None = None
    toyworld_controlnet: str | None = None
    examples: tuple[ExampleClip, ...] = ()


CONTROLS: dict[str, ControlKind] = {
    "canny": ControlKind(
        lambda device, canny_low, canny_high: Canny(canny_low, canny_high),
        words=("canny",),
        settings=("canny_low", "canny_high"),
        controlnet="lllyasviel/control_v11p_sd15_canny",
        toyworld_controlnet="toyworld-canny",
        examples=(
            ExampleClip("A circle moves", "plain-circle.mp4", "a blue circle on sand"),
            ExampleClip("A star turns", "plain-star.mp4", "a pink star on the sea"),
            ExampleClip("A heart grows", "plain-heart.mp4", "a red heart at night"),
            ExampleClip(
                "Somebody waves", "plain-person.mp4", "a person in a red shirt and white trousers waving on grass"
            ),
        ),
    ),
    "depth": ControlKind(
        lambda device, depth_estimator: Depth(DEPTH_ESTIMATORS[depth_estimator], device),
        words=("depth",),
        settings=("depth_estimator",),
        controlnet="lllyasviel/control_v11f1p_sd15_depth",
        toyworld_controlnet="toyworld-depth",
        examples=(
            ExampleClip("One passes the other", "depth-passing.mp4", "a red circle and a yellow star on the sea"),
            ExampleClip("Walk", "depth-walk.mp4", "a person in a white shirt and red trousers walking on sand"),
        ),
    ),
    "pose": ControlKind(
        lambda device: Pose(*POSE_NETWORKS, device),
        words=("openpose",),
        controlnet="lllyasviel/control_v11p_sd15_openpose",
        toyworld_controlnet="toyworld-pose",
        examples=(
            ExampleClip("Walk", "skeleton-walk.mp4", "a person in a red shirt and blue trousers walking on grass"),
            ExampleClip("Wave", "skeleton-wave.mp4", "a person in a yellow shirt and black trousers waving on sand"),
            ExampleClip("Jump", "skeleton-jump.mp4", "a person in a green shirt and white trousers jumping in the sky"),
            ExampleClip("Dance", "skeleton-dance.mp4", "a person in a pink shirt and purple trousers at night"),
        ),
    ),
}


class _ControlNets(Mapping[str, str]):
    """Hub ids of ControlNets for Stable Diffusion 1.x by kind, as the table has them now."""

    def __getitem__(self, kind: str) -> str:
        if (source := CONTROLS[kind].controlnet) is None:
            raise KeyError(kind)
        return source

    def __iter__(self) -> Iterator[str]:
        return (name for name, kind in CONTROLS.items() if kind.controlnet is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


SD1_CONTROLNETS: Mapping[str, str] = _ControlNets()


def kind_of_file(name: str) -> str | None:
    """Return the kind that a ControlNet's file name tells, or None."""
    return next((kind for kind, row in CONTROLS.items() if any(word in name.lower() for word in row.words)), None)


def settings_of_others(kind: str) -> tuple[str, ...]:
    """Names of the settings that other kinds have and this one has not."""
    names = dict.fromkeys(name for row in CONTROLS.values() for name in row.settings)
    return tuple(name for name in names if name not in CONTROLS[kind].settings)


class LastAnnotator:
    """The annotator that was used last, kept with its networks until ``release`` or until another is wanted."""

    def __init__(self) -> None:
        self._made_from: tuple[Any, ...] = ()
        self._annotator: Annotator | None = None

    def draw(
        self,
        kind: ControlKind,
        frames: np.ndarray,
        *,
        settings: Mapping[str, Any],
        device: str,
        before_frame: BeforeFrame,
    ) -> np.ndarray:
        """Draw a kind's control frames, as an ``Annotator`` does, under the kind's own ``settings``.

        On a graphics card the networks go again at once. Raises UserError, of which GenerationFailed where memory runs
        out.
        """
        import torch

        made_from = (kind, device, settings)
        if self._annotator is None or self._made_from != made_from:
            self.release()
            self._made_from, self._annotator = made_from, kind.annotator(device=device, **settings)
        try:
            with memory_errors():
                return self._annotator(frames, before_frame)
        except torch.OutOfMemoryError as error:
            raise GenerationFailed("out of memory while the control was drawn: take a smaller resolution") from error
        finally:
            if not device.startswith("cpu"):
                self.release()

    def release(self) -> None:
        """Let go of its networks."""
        if self._annotator is not None:
            self._annotator.release()
        self._annotator = None
