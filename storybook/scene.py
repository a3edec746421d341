"""The contents of the storybook: frozen descriptions of scenes, and random draws of them.

Lengths are fractions of the picture's shorter side, x to the right and y downwards, angles in degrees
counter-clockwise. Nothing here knows about pixels.

What a caption does not name takes a standard value: in the middle, of medium size, upright, facing right, in its own
colour, the first of its two drawings, with a few percent of jitter. A ``Variety`` says how often something else is
drawn, and then the caption names it.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from storybook.things import ANY, FIRST, FLIES, GOES, STANDS, SWIMS, Thing, all_things, thing_named

RGB = tuple[int, int, int]

PLACES = (
    *("meadow", "jungle", "forest", "desert", "beach", "sea", "under water", "snow", "mountains", "sky", "night"),
    *("space", "city", "room"),
)
PLAIN = "plain"  # the background where a caption names none
COLOURS: dict[str, RGB] = {
    "red": (222, 45, 45),
    "orange": (245, 140, 35),
    "yellow": (250, 212, 45),
    "green": (50, 170, 75),
    "blue": (45, 105, 225),
    "purple": (140, 70, 190),
    "pink": (245, 130, 185),
    "brown": (135, 85, 50),
    "white": (246, 246, 246),
    "grey": (150, 150, 156),
    "black": (45, 45, 50),
}
PLAIN_COLOURS = tuple(colour for colour in COLOURS if colour != "brown")
BACKGROUNDS = (*PLACES, PLAIN, *(f"plain {colour}" for colour in PLAIN_COLOURS))

SIZES: dict[str, tuple[float, float]] = {"small": (0.25, 0.30), "medium": (0.53, 0.57), "large": (0.80, 0.86)}
POSITIONS = ("left", "centre", "right", "top", "bottom")
MIDDLE = (0.5, 0.52)
STACKED = 0.35  # the share of pairs in which one thing is on top of the other
NATURAL_PLACES: dict[str, tuple[str, ...]] = {
    GOES: ("meadow", "jungle", "forest", "desert", "snow", "mountains", "city", "beach"),
    FLIES: ("sky", "night", "mountains", "meadow", "space", "sea"),
    SWIMS: ("sea", "under water", "beach"),
    STANDS: ("meadow", "room", "beach", "city", "forest"),
    ANY: PLACES,
}
# Prompts that the project itself names; training may show them.
ALWAYS_SHOWN = {("lion", "jungle"), ("astronaut", "space"), ("rocket", "space"), ("horse", "meadow"), ("fox", "forest")}
# Things that no colour word changes: people, food and what has its own colours or several.
OWN_COLOURS = frozenset(
    (
        *("dancer", "surfer", "astronaut", "cyclist", "skier", "swimmer", "runner", "walker", "horse rider"),
        *("santa claus", "panda", "zebra", "rainbow", "fire", "volcano", "fountain", "statue", "parachute", "ball"),
        *("pizza", "cake", "hamburger", "sunflower", "watermelon", "pineapple", "donut", "coffee", "ice cream"),
        *("strawberry", "banana", "corn", "carrot", "broccoli", "bread", "cookie", "tree", "pine", "palm", "cactus"),
        *("phone", "piano", "skull", "kite", "ferris wheel", "peacock", "ambulance", "police car", "ladybug"),
        *("snowflake", "basketball", "tropical fish", "snowman", "sun", "duck", "penguin", "drum"),
    )
)


@dataclass(frozen=True)
class Placed:
    """One thing in a scene: ``size`` is the longer side of its drawing (0 first, 1 other), (x, y) the middle of its
    box, ``mirrored`` facing left, ``colour`` None for its own, ``nearness`` 0 (far) to 1 (near)."""

    name: str
    x: float = MIDDLE[0]
    y: float = MIDDLE[1]
    size: float = 0.55
    drawing: int = 0
    mirrored: bool = False
    angle: float = 0.0
    colour: str | None = None
    nearness: float = 0.5

    @property
    def thing(self) -> Thing:
        """The row of the table."""
        return thing_named(self.name)

    @property
    def size_word(self) -> str:
        """The size word whose range is nearest."""
        return min(SIZES, key=lambda name: abs(self.size - sum(SIZES[name]) / 2))

    @property
    def position(self) -> str:
        """The position word of its middle."""
        return position_word(self.x, self.y)


@dataclass(frozen=True)
class Scene:
    """A place (one of BACKGROUNDS) and what is in it; ``place_seed`` and ``variation`` (0 standard, 1 all there is) fix
    hills, clouds and trees; ``roaming`` where the position of its one thing goes unnamed."""

    place: str
    things: tuple[Placed, ...] = ()
    place_seed: int = 0
    variation: float = 0.0
    roaming: bool = False

    @property
    def stacked(self) -> bool:
        """True if the first of two things is on top of the second, rather than side by side."""
        if len(self.things) != 2:
            return False
        first, second = self.things
        return abs(first.x - second.x) < abs(first.y - second.y)


@dataclass(frozen=True)
class Variety:
    """Variation of a world.

    ``things`` is the number of things of the list that occur, ``place_variation`` the amount by which places differ;
    all others are chances that something is drawn otherwise than standard (and named, except ``roaming``).
    """

    things: int = 205
    plain: float = 0.12
    plain_colour: float = 0.06
    natural: float = 0.35
    place_variation: float = 0.15
    size: float = 0.0
    side: float = 0.0
    facing: float = 0.0
    colour: float = 0.0
    other_drawing: float = 0.0
    second: float = 0.0
    count: float = 0.0
    roaming: float = 0.0


STAGES = (
    Variety(things=FIRST),
    Variety(),
    Variety(place_variation=0.3, size=0.2, side=0.2),
    Variety(place_variation=0.45, size=0.2, side=0.25, facing=0.2, colour=0.2, other_drawing=0.12),
    Variety(
        place_variation=0.7, size=0.2, side=0.25, facing=0.2, colour=0.2, other_drawing=0.12, second=0.12, count=0.1
    ),
    Variety(
        place_variation=1.0,
        size=0.2,
        side=0.25,
        facing=0.2,
        colour=0.2,
        other_drawing=0.12,
        second=0.12,
        count=0.1,
        roaming=0.3,
    ),
)


def held_out_pair(thing: str, place: str) -> bool:
    """Return True if training never shows this thing in this place, as with about a tenth of all pairs."""
    if place not in PLACES or (thing, place) in ALWAYS_SHOWN:
        return False
    return zlib.crc32(f"{thing} in {place}".encode()) % 10 == 0


def position_word(x: float, y: float) -> str:
    """The position word of a middle at (x, y): ``centre`` within 0.1 of the standard one, else the longer offset."""
    right, down = x - MIDDLE[0], y - MIDDLE[1]
    if max(abs(right), abs(down)) < 0.1:
        return "centre"
    if abs(right) >= abs(down):
        return "right" if right > 0 else "left"
    return "bottom" if down > 0 else "top"


def takes_colour(name: str) -> bool:
    """Return True if a colour word changes this thing."""
    return name not in OWN_COLOURS


def random_scene(random: np.random.Generator, variety: Variety = STAGES[-1], *, held_out: bool = False) -> Scene:
    """A scene of the training distribution; ``held_out``: of the pairs that training never shows."""
    things = all_things()[: variety.things]
    while True:
        thing = things[random.integers(len(things))]
        place = str(random.choice(PLACES)) if held_out else random_place(random, thing, variety)
        second = things[random.integers(len(things))]
        if held_out == held_out_pair(thing.name, place) and not held_out_pair(second.name, place):
            break
    placed, roaming = _random_things(random, thing, second, place, variety)
    return Scene(place, placed, int(random.integers(2**31)), variety.place_variation, roaming)


def random_place(random: np.random.Generator, thing: Thing, variety: Variety) -> str:
    """A background for a thing: plain, a place where it is at home, or any."""
    chance = random.random()
    if chance < variety.plain:
        return PLAIN
    if chance < variety.plain + variety.plain_colour:
        return f"plain {random.choice(PLAIN_COLOURS)}"
    if random.random() < variety.natural:
        return str(random.choice(NATURAL_PLACES[thing.moves]))
    return str(random.choice(PLACES))


def _random_things(
    random: np.random.Generator, thing: Thing, second: Thing, place: str, variety: Variety
) -> tuple[tuple[Placed, ...], bool]:
    """Draw the things of the scene; also return True if the single thing roams."""
    chance = random.random()
    if chance < variety.second and second != thing:
        if random.random() < STACKED:
            return _stacked(random, thing.name, second.name), False
        names = (thing.name, second.name)
        return tuple(_in_row(random, name, number, 2) for number, name in enumerate(names)), False
    if chance < variety.second + variety.count:
        count = int(random.choice((2, 2, 3)))
        return tuple(_in_row(random, thing.name, number, count) for number in range(count)), False
    roaming = random.random() < variety.roaming
    return (random_placed(random, thing, place, variety, roaming=roaming),), roaming


def _stacked(random: np.random.Generator, above: str, below: str) -> tuple[Placed, Placed]:
    """One thing on top of another, a little over it."""
    x, y, size = (float(value) for value in random.normal((MIDDLE[0], 0.68, 0.43), (0.008, 0.008, 0.006)))
    rider = Placed(above, x=x, y=y - 0.36, size=size - 0.03, nearness=0.55)
    return rider, Placed(below, x=x, y=y, size=size + 0.03)


def _in_row(random: np.random.Generator, name: str, number: int, count: int) -> Placed:
    """One of several things side by side."""
    size = {2: 0.42, 3: 0.29}[count] + float(random.uniform(-0.01, 0.01))
    x = (number + 0.5) / count + float(random.normal(0, 0.006))
    return Placed(name, x=x, y=MIDDLE[1] + 0.03 + float(random.normal(0, 0.01)), size=size)


def random_placed(
    random: np.random.Generator, thing: Thing, place: str, variety: Variety, *, roaming: bool = False
) -> Placed:
    """One thing, standard but for what ``variety`` changes."""

    def happens(chance: float) -> bool:
        return bool(random.random() < chance)

    side = str(random.choice(("left", "right", "top", "bottom"))) if not roaming and happens(variety.side) else "centre"
    sizes = ["small", "large"] if side == "centre" and not roaming else ["small"]
    size_word = str(random.choice(sizes)) if happens(variety.size) else "medium"
    size = float(random.uniform(*SIZES[size_word]))
    x, y = random_middle(random, side, size, roaming=roaming)
    drawing = int(happens(variety.other_drawing))
    colours = [colour for colour in COLOURS if place != f"plain {colour}"]
    return Placed(
        name=thing.name,
        x=x,
        y=y,
        size=size,
        drawing=drawing,
        mirrored=happens(variety.facing) and thing.has_side(drawing),
        colour=str(random.choice(colours)) if happens(variety.colour) and takes_colour(thing.name) else None,
    )


def random_middle(random: np.random.Generator, side: str, size: float, *, roaming: bool = False) -> tuple[float, float]:
    """A middle that deserves the position word; ``roaming``: anywhere with the whole thing in the picture."""
    if roaming:
        reach = max(0.0, 0.5 - size / 2)
        x, y = random.uniform(-reach, reach, 2)
        return 0.5 + float(x), 0.5 + float(y)
    edge = size / 2 + 0.02 + float(abs(random.normal(0, 0.008)))
    across, down = (middle + float(random.normal(0, 0.008)) for middle in MIDDLE)
    return {
        "left": (edge, down),
        "right": (1 - edge, down),
        "top": (across, edge),
        "bottom": (across, 1 - edge),
        "centre": (across, down),
    }[side]
