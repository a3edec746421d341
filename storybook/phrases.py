"""The words for places, positions, sizes, colours and motions. No heavy imports: the page reads them too."""

from storybook.things import ANY, FLIES, GOES, STANDS, SWIMS, Thing

PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "meadow": (
        "in a meadow",
        "in the meadow",
        "on a meadow",
        "on green grass",
        "in the grass",
        "in a field",
        "in a park",
        "on a farm",
        "in the garden",
        "in the countryside",
    ),
    "jungle": (
        "in the jungle",
        "in a jungle",
        "through the jungle",
        "in the rainforest",
        "in a tropical forest",
    ),
    "forest": ("in the forest", "in a forest", "in the woods", "through the forest", "in the wood"),
    "desert": ("in the desert", "in a desert", "through the desert", "on sand dunes"),
    "beach": (
        "on the beach",
        "on a beach",
        "at the beach",
        "on a sandy beach",
        "at the seaside",
        "on the shore",
    ),
    "sea": (
        "on the sea",
        "in the sea",
        "at sea",
        "on the ocean",
        "in the ocean",
        "on the water",
        "on a lake",
        "on a river",
    ),
    "under water": ("under water", "underwater", "under the sea", "at the bottom of the sea", "deep under water"),
    "snow": (
        "in the snow",
        "in snow",
        "on the snow",
        "in winter",
        "in a snowy landscape",
        "on the ice",
    ),
    "mountains": (
        "in the mountains",
        "in front of mountains",
        "in front of the mountains",
        "near the mountains",
        "in the hills",
    ),
    "sky": (
        "in the sky",
        "in a blue sky",
        "in the air",
        "in the clouds",
        "above the clouds",
        "high in the sky",
    ),
    "night": (
        "at night",
        "in the night",
        "under the stars",
        "in the night sky",
        "in a starry night",
        "in the dark",
    ),
    "space": (
        "in space",
        "in outer space",
        "through space",
        "in the galaxy",
        "in the universe",
    ),
    "city": (
        "in the city",
        "in a city",
        "on the street",
        "on a city street",
        "in the street",
        "in town",
        "on the road",
        "downtown",
    ),
    "room": (
        "in a room",
        "in the room",
        "in the living room",
        "indoors",
        "at home",
        "in the house",
        "in the kitchen",
        "in the bedroom",
    ),
}
POSITION_PHRASES: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "at the left", "on the left side", "to the left"),
    "right": ("on the right", "at the right", "on the right side", "to the right"),
    "top": ("at the top", "in the upper part", "up high"),
    "bottom": ("at the bottom", "in the lower part", "down low"),
}
SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge", "giant"),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white")},
    "grey": ("gray", "grey"),
    "black": ("black",),
}
DRAWING_WORDS = ("detailed", "different", "shaded")
# In clips: the direction, or what happens.
MOTION_WORDS: dict[str, tuple[str, ...]] = {
    "left": ("moving to the left", "moving left", "going left"),
    "right": ("moving to the right", "moving right", "going right"),
    "up": ("moving up", "rising", "going up"),
    "down": ("moving down", "falling", "going down"),
    "grows": ("growing", "getting bigger", "coming closer"),
    "shrinks": ("shrinking", "getting smaller", "going away"),
    "turns": ("turning", "rotating", "spinning"),
    "crosses": ("passing each other", "crossing"),
    "rests": ("standing still", "keeping still"),
}
NUMBERS: dict[int, tuple[str, ...]] = {2: ("two", "two", "a pair of"), 3: ("three",)}
OPENINGS = (*("",) * 10, "a picture of", "a drawing of", "an illustration of", "a cartoon of", "a video of")

