"""The storybook's words: a tokenizer and a small CLIP of its own, trained first and then frozen.

Every thing of the list is in it, also those that the denoiser has not been shown yet: it can learn them later without
a word changing its meaning.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from transformers import CLIPModel, CLIPTokenizer

from storybook.captions import caption
from storybook.scene import BACKGROUNDS, COLOURS, POSITIONS, SIZES, STAGES, Scene, Variety
from storybook.things import all_things, thing_index
from toyworld.splits import SIZE_PX
from training.storybook.data import DrawnPool, scene_at
from training.toyworld.text import UNKNOWN, ClipCourse, Described, build_clip, build_tokenizer, learn_clip

WIDTH = 192
VOCABULARY = 2600
PAIRS = 48  # captions with their pictures in a batch
CAPTIONS = 144  # and others, of scenes that need not be drawn
SPOKEN = 10**7  # number of the first scene that is described and never drawn

ATTRIBUTES = {
    "thing": len(all_things()),
    "second thing": len(all_things()),
    "background": len(BACKGROUNDS),
    "count": 3,
    "size": len(SIZES),
    "position": len(POSITIONS),
    "colour": len(COLOURS) + 1,  # the last: its own
    "drawing": 2,
    "mirrored": 2,
    "stacked": 2,
}


def attributes(scene: Scene) -> list[int]:
    """The scene's attributes as class numbers in the order of ATTRIBUTES, UNKNOWN where one does not apply.

    Of two different things the upper or the left one is the first.
    """
    first, *others = scene.things if scene.stacked else sorted(scene.things, key=lambda placed: placed.x)
    second = UNKNOWN if not others or others[0].name == first.name else thing_index(others[0].name)
    named = [thing_index(first.name), second, BACKGROUNDS.index(scene.place), len(scene.things) - 1]
    if others:
        return [*named, *(UNKNOWN,) * 5, int(scene.stacked)]
    return [
        *named,
        list(SIZES).index(first.size_word),
        UNKNOWN if scene.roaming else POSITIONS.index(first.position),
        len(COLOURS) if first.colour is None else list(COLOURS).index(first.colour),
        first.drawing,
        int(first.mirrored),
        UNKNOWN,
    ]


# Pictures of some scenes, uint8 (n, SIZE_PX, SIZE_PX, 3), and those scenes.
Pictures = Callable[[np.random.Generator], tuple[np.ndarray | torch.Tensor, list[Scene]]]


def pictures_of(pool: DrawnPool) -> Pictures:
    """PAIRS pictures of a pool at a time, shrunk."""

    def draw(random: np.random.Generator) -> tuple[np.ndarray, list[Scene]]:
        chosen = random.choice(len(pool), PAIRS, replace=False)
        images = np.stack([cv2.resize(pool.images[number], (SIZE_PX, SIZE_PX)) for number in chosen])
        return images, [pool.scene(number) for number in chosen]

    return draw


def train_clip(
    folder: Path, pictures: Pictures, course: ClipCourse, variety: Variety = STAGES[-1]
) -> tuple[CLIPTokenizer, CLIPModel]:
    """The tokenizer and the trained CLIP, in float32 and evaluation mode; resumes from ``folder``.

    It learns from ``pictures``, and from CAPTIONS captions of other scenes of ``variety`` that need not be drawn.
    """
    random = np.random.default_rng(0)
    tokenizer = build_tokenizer([caption(scene_at(index, variety), random) for index in range(20_000)], VOCABULARY)
    torch.manual_seed(0)
    model = build_clip(tokenizer, WIDTH)

    def examples(random: np.random.Generator) -> Described:
        images, scenes = pictures(random)
        spoken = SPOKEN + random.integers(SPOKEN, size=CAPTIONS)
        scenes = [*scenes, *(scene_at(int(number), variety) for number in spoken)]
        truth = np.array([attributes(scene) for scene in scenes])
        return Described(images, [caption(scene, random) for scene in scenes], truth)

    learn_clip(folder / "clip.pt", tokenizer, model, examples, ATTRIBUTES, course)
    return tokenizer, model
