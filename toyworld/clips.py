"""Draw captioned toy-world clips to train a video model on: ``python -m toyworld.clips --out FOLDER``.

Things move, grow, shrink, turn and change colour; mannequins walk, wave, jump and dance; some scenes keep still. Writes
MP4s of eight frames and ``captions.tsv`` with several wordings of each. ``--seed 2`` draws others.
"""

import argparse
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from media.video_io import write_video
from toyworld.captions import (
    PLACE_PHRASES,
    SHAPE_WORDS,
    SIZE_WORDS,
    Choose,
    Says,
    describe_figure,
    speaker,
    with_article,
)
from toyworld.edits import with_object
from toyworld.render import render
from toyworld.scene import (
    BLOB,
    COLOURS,
    PLACES,
    SHAPES,
    Object,
    Scene,
    clashes,
    random_background,
    random_figure,
    random_object,
)
from toyworld.sequences import DIRECTIONS, MOTIONS, acting, changing, growing, moving, turning
from toyworld.splits import HELD_OUT_SEED, SIZE_PX, TRAINING_SEED
from utils import granted_cores

logger = logging.getLogger(__name__)
Facts = tuple[str, ...]
FRAMES, FPS = 8, 8
TRAINING_CLIPS = 4000  # that many, from number 0 on under TRAINING_SEED, are drawn to learn from
WORDINGS = 4
EDGE = 0.03  # kept free between a thing and the picture's edge
STREAM = 77  # keeps these scenes apart from the still pictures of the same seed
TURNING_SHAPES = ("square", "triangle", "star", "heart", "diamond")  # a circle that turns looks still

# The events of clips, by share; moving is the most, being four things.
EVENTS = {
    "moves": 0.46,
    "grows": 0.09,
    "shrinks": 0.09,
    "turns": 0.07,
    "recolours": 0.06,
    "acts": 0.18,
    "rests": 0.05,
}
VERBS: dict[str, tuple[str, ...]] = {
    "left": ("moves to the left", "moves left", "moving to the left", "moving left", "goes left", "slides to the left"),
    "right": (
        "moves to the right",
        "moves right",
        "moving to the right",
        "moving right",
        "goes right",
        "slides to the right",
    ),
    "up": ("moves up", "moving up", "rises", "goes up", "slides up", "rises up"),
    "down": ("moves down", "moving down", "falls", "goes down", "slides down", "falls down"),
    "grows": ("grows", "growing", "gets bigger", "becomes larger", "is growing"),
    "shrinks": ("shrinks", "shrinking", "gets smaller", "becomes smaller", "is shrinking"),
    "turns": ("turns", "turning", "rotates", "spins", "spinning"),
    "rests": ("stays still", "keeps still", "does not move", "standing still"),
    "walking": ("walks", "walking", "is walking", "walks to the right"),
    "waving": ("waves", "waving", "is waving", "waves a hand"),
    "jumping": ("jumps", "jumping", "is jumping", "jumps up"),
    "dancing": ("dances", "dancing", "is dancing"),
}


@dataclass(frozen=True)
class ToyClip:
    """One toy-world clip.

    Args:
        scenes: one per frame.
        kind: the event, a key of EVENTS.
        detail: the direction, the action or the new colour; empty for other events.
    """

    scenes: tuple[Scene, ...]
    kind: str
    detail: str = ""


def clip_at(number: int, seed: int = TRAINING_SEED, frames: int = FRAMES) -> ToyClip:
    """Return the clip with this number; numbers under another seed are other clips, alike or not."""
    random = np.random.default_rng([STREAM, seed, number])
    kind = str(random.choice(list(EVENTS), p=list(EVENTS.values())))
    return _MAKERS[kind](random, frames)


def still_scene(random: np.random.Generator, *, shape: str | None = None, position: str | None = None) -> Scene:
    """Return a random scene of one object, of a given shape or position if any."""
    background = random_background(random)
    thing = random_object(random, background, shape=shape, position=position)
    return Scene(background, (thing,), texture_seed=int(random.integers(2**31)))


