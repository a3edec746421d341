"""The words that the toy world's networks know, and what to say of a prompt that asks for something else.

The page reads this before anything is drawn, so nothing heavy is imported.
"""

import re
from functools import cache

from toyworld.captions import (
    ACTION_PHRASES,
    OPENINGS,
    PLACE_PHRASES,
    POSITION_PHRASES,
    SHAPE_WORDS,
    SIZE_WORDS,
    with_article,
)
from toyworld.scene import BLOB, COLOURS, SHAPES

MOST_NAMED = 6
# Of captions of pictures, of clips and of instructions, beside the tables of captions.
OTHER_WORDS = """
a an and another at become becomes black body both clothes dark dress drawing drawn everything figure from front
goes grow grows hand high hold image in into is it jump jumps left low make makes man move moves moving of off
on one other over paint paints pant part person persons picture plain put raise raises right shape shirt show
shows shrink shrinks side slowly somebody spins stand stands still the their then there they this to trousers
turn turns turning two under up upper video wave waves walk walks wear wears wearing while with woman background
below above dances dancing dance quickly fast smaller larger bigger change changes colour color replace day
place scene growing shrinking spinning does falls gets grey keeps not rises rotates slides stays
"""
# What people ask for, and the thing or place of the toy world that is nearest.
NEAREST = {
    "person": "man men woman women girl boy child people human dancer knight king queen astronaut robot princess",
    "circle": "sun moon planet apple orange balloon face wheel coin earth bubble egg cat dog lion fox panda bird fish",
    "square": "house box cube building window door tower car bus train castle",
    "triangle": "mountain pyramid tent tree roof sail rocket",
    "star": "flower snowflake firework sparkle spider",
    "heart": "love rose valentine butterfly",
    "diamond": "kite gem jewel crystal",
    "on grass": "jungle forest field garden park hill hills savanna wood woods countryside",
    "on sand": "desert dune dunes island coast shore",
    "on the sea": "river lake underwater pool boat ship sailing swimming surfing waterfall",
    "at night": "space galaxy universe dark midnight cosmos",
    "in the sky": "clouds cloud air flying heaven",
}


@cache
def known_words() -> frozenset[str]:
    """Return every single word that a caption may contain."""
    tables = (PLACE_PHRASES, POSITION_PHRASES, SIZE_WORDS, SHAPE_WORDS, ACTION_PHRASES)
    phrases = [phrase for table in tables for phrases in table.values() for phrase in phrases]
    return frozenset(_words(" ".join([*phrases, OTHER_WORDS, *COLOURS, *SHAPES, BLOB, *OPENINGS, "gray ball"])))


def unknown_words(text: str) -> list[str]:
    """Return the words of a text that the toy world does not know, in order, each once."""
    return [word for word in dict.fromkeys(_words(text)) if not _known(word)]


def nearest_sentence(text: str) -> str:
    """Return a sentence that works and says as much of a text as the toy world has words for."""
    words = _words(text)
    near = {word: name for name, several in NEAREST.items() for word in several.split()}
    meant = [near.get(word) or near.get(word.removesuffix("s"), word) for word in words]
    thing = next((word for word in meant if word in (*SHAPES, "person")), SHAPES[0])
    colours = [word for word in words if word in COLOURS]
    place = next((word for word in meant if " " in word), "")
    if not place:
        place = next((one[0] for one in PLACE_PHRASES.values() if set(one[0].split()[-1:]) & set(words)), "")
    colour = colours[0] if colours else "red"
    if thing == "person":
        return " ".join(filter(None, (f"a person in {with_article(colour)} shirt and black trousers", place)))
    return " ".join(filter(None, (with_article(f"{colour} {thing}"), place or PLACE_PHRASES["grass"][0])))


def remark(text: str) -> str:
    """Return the remark on a prompt before it is drawn; empty if the toy world knows every word."""
    unknown = unknown_words(text)
    if not unknown:
        return ""
    listed = ", ".join(f"“{word}”" for word in unknown[:MOST_NAMED])
    more = f" and {len(unknown) - MOST_NAMED} more words" if len(unknown) > MOST_NAMED else ""
    verb = "is" if len(unknown) == 1 else "are"
    return (
        f"The toy world knows six shapes, people and five places; {listed}{more} {verb} not among its words. It can "
        f"draw: {nearest_sentence(text)}. A Stable Diffusion checkpoint draws what you wrote."
    )


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower().replace("\u2019", "'").replace("'s", ""))


def _known(word: str) -> bool:
    return word in known_words() or (word.endswith("s") and word[:-1] in known_words())
