"""Instructions that change a scene, and what the scene is afterwards: the truth of instruction editing."""

from dataclasses import replace

import numpy as np

from storybook.captions import place_phrase
from storybook.grammar import with_article
from storybook.phrases import COLOUR_WORDS
from storybook.scene import COLOURS, PLACES, Scene, held_out_pair, takes_colour
from storybook.things import all_things

ATTRIBUTES = ("place", "colour", "thing")
PLACE_INSTRUCTIONS: dict[str, tuple[str, ...]] = {
    "snow": ("make it snow", "make it winter", "turn it into winter"),
    "night": ("make it night", "turn day into night"),
    "under water": ("put it under water",),
    "sky": ("make it fly in the sky",),
}


def edit(scene: Scene, random: np.random.Generator, things: int = 205) -> tuple[str, str, Scene]:
    """A random instruction for a scene of one thing: the attribute it names (of ATTRIBUTES), the instruction, and the
    scene that it leads to, in which nothing else is changed. ``things``: how many of the list may come in."""
    first = scene.things[0]
    possible = [name for name in ATTRIBUTES if name != "colour" or takes_colour(first.name)]
    attribute = str(random.choice(possible))
    if attribute == "place":
        return attribute, *edit_place(scene, random)
    if attribute == "colour":
        return attribute, *repaint(scene, random)
    return attribute, *replace_thing(scene, random, things)


def edit_place(scene: Scene, random: np.random.Generator) -> tuple[str, Scene]:
    """Another place, not one that training never shows with this thing."""
    name = scene.things[0].name
    places = [place for place in PLACES if place != scene.place and not held_out_pair(name, place)]
    place = str(random.choice(places))
    where = place_phrase(place, lambda *options: str(random.choice(options)))
    nouns = (f"put it {where}", f"put it {where}", f"put the {name} {where}", f"change the place to {place}")
    return str(random.choice((*PLACE_INSTRUCTIONS.get(place, ()), *nouns))), replace(scene, place=place)


def repaint(scene: Scene, random: np.random.Generator) -> tuple[str, Scene]:
    """The first thing in another colour."""
    first, *others = scene.things
    clashing = scene.place.removeprefix("plain ")
    colour = str(random.choice([name for name in COLOURS if name not in (first.colour, clashing)]))
    word = str(random.choice(COLOUR_WORDS[colour]))
    instruction = random.choice(
        [f"paint it {word}", f"make it {word}", f"paint the {first.name} {word}", f"make the {first.name} {word}"]
    )
    return str(instruction), replace(scene, things=(replace(first, colour=colour), *others))


def replace_thing(scene: Scene, random: np.random.Generator, things: int = 205) -> tuple[str, Scene]:
    """Another thing where the first one is, in its own colour."""
    first, *others = scene.things
    names = [
        thing.name
        for thing in all_things()[:things]
        if thing.name != first.name and not held_out_pair(thing.name, scene.place)
    ]
    name = str(random.choice(names))
    after = with_article(name)
    instruction = random.choice(
        [
            f"turn the {first.name} into {after}",
            f"replace the {first.name} with {after}",
            f"turn it into {after}",
            f"make it {after}",
        ]
    )
    mirrored = first.mirrored and next(thing for thing in all_things() if thing.name == name).has_side(first.drawing)
    return str(instruction), replace(scene, things=(replace(first, name=name, colour=None, mirrored=mirrored), *others))
