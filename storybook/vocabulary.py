"""The words that the storybook knows, and what to say of a prompt that asks for something else.

The page reads this before anything is drawn, so nothing heavy is imported.
"""

import csv
import difflib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from storybook.grammar import plural
from storybook.phrases import (
    COLOUR_WORDS,
    DRAWING_WORDS,
    MOTION_WORDS,
    NUMBERS,
    OPENINGS,
    PLACE_PHRASES,
    POSITION_PHRASES,
    SIZE_WORDS,
    verbs_of,
)
from storybook.things import all_things

# Row by row a thing or place and words that people ask for instead of it. The row of nothing holds the words of any
# sentence and of pictures as such, of which there is nothing to remark.
RELATED_TABLE = Path(__file__).with_name("related.tsv")


@dataclass(frozen=True)
class Unknown:
    """A word of a prompt that the storybook does not know, and the nearest things or places that it does."""

    word: str
    nearest: tuple[str, ...]


@cache
def related_words() -> dict[str, tuple[str, ...]]:
    """Words that people ask for, by the known name nearest to them; under "" those that mean nothing to draw."""
    with RELATED_TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {row["known"]: tuple(row["words"].split()) for row in rows}


@cache
def known_words() -> frozenset[str]:
    """Every single word that a caption may contain."""
    phrases = [
        *related_words()[""],
        *(name for thing in all_things() for name in (*thing.names, plural(thing.name), *verbs_of(thing))),
        *(phrase for table in _TABLES for phrases in table.values() for phrase in phrases),
        *DRAWING_WORDS,
        *OPENINGS,
        *(plural(alias) for thing in all_things() for alias in thing.aliases),
    ]
    return frozenset(word for phrase in phrases for word in _words(phrase))


_TABLES = (PLACE_PHRASES, POSITION_PHRASES, SIZE_WORDS, COLOUR_WORDS, NUMBERS, MOTION_WORDS)


def unknown_words(text: str) -> tuple[Unknown, ...]:
    """Return the words of the text that the storybook does not know, in order, each once."""
    found: dict[str, Unknown] = {}
    for word in _words(text):
        if word not in found and not _known(word):
            found[word] = Unknown(word, _nearest(word))
    return tuple(found.values())


def remark(text: str) -> str:
    """Return the remark on a prompt before it is drawn; empty if the storybook knows every word."""
    unknown = unknown_words(text)
    if not unknown:
        return ""
    words = _listed([f"“{entry.word}”" for entry in unknown])
    count = len(all_things()) // 100 * 100
    verb = "is" if len(unknown) == 1 else "are"
    nearest = list(dict.fromkeys(name for entry in unknown for name in entry.nearest[:1]))
    ending = f"; nearest: {', '.join(nearest)}" if nearest else ""
    return f"Storybook knows about {count} things; {words} {verb} not among them{ending}."


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", text.lower().replace("\u2019", "'").replace("'s", ""))


def _known(word: str) -> bool:
    if word in known_words() or word.isdigit():
        return True
    return any(stem in _stems_known() for stem in _stems(word))


@cache
def _stems_known() -> frozenset[str]:
    return frozenset(stem for word in known_words() if len(word) > 3 for stem in _stems(word))


def _stems(word: str) -> list[str]:
    """The word without the endings of its forms: walks, walked, walking and walk share one."""
    stems = [word]
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word[: -len(ending)]
            stems.append(stem)
            if ending in ("ing", "ed") and stem[-1] == stem[-2]:
                stems.append(stem[:-1])
    return stems


def _nearest(word: str) -> tuple[str, ...]:
    """Names of things or places near a word: related, a part of it, or spelt alike."""
    for part in (word, *_stems(word), *word.split("-")):
        for name, related in related_words().items():
            if name and part in related:
                return (name,)
    names = _names()
    parts = [part for part in word.split("-") if part in names]
    if parts:
        return tuple(dict.fromkeys(names[part] for part in parts))
    inside = [name for name in names if len(name) > 3 and (name in word or (len(word) > 3 and word in name))]
    alike = difflib.get_close_matches(word, [name for name in names if len(name) > 3], n=3, cutoff=0.75)
    return tuple(dict.fromkeys(names[name] for name in [*inside, *alike]))[:3]


@cache
def _names() -> dict[str, str]:
    """Every name, alias and place, and what it is the name of."""
    names = {name: thing.name for thing in reversed(all_things()) for name in thing.names}
    return names | {place: place for place in PLACE_PHRASES if place not in names}


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
