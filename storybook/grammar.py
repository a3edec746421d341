"""Articles and plurals of the names of things. No heavy imports."""

IRREGULAR_PLURALS = {
    **{"mouse": "mice", "goose": "geese", "sheep": "sheep", "fish": "fish", "deer": "deer", "wolf": "wolves"},
    **{
        "tropical fish": "tropical fish",
        "blowfish": "blowfish",
        "bison": "bison",
        "ox": "oxen",
        "jellyfish": "jellyfish",
    },
    **{
        "police car": "police cars",
        "santa claus": "santa clauses",
        "cherries": "cherries",
        "grapes": "grapes",
        "volcano": "volcanoes",
    },
    **{"shrimp": "shrimp", "squid": "squid", "broccoli": "broccoli", "lightning": "lightning"},
}
PLURAL_NAMES = {"cherries", "grapes"}
MASS_NAMES = {"bread", "corn", "broccoli", "cheese", "coffee", "fire", "lightning", "cherry blossom", "santa claus"}


def with_article(phrase: str) -> str:
    """The phrase with its indefinite article."""
    first = phrase.split()[0]
    sounds_open = phrase[0] in "aeio" or first in ("umbrella",)
    return f"{'an' if sounds_open else 'a'} {phrase}"


def plural(name: str) -> str:
    """More than one of a thing."""
    if name in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[name]
    if name.endswith(("s", "x", "ch", "sh")):
        return f"{name}es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"