def move(random: np.random.Generator, frames: int) -> ToyClip:
    """Move an object across 0.25 to 0.45 of the picture, whole all the way."""
    direction = str(random.choice(list(DIRECTIONS)))
    scene = still_scene(random)
    near = scene.objects[0].radius + EDGE
    distance = float(random.uniform(0.25, max(0.26, min(0.45, 1 - 2 * near))))
    start = float(random.uniform(near, max(near, 1 - near - distance)))
    across = float(random.uniform(max(near, 0.3), min(1 - near, 0.7)))
    start = start if sum(DIRECTIONS[direction]) > 0 else 1 - start
    x, y = (start, across) if DIRECTIONS[direction][0] else (across, start)
    placed = with_object(scene, replace(scene.objects[0], x=x, y=y))
    return ToyClip(moving(placed, direction, distance, frames), "moves", direction)


def resize(random: np.random.Generator, frames: int, *, grows: bool) -> ToyClip:
    """Double or halve an object near the middle."""
    scene = still_scene(random, position="centre")
    small, factor = float(random.uniform(0.12, 0.16)), float(random.uniform(1.8, 2.3))
    radius = small if grows else small * factor
    factor = factor if grows else 1 / factor
    resized = with_object(scene, replace(scene.objects[0], radius=radius))
    return ToyClip(growing(resized, factor, frames), "grows" if grows else "shrinks")


def turn(random: np.random.Generator, frames: int) -> ToyClip:
    """Turn an object with corners by a quarter or more."""
    scene = still_scene(random, shape=str(random.choice(TURNING_SHAPES)))
    thing = scene.objects[0]
    near = thing.radius + EDGE
    x, y = (float(np.clip(centre, near, 1 - near)) for centre in (thing.x, thing.y))
    return ToyClip(
        turning(with_object(scene, replace(thing, x=x, y=y)), float(random.uniform(90, 140)), frames), "turns"
    )


def recolour(random: np.random.Generator, frames: int) -> ToyClip:
    """Change an object's colour half-way."""
    scene = still_scene(random)
    first = scene.objects[0].colour
    others = [colour for colour in COLOURS if colour != first and not clashes(colour, scene.background)]
    colour = str(random.choice(others))
    return ToyClip(changing(scene, frames, colour=colour), "recolours", colour)


def act(random: np.random.Generator, frames: int) -> ToyClip:
    """Take a mannequin through one cycle of an action."""
    background = random_background(random)
    motion = str(random.choice(MOTIONS))
    figure = replace(random_figure(random, background), x=float(random.uniform(0.36, 0.5)), y=0.53)
    scene = Scene(background, figures=(figure,), texture_seed=int(random.integers(2**31)))
    return ToyClip(acting(scene, motion, frames), "acts", motion)


def rest(random: np.random.Generator, frames: int) -> ToyClip:
    """Keep one object still."""
    return ToyClip((still_scene(random),) * frames, "rests")


_MAKERS: dict[str, Callable[[np.random.Generator, int], ToyClip]] = {
    "moves": move,
    "grows": partial(resize, grows=True),
    "shrinks": partial(resize, grows=False),
    "turns": turn,
    "recolours": recolour,
    "acts": act,
    "rests": rest,
}


def describe(clip: ToyClip, random: np.random.Generator, *, complete: bool = False) -> str:
    """Return one caption of a clip: always with shape, colour and event.

    ``complete`` names the background too, in the plainest words.
    """
    choose, says = speaker(random, complete=complete)
    scene = clip.scenes[0]
    verb = verb_of(clip, choose)
    if scene.figures:
        subject = describe_figure(replace(scene.figures[0], action=None), says, choose)
    else:
        subject = describe_thing(scene.objects[0], clip.kind, says, choose)
    return " ".join(part for part in (subject, verb, backdrop(scene, choose) if says(0.75) else "") if part)