VEHICLES = frozenset(
    (
        *("car", "bus", "train", "motorcycle", "tractor", "truck", "taxi", "police car", "ambulance", "fire engine"),
        *("tram", "scooter", "racing car", "jeep", "lorry", "bicycle", "skateboard"),
    )
)
VERBS_BY_MOVES: dict[str, tuple[str, ...]] = {
    GOES: ("walking", "running", "standing", "moving", "jumping", "going"),
    FLIES: ("flying", "flying", "floating", "hovering", "soaring"),
    SWIMS: ("swimming", "swimming", "floating", "diving"),
    STANDS: ("standing", "standing", "lying", "resting"),
    ANY: ("moving", "resting"),
}
CROSSING_VERBS = (
    "walking",
    "running",
    "driving",
    "flying",
    "galloping",
    "riding",
    "racing",
    "going",
    "moving",
    "floating",
)
VEHICLE_VERBS = ("driving", "driving", "moving", "racing", "standing", "speeding")
OWN_VERBS: dict[str, tuple[str, ...]] = {
    "horse": ("galloping", "running", "trotting", "walking"),
    "unicorn": ("galloping", "running", "trotting"),
    "zebra": ("galloping", "running", "walking"),
    "horse rider": ("riding", "galloping"),
    "rabbit": ("hopping", "jumping", "running", "sitting"),
    "kangaroo": ("hopping", "jumping"),
    "frog": ("jumping", "hopping", "sitting", "swimming"),
    "duck": ("swimming", "walking", "flying"),
    "turtle": ("walking", "swimming", "crawling"),
    "crocodile": ("swimming", "crawling", "walking"),
    "parrot": ("flying", "sitting"),
    "seal": ("swimming", "lying", "playing"),
    "snake": ("crawling", "slithering"),
    "snail": ("crawling",),
    "caterpillar": ("crawling",),
    "dragon": ("flying", "walking", "soaring"),
    "astronaut": ("floating", "flying", "walking"),
    "alien": ("walking", "standing", "floating"),
    "robot": ("walking", "dancing", "standing"),
    "dancer": ("dancing",),
    "surfer": ("surfing", "riding a wave"),
    "swimmer": ("swimming",),
    "skier": ("skiing",),
    "runner": ("running", "jogging"),
    "walker": ("walking",),
    "cyclist": ("riding", "cycling"),
    "sailboat": ("sailing", "sailing", "floating"),
    "ship": ("sailing", "sailing", "floating"),
    "ferry": ("sailing", "floating"),
    "canoe": ("floating", "drifting"),
    "speedboat": ("racing", "speeding"),
    "motorboat": ("speeding", "sailing"),
    "rocket": ("flying", "launching", "taking off", "flying"),
    "sun": ("shining", "rising"),
    "moon": ("shining", "rising"),
    "star": ("shining", "falling"),
    "fire": ("burning",),
    "ball": ("rolling", "bouncing", "flying"),
    "basketball": ("rolling", "bouncing", "flying"),
    "panda": ("walking", "sitting", "eating", "playing"),
    "monkey": ("climbing", "jumping", "sitting", "playing"),
    "dog": ("running", "walking", "sitting", "playing", "jumping"),
    "cat": ("walking", "running", "sitting", "playing", "sleeping"),
    "sloth": ("hanging", "sleeping"),
    "koala": ("sitting", "climbing", "sleeping"),
    "teddy bear": ("sitting", "standing", "dancing"),
    "balloon": ("flying", "floating", "rising"),
    "kite": ("flying",),
    "snowflake": ("falling",),
    "tree": ("standing", "growing"),
    "sunflower": ("growing", "standing", "blooming"),
    "tulip": ("growing", "blooming"),
    "rose": ("growing", "blooming"),
    "volcano": ("erupting",),
}


def verbs_of(thing: Thing) -> tuple[str, ...]:
    """Return the verbs for a thing's doing."""
    if thing.name in OWN_VERBS:
        return OWN_VERBS[thing.name]
    return VEHICLE_VERBS if thing.name in VEHICLES else VERBS_BY_MOVES[thing.moves]
