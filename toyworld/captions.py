"""Describe a scene in words, in varied wording and with attributes left out at random."""

from collections.abc import Callable

import numpy as np

from toyworld.scene import BLOB, PLACES, Figure, Object, Scene

PLACE_PHRASES = {
    "sky": ("in the sky", "in a blue sky", "against the sky", "in front of the sky"),
    "grass": ("on grass", "on green grass", "on the grass", "on a meadow"),
    "sand": ("on sand", "on a sandy beach", "on the sand", "on the beach"),
    "sea": ("on the sea", "in the sea", "on the water", "in the ocean"),
    "night": ("at night", "in a starry night", "in the night sky", "under the stars"),
}
POSITION_PHRASES = {
    "left": ("on the left", "at the left", "on the left side"),
    "right": ("on the right", "at the right", "on the right side"),
    "top": ("at the top", "in the upper part", "up high"),
    "bottom": ("at the bottom", "in the lower part", "down low"),
    "centre": ("in the centre", "in the middle", "in the center"),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "medium": ("medium",), "large": ("large", "big", "huge")}
SHAPE_WORDS = {"circle": ("circle", "circle", "ball", "disc"), "diamond": ("diamond", "diamond", "rhombus")}
ACTION_PHRASES = {
    "standing": ("standing", "standing still"),
    "waving": ("waving", "waving a hand"),
    "raising both arms": ("raising both arms", "with arms up"),
    "walking": ("walking",),
    "jumping": ("jumping",),
}
Choose = Callable[..., str]  # one of several wordings
Says = Callable[[float], bool]  # True at this chance
OPENINGS = ("", "", "", "", "a picture of ", "a drawing of ", "an image of ", "there is ")


def speaker(random: np.random.Generator, *, complete: bool) -> tuple[Choose, Says]:
    """Return a chooser of wordings and a decision to mention a thing at some chance.

    ``complete`` mentions everything, in the first and plainest wording.
    """

    def choose(*options: str) -> str:
        return options[0] if complete else str(random.choice(options))

    def says(chance: float) -> bool:
        return complete or random.random() < chance

    return choose, says


def caption(scene: Scene, random: np.random.Generator, *, complete: bool = False) -> str:
    """Return one caption of ``scene``; shape and colour are always named. ``complete`` names everything, plainly."""
    choose, says = speaker(random, complete=complete)

    def background() -> str:
        name = scene.background
        if name in PLACES:
            return choose(*PLACE_PHRASES[name])
        colour = name.removeprefix("plain ")
        return choose(
            f"on a plain {colour} background",
            f"on {colour}",
            f"on {with_article(colour)} background",
            f"in front of {colour}",
        )

    def noun(thing: Object, size_chance: float) -> str:
        size = choose(*SIZE_WORDS[thing.size]) if says(size_chance) else ""
        shape = choose(*SHAPE_WORDS.get(thing.shape, (thing.shape,))) if thing.shape != BLOB else BLOB
        return with_article(f"{size} {thing.colour} {shape}".strip())

    if scene.figures:
        subject = describe_figure(scene.figures[0], says, choose)
        place = ""
    elif len(scene.objects) == 2:
        first, second = (noun(thing, 0.0 if complete else 0.15) for thing in scene.objects)
        subject = describe_pair((first, second), scene.objects, says=says, choose=choose, random=random)
        place = ""
    else:
        thing = scene.objects[0]
        subject = noun(thing, 0.5)
        place = choose(*POSITION_PHRASES[thing.position]) if says(0.6) else ""
    parts = [place, background() if says(0.8) else ""]
    if not complete and random.random() < 0.3:
        parts.reverse()
    opening = "" if complete else str(random.choice(OPENINGS))
    return opening + " ".join(part for part in (subject, *parts) if part)


def with_article(phrase: str) -> str:
    """Return the phrase with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def describe_figure(figure: Figure, says: Says, choose: Choose) -> str:
    """Describe a mannequin: its clothes always, the action most often where it has a name."""
    clothes = choose(
        f"in a {figure.shirt} shirt and {figure.trousers} trousers",
        f"wearing a {figure.shirt} shirt and {figure.trousers} pants",
    ).replace("a orange", "an orange")
    action = choose(*ACTION_PHRASES[figure.action]) if figure.action and says(0.8) else ""
    return " ".join(part for part in (choose("a person", "a figure", "somebody"), clothes, action) if part)


def describe_pair(
    nouns: tuple[str, str], pair: tuple[Object, ...], *, says: Says, choose: Choose, random: np.random.Generator
) -> str:
    """Describe two objects, of which ``nouns`` are the words, most often with their arrangement."""
    first, second = nouns
    sideways = abs(pair[0].x - pair[1].x) > abs(pair[0].y - pair[1].y)
    forwards = pair[0].x < pair[1].x if sideways else pair[0].y < pair[1].y
    if not says(0.7):
        return f"{first} and {second}"
    if not forwards:
        first, second = second, first
    if sideways:
        if random.random() < 0.5:
            return f"{first} {choose('to the left of', 'left of')} {second}"
        return f"{second} {choose('to the right of', 'right of')} {first}"
    if random.random() < 0.5:
        return f"{first} {choose('above', 'over')} {second}"
    return f"{second} {choose('below', 'under')} {first}"