def verb_of(clip: ToyClip, choose: Choose) -> str:
    """Return the verb phrase of a clip's event."""
    if clip.kind == "recolours":
        return choose(*(f"{verb} {clip.detail}" for verb in ("becomes", "changes to", "changes its colour to")))
    return choose(*VERBS[clip.detail or clip.kind])


def describe_thing(thing: Object, kind: str, says: Says, choose: Choose) -> str:
    """Describe an object; its size is not named in a clip that changes it."""
    size = choose(*SIZE_WORDS[thing.size]) if kind not in ("grows", "shrinks") and says(0.3) else ""
    shape = BLOB if thing.shape == BLOB else choose(*SHAPE_WORDS.get(thing.shape, (thing.shape,)))
    noun = f"{size} {thing.colour} {shape}".strip()
    return choose(with_article(noun), f"the {noun}")


def backdrop(scene: Scene, choose: Choose) -> str:
    """Describe the background."""
    if scene.background in PLACES:
        return choose(*PLACE_PHRASES[scene.background])
    colour = scene.background.removeprefix("plain ")
    return choose(f"on a plain {colour} background", f"on {colour}", f"in front of {colour}")


def held_out(count: int, frames: int = FRAMES) -> list[tuple[str, ToyClip]]:
    """Return ``count`` different complete captions with their clips, of named things, for evaluation.

    No training clip has the same facts: thing, event and background.
    """
    found: dict[str, ToyClip] = {}
    numbers = itertools.count()
    while len(found) < count:
        clip = clip_at(next(numbers), HELD_OUT_SEED, frames)
        named = clip.scenes[0].figures or clip.scenes[0].objects[0].shape in SHAPES
        if named and facts(clip) not in trained_facts():
            found.setdefault(describe(clip, np.random.default_rng(0), complete=True), clip)
    return list(found.items())


def facts(clip: ToyClip) -> Facts:
    """Return kind and detail of the clip, its background, and the object's colour and shape or the clothes."""
    scene = clip.scenes[0]
    if scene.figures:
        return clip.kind, clip.detail, scene.background, scene.figures[0].shirt, scene.figures[0].trousers
    return clip.kind, clip.detail, scene.background, scene.objects[0].colour, scene.objects[0].shape


@lru_cache(1)
def trained_facts() -> frozenset[Facts]:
    """Return the facts of all training clips, drawn with one frame each, which is faster and has the same facts."""
    return frozenset(facts(clip_at(number, frames=1)) for number in range(TRAINING_CLIPS))


def write_clip(folder: Path, seed: int, size_px: int, number: int) -> list[str]:
    """Draw and write one clip; return its lines of ``captions.tsv``."""
    clip = clip_at(number, seed)
    frames = np.stack([render(scene, size_px, size_px).image for scene in clip.scenes])
    name = f"clip-{number:06d}.mp4"
    if not (folder / name).exists():
        write_video(folder / name, frames, FPS, {})
    random = np.random.default_rng([STREAM, seed, number, 1])
    captions = dict.fromkeys(describe(clip, random) for _ in range(WORDINGS))
    return [f"{name}\t{caption}" for caption in captions]


def main() -> None:
    """Draw the clips that the command line asks for, on all processors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(".training/toyworld-clips"))
    parser.add_argument("--count", type=int, default=TRAINING_CLIPS)
    parser.add_argument("--size", type=int, default=SIZE_PX, help="side in pixels")
    parser.add_argument("--seed", type=int, default=TRAINING_SEED, help=f"{HELD_OUT_SEED} for other clips")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    with get_context("spawn").Pool(granted_cores()) as workers:
        draw = partial(write_clip, options.out, options.seed, options.size)
        for done, clip in enumerate(workers.imap(draw, range(options.count), chunksize=16), 1):
            lines += clip
            if done % 500 == 0 or done == options.count:
                logger.info("drawn %d of %d clips", done, options.count)
    (options.out / "captions.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
