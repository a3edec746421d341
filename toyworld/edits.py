"""Instructions that change a scene, with the changed scene: the truth of instruction editing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from toyworld.captions import SHAPE_WORDS, with_article
from toyworld.scene import COLOURS, HELD_OUT_PAIRS, PLACES, SHAPES, Object, Scene, clashes, random_background

ATTRIBUTES = ("background", "colour", "shape", "shirt", "trousers")
PLACE_INSTRUCTIONS = {
    "sky": ("put it in the sky", "move it to the sky", "make the background a blue sky"),
    "grass": ("put it on grass", "move it to a meadow", "make the ground green grass"),
    "sand": ("put it on sand", "move it to the beach", "make the ground sand"),
    "sea": ("put it on the sea", "move it to the ocean", "make the ground water"),
    "night": ("make it night", "turn day into night", "put it under the stars at night"),
}


def edit(scene: Scene, random: np.random.Generator) -> tuple[str, str, Scene]:
    """Draw a random edit of a scene with one object or one mannequin.

    Returns the attribute that changes (of ATTRIBUTES), the instruction, and the scene after the edit, in which nothing
    else differs.
    """
    possible = ATTRIBUTES[:3] if scene.objects else ("background", "shirt", "trousers")
    attribute = str(random.choice(possible))
    if attribute == "background":
        return attribute, *edit_background(scene, random)
    if scene.figures:
        return attribute, *edit_clothes(scene, attribute, random)
    thing = scene.objects[0]
    changed, instruction = (repaint if attribute == "colour" else reshape)(thing, scene.background, random)
    return attribute, instruction, with_object(scene, changed)


def with_object(scene: Scene, thing: Object) -> Scene:
    """Return the scene with this object alone."""
    return replace(scene, objects=(thing,))


def edit_background(scene: Scene, random: np.random.Generator) -> tuple[str, Scene]:
    """Put the scene before another background on which everything can still be seen."""
    colours = [thing.colour for thing in scene.objects]
    colours += [colour for figure in scene.figures for colour in (figure.shirt, figure.trousers)]
    background = scene.background
    while background == scene.background or any(clashes(colour, background) for colour in colours):
        background = random_background(random)
    if background in PLACES:
        return str(random.choice(PLACE_INSTRUCTIONS[background])), replace(scene, background=background)
    colour = background.removeprefix("plain ")
    instruction = random.choice(
        [
            f"make the background {colour}",
            f"change the background to {colour}",
            f"put it on a plain {colour} background",
        ]
    )
    return str(instruction), replace(scene, background=background)


def repaint(thing: Object, background: str, random: np.random.Generator) -> tuple[Object, str]:
    """Give the object another colour."""
    colour = other(
        list(COLOURS),
        thing.colour,
        random,
        lambda colour: clashes(colour, background) or (colour, thing.shape) in HELD_OUT_PAIRS,
    )
    noun = word_for(thing.shape, random)
    instruction = random.choice(
        [
            f"paint it {colour}",
            f"make it {colour}",
            f"paint the {noun} {colour}",
            f"make the {noun} {colour}",
            f"turn the {thing.colour} {noun} {colour}",
        ]
    )
    return replace(thing, colour=colour), str(instruction)


def reshape(thing: Object, background: str, random: np.random.Generator) -> tuple[Object, str]:
    """Give the object another of the named shapes; it keeps its place, radius and colour."""
    shape = other(list(SHAPES), thing.shape, random, lambda shape: (thing.colour, shape) in HELD_OUT_PAIRS)
    before, after = word_for(thing.shape, random), with_article(word_for(shape, random))
    instruction = random.choice(
        [
            f"turn the {before} into {after}",
            f"turn it into {after}",
            f"make it {after}",
            f"replace the {before} with {after}",
            f"change the {thing.colour} {before} to {after}",
        ]
    )
    return replace(thing, shape=shape, outline=()), str(instruction)


def edit_clothes(scene: Scene, garment: str, random: np.random.Generator) -> tuple[str, Scene]:
    """Give the mannequin's shirt or trousers another colour."""
    figure, *others = scene.figures
    worn = {"shirt": figure.shirt, "trousers": figure.trousers}
    taken = set(worn.values())
    colour = other(
        list(COLOURS), worn[garment], random, lambda colour: clashes(colour, scene.background) or colour in taken
    )
    noun = str(random.choice([garment, "pants"])) if garment == "trousers" else garment
    instruction = random.choice([f"make the {noun} {colour}", f"paint the {noun} {colour}"])
    changed = replace(figure, shirt=colour) if garment == "shirt" else replace(figure, trousers=colour)
    return str(instruction), replace(scene, figures=(changed, *others))


def other(options: list[str], present: str, random: np.random.Generator, refused: Callable[[str], bool]) -> str:
    """Choose an option that is neither the present one nor refused."""
    return str(random.choice([option for option in options if option != present and not refused(option)]))


def word_for(shape: str, random: np.random.Generator) -> str:
    """Choose a word for the shape, as captions use them."""
    return str(random.choice(SHAPE_WORDS.get(shape, (shape,))))
