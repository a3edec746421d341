"""Draw the example clips that the tabs offer: ``python -m toyworld.examples``.

Everything in them is drawn by this project: skeletons, depth, and plain clips for edges and editing.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from annotators.pose import draw_skeleton
from media.video_io import write_video
from toyworld.control_scenes import keypoints
from toyworld.render import render
from toyworld.scene import Figure, Object, Scene
from toyworld.sequences import acting, growing, moving, turning

SIDE_PX, FRAMES, FPS = 512, 24, 8
PERSON = Scene("sand", figures=(Figure("blue", "black", 0.5, 0.52, 0.72),), texture_seed=3)
WALKER = Scene("sand", figures=(Figure("blue", "black", 0.37, 0.52, 0.72),), texture_seed=3)
BEHIND = Object("star", "yellow", 0.62, 0.5, 0.24, nearness=0.25)
PASSING = Object("circle", "red", 0.25, 0.52, 0.2, nearness=0.9)
CLIPS: dict[str, tuple[str, tuple[Scene, ...]]] = {
    "skeleton-walk": ("skeleton", acting(WALKER, "walking", FRAMES, 2)),
    "skeleton-wave": ("skeleton", acting(PERSON, "waving", FRAMES, 3)),
    "skeleton-jump": ("skeleton", acting(PERSON, "jumping", FRAMES, 2)),
    "skeleton-dance": ("skeleton", acting(PERSON, "dancing", FRAMES, 2)),
    "depth-passing": ("depth", moving(Scene("grass", (PASSING, BEHIND)), "right", 0.5, FRAMES)),
    "depth-walk": ("depth", acting(WALKER, "walking", FRAMES, 2)),
    "plain-circle": ("plain", moving(Scene("grass", (Object("circle", "red", 0.3, 0.5, 0.22),)), "right", 0.4, FRAMES)),
    "plain-star": ("plain", turning(Scene("night", (Object("star", "yellow", 0.5, 0.5, 0.3),)), 20, FRAMES)),
    "plain-heart": ("plain", growing(Scene("sea", (Object("heart", "pink", 0.5, 0.5, 0.2),)), 1.5, FRAMES)),
    "plain-person": ("plain", acting(PERSON, "waving", FRAMES, 3)),
}


def skeleton(scene: Scene) -> np.ndarray:
    """Draw the OpenPose skeletons of a scene's mannequins."""
    return draw_skeleton(keypoints(scene, SIDE_PX, SIDE_PX), SIDE_PX, SIDE_PX)


def depth(scene: Scene) -> np.ndarray:
    """Draw a scene's depth, near is bright."""
    return np.repeat(render(scene, SIDE_PX, SIDE_PX).depth[..., None], 3, axis=-1)


def plain(scene: Scene) -> np.ndarray:
    """Draw a scene in colour."""
    return render(scene, SIDE_PX, SIDE_PX).image


PAINTERS: dict[str, Callable[[Scene], np.ndarray]] = {"skeleton": skeleton, "depth": depth, "plain": plain}


def main() -> None:
    """Draw and write every example clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("examples"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, (kind, scenes) in CLIPS.items():
        frames = np.stack([PAINTERS[kind](scene) for scene in scenes])
        write_video(options.out / f"{name}.mp4", frames, FPS, {})


if __name__ == "__main__":
    main()
