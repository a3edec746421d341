"""The contents of the toy world: frozen descriptions of scenes, and random draws of them.

Lengths are fractions of the picture's side, x to the right and y downwards, angles in degrees
counter-clockwise. Nothing here knows about pixels.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 220, 50),
    "green": (40, 180, 70),
    "blue": (40, 90, 220),
    "purple": (140, 60, 180),
    "pink": (245, 140, 190),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
}
SKIN: RGB = (225, 175, 140)

# A plain background is a palette colour pulled towards grey, so that it never equals an object's colour.
PLAIN_COLOURS: dict[str, RGB] = {
    name: (round(0.72 * red + 36), round(0.72 * green + 36), round(0.72 * blue + 36))
    for name, (red, green, blue) in COLOURS.items()
} | {"grey": (128, 128, 128)}
PLACES = ("sky", "grass", "sand", "sea", "night")
BACKGROUNDS = tuple(f"plain {name}" for name in PLAIN_COLOURS) + PLACES

SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond")
BLOB = "shape"  # the word for a free-form outline
SIZES: dict[str, tuple[float, float]] = {"small": (0.14, 0.17), "medium": (0.20, 0.235), "large": (0.27, 0.31)}
POSITIONS = ("left", "centre", "right", "top", "bottom")

# Pairs that training never shows; what the model makes of them says whether it composes or remembers.
HELD_OUT_PAIRS = (
    ("purple", "star"),
    ("orange", "heart"),
    ("green", "diamond"),
    ("pink", "square"),
    ("blue", "triangle"),
)


@dataclass(frozen=True)
class Object:
    """A flat shape: ``radius`` is that of the circle it is drawn into, ``nearness`` 0 (far) to 1 (near)."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    angle: float = 0.0
    nearness: float = 0.5
    outline: tuple[float, ...] = ()  # BLOB only: relative radii at equal angles

    @property
    def size(self) -> str:
        """Size word whose range the radius is in, or nearest to."""
        return min(SIZES, key=lambda name: abs(self.radius - sum(SIZES[name]) / 2))

    @property
    def position(self) -> str:
        """Position word for the centre: ``centre`` within 0.09 of the middle, else the longer offset."""
        return position_word(self.x, self.y)


# Joint angles of the mannequin in degrees; 0 hangs straight down, positive swings towards picture right.
# "right" and "left" are the person's own, as in OpenPose; facing us, their right arm is at picture left.
STANDING: dict[str, float] = {
    "torso": 0.0,
    "right_upper_arm": -12.0,
    "right_forearm": -8.0,
    "left_upper_arm": 12.0,
    "left_forearm": 8.0,
    "right_thigh": -6.0,
    "right_shin": -4.0,
    "left_thigh": 6.0,
    "left_shin": 4.0,
}
JOINTS = tuple(STANDING)
ACTIONS: dict[str, dict[str, float]] = {
    "standing": {},
    "waving": {"left_upper_arm": 115.0, "left_forearm": 165.0},
    "raising both arms": {
        "right_upper_arm": -155.0,
        "right_forearm": -170.0,
        "left_upper_arm": 155.0,
        "left_forearm": 170.0,
    },
    "walking": {
        "right_upper_arm": 28.0,
        "right_forearm": 45.0,
        "left_upper_arm": -28.0,
        "left_forearm": -10.0,
        "right_thigh": -26.0,
        "right_shin": -38.0,
        "left_thigh": 26.0,
        "left_shin": 10.0,
    },
    "jumping": {
        "right_upper_arm": -125.0,
        "right_forearm": -145.0,
        "left_upper_arm": 125.0,
        "left_forearm": 145.0,
        "right_thigh": -38.0,
        "right_shin": 10.0,
        "left_thigh": 38.0,
        "left_shin": -10.0,
    },
}


@dataclass(frozen=True)
class Figure:
    """A jointed mannequin facing us: ``height`` from crown to sole when standing, (x, y) the middle of the hips."""

    shirt: str
    trousers: str
    x: float
    y: float
    height: float
    angles: tuple[float, ...] = tuple(STANDING.values())  # in the order of JOINTS
    action: str | None = "standing"
    nearness: float = 0.5


@dataclass(frozen=True)
class Scene:
    """A background and what stands on it; ``texture_seed`` fixes blades of grass, waves, stars and clouds."""

    background: str
    objects: tuple[Object, ...] = ()
    figures: tuple[Figure, ...] = ()
    texture_seed: int = field(default=0)


def position_word(x: float, y: float) -> str:
    """Return the position word for a centre at (x, y)."""
    right, down = x - 0.5, y - 0.5
    if max(abs(right), abs(down)) < 0.09:
        return "centre"
    if abs(right) >= abs(down):
        return "right" if right > 0 else "left"
    return "bottom" if down > 0 else "top"


def pose(action: str, **changes: float) -> tuple[float, ...]:
    """Return the joint angles of a named action, with single joints changed."""
    angles = STANDING | ACTIONS[action] | changes
    return tuple(angles[joint] for joint in JOINTS)


def clashes(colour: str, background: str) -> bool:
    """Return True if an object of this colour can hardly be seen: on a plain background of its own colour."""
    return background == f"plain {colour}"


