"""Lists of prompts that models are compared on; those of the toy world come with the scenes that they describe."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from pathlib import Path

import numpy as np

from settings.user_files import read_text
from toyworld.captions import caption
from toyworld.clips import ToyClip, held_out
from toyworld.scene import (
    ACTIONS,
    BACKGROUNDS,
    BLOB,
    HELD_OUT_PAIRS,
    POSITIONS,
    SHAPES,
    SIZES,
    Scene,
    clashes,
    random_figure,
    random_object,
    random_pair,
)

FOLDER = Path(__file__).parent / "prompts"
TOYWORLD, GENERAL = FOLDER / "toyworld.txt", FOLDER / "general.txt"
SEED = 41  # of the toy prompts' scenes; training draws its own under other seeds


@dataclass(frozen=True)
class ToyPrompt:
    """A complete caption, and a scene that it describes: one of many, since words leave places open. Of one object the
    caption says roughly where it is, of two how they lie to each other, of a mannequin nothing."""

    prompt: str
    scene: Scene


def read_prompts(path: Path) -> list[str]:
    """Read the prompts of a UTF-8 text file, one in a line; empty lines and comments after ``#`` do not count."""
    lines = (line.strip() for line in read_text(path).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def toyworld_prompts() -> list[ToyPrompt]:
    """Return the 50 prompts of ``prompts/toyworld.txt`` with the scene of each.

    25 have one object, 10 a colour and shape that training never showed together, 8 two objects, 7 a mannequin. Drawn
    from fixed seeds; shapes, sizes, positions, backgrounds, held-out pairs and actions take turns, so that each comes
    up.
    """
    kinds: tuple[tuple[Callable[[int, np.random.Generator], Scene | None], int], ...] = (
        (one_object, 25),
        (unseen_pair, 10),
        (two_objects, 8),
        (mannequin, 7),
    )
    scenes = [scene for number, (draw, wanted) in enumerate(kinds) for scene in several(draw, wanted, number)]
    return [ToyPrompt(caption(scene, np.random.default_rng(0), complete=True), scene) for scene in scenes]


def several(draw: Callable[[int, np.random.Generator], Scene | None], wanted: int, kind: int) -> Iterator[Scene]:
    """Yield so many scenes of a kind, each the first that fits its turn."""
    for turn in range(wanted):
        drawn = (draw(turn, np.random.default_rng([SEED, kind, turn, attempt])) for attempt in count())
        yield next(scene for scene in drawn if scene is not None)


def background_of(turn: int) -> str:
    """Return the background of a turn: 7 has no divisor in common with their number, so that all of them come up."""
    return BACKGROUNDS[7 * turn % len(BACKGROUNDS)]


def one_object(turn: int, random: np.random.Generator) -> Scene:
    """Draw one object of a colour and shape that training showed together."""
    background = background_of(turn)
    thing = random_object(
        random,
        background,
        shape=SHAPES[turn % len(SHAPES)],
        position=POSITIONS[turn % len(POSITIONS)],
        size=list(SIZES)[turn // len(SHAPES) % len(SIZES)],
    )
    return Scene(background, (thing,), texture_seed=turn)


def unseen_pair(turn: int, random: np.random.Generator) -> Scene | None:
    """Draw one object of a colour and shape that training never showed together; None if it can hardly be seen."""
    colour, shape = HELD_OUT_PAIRS[turn % len(HELD_OUT_PAIRS)]
    background = str(random.choice(BACKGROUNDS))
    position, size = POSITIONS[(turn + turn // len(POSITIONS)) % len(POSITIONS)], list(SIZES)[turn % len(SIZES)]
    thing = random_object(random, background, shape=shape, position=position, size=size)
    return None if clashes(colour, background) else Scene(background, (replace(thing, colour=colour),))


def two_objects(turn: int, random: np.random.Generator) -> Scene | None:
    """Draw two objects side by side or one above the other; None if the outline of one has no name."""
    background = background_of(turn)
    pair = random_pair(random, background)
    return None if BLOB in (thing.shape for thing in pair) else Scene(background, pair, texture_seed=turn)


def mannequin(turn: int, random: np.random.Generator) -> Scene | None:
    """Draw a mannequin in the named action of this turn; None if chance gives another."""
    background = background_of(turn + 3)
    figure = random_figure(random, background)
    return (
        Scene(background, figures=(figure,), texture_seed=turn)
        if figure.action == list(ACTIONS)[turn % len(ACTIONS)]
        else None
    )


def toyworld_motion_prompts(frames: int = 8) -> list[tuple[str, ToyClip]]:
    """Return 100 complete captions of toy-world clips that training never saw, each with its clip of so many frames.

    Things move, grow, shrink, turn or change colour; people act.
    """
    return held_out(100, frames)


# By the name under which a comparison asks for them.
LISTS: Mapping[str, Callable[[], list[str]]] = {
    "toyworld": lambda: read_prompts(TOYWORLD),
    "toyworld-motion": lambda: [prompt for prompt, _ in toyworld_motion_prompts()],
    "general": lambda: read_prompts(GENERAL),
}


@lru_cache(4)
def truths(frames: int) -> Mapping[str, Scene | ToyClip]:
    """Return the scene or the clip of so many frames that each toy-world prompt describes."""
    return {toy.prompt: toy.scene for toy in toyworld_prompts()} | dict(toyworld_motion_prompts(frames))
