"""Describe a scene in words, in varied wording. Everything that is not standard is named, always."""

from collections.abc import Callable

import numpy as np

from storybook.grammar import MASS_NAMES, PLURAL_NAMES, plural, with_article
from storybook.phrases import (
    COLOUR_WORDS,
    CROSSING_VERBS,
    DRAWING_WORDS,
    NUMBERS,
    OPENINGS,
    PLACE_PHRASES,
    POSITION_PHRASES,
    SIZE_WORDS,
    verbs_of,
)
from storybook.scene import COLOURS, PLAIN, Placed, Scene
from storybook.things import Thing

Choose = Callable[..., str]


def caption(scene: Scene, random: np.random.Generator, *, complete: bool = False, verb: str | None = None) -> str:
    """One caption for ``scene``; ``complete`` takes the plainest words; ``verb`` says what is going on, else a verb of
    the thing's own does, or none."""

    def choose(*options: str) -> str:
        return options[0] if complete else str(options[random.integers(len(options))])

    def chance(share: float) -> bool:
        return not complete and bool(random.random() < share)

    subject, side = _subject(scene, choose, chance)
    if verb is None:
        verb = _verb(scene, choose) if chance(0.55) and not scene.stacked else ""
    place = "" if scene.place == PLAIN else place_phrase(scene.place, choose)
    if place.startswith("through") and not verb.endswith(CROSSING_VERBS):
        place = place_phrase(scene.place)
    facing = _facing(scene, choose)
    opening = str(random.choice(OPENINGS)) if not complete else ""
    if place and chance(0.07):
        return _joined(f"{place},", subject, verb, side, facing)
    parts = [verb, place, side] if not chance(0.3) else [verb, side, place]
    return _joined(opening, subject, *parts, facing)


def place_phrase(place: str, choose: Choose = lambda *options: options[0]) -> str:
    """A background in words: "in the jungle"."""
    if place in PLACE_PHRASES:
        return choose(*PLACE_PHRASES[place])
    colour = choose(*COLOUR_WORDS[place.removeprefix(f"{PLAIN} ")])
    return choose(
        f"on a plain {colour} background",
        f"on {with_article(colour)} background",
        f"on {colour}",
        f"in front of {with_article(colour)} wall",
    )


def _subject(scene: Scene, choose: Choose, chance: Callable[[float], bool]) -> tuple[str, str]:
    """Return the scene's things in words, with articles, and their place in the picture unless that is standard."""
    first, *others = scene.things
    if not others:
        if chance(0.12):
            described = _noun(first, choose, chance)
            subject = f"the {described}" if chance(0.6) else described
        else:
            subject = _with_article(first, choose, chance)
        named = first.position != "centre" and not scene.roaming
        return subject, choose(*POSITION_PHRASES[first.position]) if named else ""
    if all(other.name == first.name for other in others):
        return f"{choose(*NUMBERS[len(scene.things)])} {plural(first.name)}", ""
    return _pair(scene, choose, chance), ""


def _pair(scene: Scene, choose: Choose, chance: Callable[[float], bool]) -> str:
    """Two different things, one on top of the other or side by side, the left one first."""
    if scene.stacked:
        above, below = (_with_article(placed, choose, chance) for placed in scene.things)
        return f"{above} {choose('on top of', 'on', 'riding', 'above')} {below}"
    nouns = [_with_article(placed, choose, chance) for placed in sorted(scene.things, key=lambda placed: placed.x)]
    return choose(
        f"{nouns[0]} and {nouns[1]}",
        f"{nouns[0]} with {nouns[1]}",
        f"{nouns[0]} next to {nouns[1]}",
        f"{nouns[0]} to the left of {nouns[1]}",
        f"{nouns[1]} to the right of {nouns[0]}",
        f"{nouns[0]} on the left and {nouns[1]} on the right",
    )


def _with_article(placed: Placed, choose: Choose, chance: Callable[[float], bool]) -> str:
    """A thing with its adjectives and its article, where it takes one."""
    noun = _noun(placed, choose, chance)
    if placed.name in PLURAL_NAMES or (placed.name in MASS_NAMES and chance(0.5)):
        return noun
    return with_article(noun)


def _noun(placed: Placed, choose: Choose, chance: Callable[[float], bool]) -> str:
    """A thing with its adjectives, without an article."""
    aliases = [alias for alias in placed.thing.aliases if not (placed.colour and alias.split()[0] in COLOURS)]
    name = choose(*aliases) if aliases and chance(0.2) else placed.name
    words = [
        choose(*SIZE_WORDS[placed.size_word]) if placed.size_word != "medium" and not _in_company(placed) else "",
        choose(*DRAWING_WORDS) if placed.drawing else "",
        choose(*COLOUR_WORDS[placed.colour]) if placed.colour else "",
        name,
    ]
    return _joined(*words)


def _in_company(placed: Placed) -> bool:
    """Return True for the size of one thing among several, which lies between the sizes that have words."""
    return 0.32 < placed.size < 0.48


def _verb(scene: Scene, choose: Choose) -> str:
    thing: Thing = scene.things[0].thing
    verb = choose(*verbs_of(thing))
    several = len(scene.things) > 1 or thing.name in PLURAL_NAMES
    return choose(verb, verb, f"{'are' if several else 'is'} {verb}")


def _facing(scene: Scene, choose: Choose) -> str:
    first = scene.things[0]
    if not first.mirrored:
        return ""
    return choose("facing left", "looking left", "turned to the left", "facing the left side")


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)