def random_outline(random: np.random.Generator, points: int = 24) -> tuple[float, ...]:
    """Draw the relative radii of a smooth closed blob: a few random harmonics, the largest radius 1."""
    angles = np.arange(points) * (2 * math.pi / points)
    radii = np.ones(points)
    for harmonic in range(2, 6):
        amplitude = random.uniform(0.2, 0.4) / (harmonic - 0.5)
        radii = radii + amplitude * np.cos(harmonic * angles + random.uniform(0, 2 * math.pi))
    return tuple(float(radius) for radius in radii / radii.max())


def random_object(
    random: np.random.Generator,
    background: str,
    *,
    shape: str | None = None,
    position: str | None = None,
    size: str | None = None,
    held_out: bool = False,
) -> Object:
    """Draw one object that can be seen on ``background``.

    A shape, position or size that is given is kept; ``held_out`` draws colour and shape from HELD_OUT_PAIRS alone,
    which are never drawn otherwise.
    """
    while True:
        kind = shape or (BLOB if random.random() < 0.08 else str(random.choice(SHAPES)))
        colour = str(random.choice(list(COLOURS)))
        if held_out:
            colour, kind = HELD_OUT_PAIRS[random.integers(len(HELD_OUT_PAIRS))]
        if not clashes(colour, background) and (held_out or (colour, kind) not in HELD_OUT_PAIRS):
            break
    word = size or str(random.choice(list(SIZES)))
    radius = float(random.uniform(*SIZES[word]))
    x, y = random_centre(random, position or str(random.choice(POSITIONS)), radius)
    return Object(
        shape=kind,
        colour=colour,
        x=x,
        y=y,
        radius=radius,
        angle=float(random.uniform(-8, 8)),
        nearness=float(random.uniform(0.2, 1.0)),
        outline=random_outline(random) if kind == BLOB else (),
    )


def random_centre(random: np.random.Generator, position: str, radius: float) -> tuple[float, float]:
    """Draw a centre that deserves the position word, with the whole object inside the picture."""
    edge = radius + float(random.uniform(0.02, 0.08))
    across = 0.5 + float(random.uniform(-0.06, 0.06))
    return {
        "left": (edge, across),
        "right": (1 - edge, across),
        "top": (across, edge),
        "bottom": (across, 1 - edge),
        "centre": (across, 0.5 + float(random.uniform(-0.06, 0.06))),
    }[position]


def random_pair(random: np.random.Generator, background: str) -> tuple[Object, Object]:
    """Draw two objects of different colours, side by side or one above the other."""
    radii = random.uniform(0.15, 0.21, size=2)
    offset = float(random.uniform(0.23, 0.26))
    jitter = random.uniform(-0.05, 0.05, size=2)
    sideways = random.random() < 0.6
    centres = [(0.5 + sign * offset, 0.5 + float(shift)) for sign, shift in zip((-1, 1), jitter, strict=True)]
    if not sideways:
        centres = [(y, x) for x, y in centres]
    first = random_object(random, background)
    second = random_object(random, background)
    while second.colour == first.colour:
        second = random_object(random, background)
    placed = [
        replace(thing, x=x, y=y, radius=float(radius))
        for thing, (x, y), radius in zip((first, second), centres, radii, strict=True)
    ]
    return placed[0], placed[1]


def random_figure(random: np.random.Generator, background: str) -> Figure:
    """Draw a mannequin in a named action (two in three, slightly varied) or in any pose."""
    colours = [colour for colour in COLOURS if not clashes(colour, background)]
    shirt, trousers = (str(name) for name in random.choice(colours, size=2, replace=False))
    action = str(random.choice(list(ACTIONS))) if random.random() < 0.67 else None
    if action is None:
        angles = (
            np.array(pose("standing"))
            + random.uniform(-1, 1, len(JOINTS)) * np.array([12, 150, 150, 150, 150, 45, 55, 45, 55])
        ).tolist()
    else:
        angles = (np.array(pose(action)) + random.normal(0, 5, len(JOINTS))).tolist()
        if random.random() < 0.5:
            angles = mirrored(angles)
    height = float(random.uniform(0.55, 0.85))
    return Figure(
        shirt=shirt,
        trousers=trousers,
        x=float(random.uniform(0.32, 0.68)),
        y=0.5 + float(random.uniform(-0.02, 0.06)),
        height=height,
        angles=tuple(float(angle) for angle in angles),
        action=action,
        nearness=float(random.uniform(0.2, 1.0)),
    )


def mirrored(angles: list[float]) -> list[float]:
    """Mirror a pose: left and right joints change places, every angle its sign."""
    named = dict(zip(JOINTS, angles, strict=True))
    swap = {"left": "right", "right": "left"}
    return [
        -named["_".join([swap.get(joint.split("_")[0], joint.split("_")[0]), *joint.split("_")[1:]])]
        for joint in JOINTS
    ]


def random_scene(random: np.random.Generator) -> Scene:
    """Draw a scene of the training distribution: one object (70 %), two objects (15 %) or a mannequin (15 %)."""
    background = random_background(random)
    seed = int(random.integers(2**31))
    kind = random.random()
    if kind < 0.70:
        return Scene(background, objects=(random_object(random, background),), texture_seed=seed)
    if kind < 0.85:
        return Scene(background, objects=random_pair(random, background), texture_seed=seed)
    return Scene(background, figures=(random_figure(random, background),), texture_seed=seed)


def random_background(random: np.random.Generator) -> str:
    """Draw a place in half of all cases, a plain colour in the others."""
    if random.random() < 0.5:
        return str(random.choice(PLACES))
    return f"plain {random.choice(list(PLAIN_COLOURS))}"
