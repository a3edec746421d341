"""The list of things that the storybook knows, in order of priority. Nothing here knows about pixels."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("things.tsv")
GOES, FLIES, SWIMS, STANDS, ANY = "goes", "flies", "swims", "stands", "any"
FIRST = 49  # the least that the storybook must know
LEFT, RIGHT, FRONT = "left", "right", "front"


@dataclass(frozen=True)
class Thing:
    """Row of the table: ``icon`` is its name in both picture sets, ``moves`` one of GOES, FLIES, SWIMS, STANDS, ANY,
    ``aliases`` other names, ``facing`` which way its drawing in either set looks (LEFT, RIGHT or FRONT)."""

    name: str
    icon: str
    moves: str
    aliases: tuple[str, ...]
    facing: tuple[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it goes by, its own first."""
        return (self.name, *self.aliases)

    def has_side(self, drawing: int = 0) -> bool:
        """Return True if this drawing of it faces to a side that can be told."""
        return self.facing[drawing] != FRONT


@cache
def all_things() -> tuple[Thing, ...]:
    """All rows of the table, the most important first."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return tuple(
        Thing(
            name=row["name"],
            icon=row["icon"],
            moves=row["moves"],
            aliases=tuple(alias.strip() for alias in (row["also called"] or "").split(",") if alias.strip()),
            facing=_facing(row.get("facing") or ""),
        )
        for row in rows
    )


@cache
def thing_named(name: str) -> Thing:
    """The thing with this name or alias; KeyError where there is none."""
    for thing in all_things():
        if name in thing.names:
            return thing
    raise KeyError(name)


@cache
def thing_index(name: str) -> int:
    """The number of the thing with this name, its row in the array of drawings."""
    return all_things().index(thing_named(name))


def _facing(word: str) -> tuple[str, str]:
    words = {"l": LEFT, "r": RIGHT, "-": FRONT}
    first, second = (words[letter] for letter in word or "--")
    return first, second
