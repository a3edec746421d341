"""Many jobs from one set of settings: several seeds, several prompts, a grid over settings, wildcards in prompts."""

import itertools
import random
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from errors import InvalidSettings
from settings import MAX_PROMPT_CHARS, MAX_SEED

MOST_JOBS = 200
_CHOICE = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")  # innermost first, so that choices may stand inside choices


@dataclass(frozen=True)
class Variation:
    """Plain settings of one job, and a note of what tells it from the others, such as "guidance_scale 5; red"."""

    values: dict[str, Any]
    note: str


def variations(
    values: Mapping[str, Any],
    *,
    prompts: Sequence[str] = (),
    seeds: int = 1,
    grid: Mapping[str, Sequence[Any]] | None = None,
) -> list[Variation]:
    """Return every combination of prompts, grid values and seeds, wildcards filled in.

    Args:
        values: plain settings with ``prompt`` and ``seed``; a seed below 0 is drawn here, so that it can be recorded.
        prompts: instead of the prompt, one job each.
        seeds: that many seeds in a row from the first on.
        grid: values to try, by the name of a setting.

    Raises:
        InvalidSettings: more than MOST_JOBS jobs, or a grid over a setting that is not there.
    """
    grid = dict(grid or {})
    unknown = [name for name in grid if name not in values]
    if unknown:
        raise InvalidSettings(f"grid: {unknown[0]} is not a setting of this mode")
    if taken := [name for name in ("prompt", "seed") if name in grid]:
        raise InvalidSettings(f"grid: use Prompts and Seeds for several values of {taken[0]}")
    texts = list(prompts) or [str(values.get("prompt", ""))]
    count = len(texts) * seeds
    for choices in grid.values():
        count *= len(choices)
    if any(len(text) > MAX_PROMPT_CHARS for text in texts):
        raise InvalidSettings(f"prompts: each must have at most {MAX_PROMPT_CHARS} characters")
    if not 1 <= count <= MOST_JOBS:
        raise InvalidSettings(f"this makes {count} jobs: 1 to {MOST_JOBS} can be added at once")
    return list(_combined(values, texts, seeds, grid))


def _combined(
    values: Mapping[str, Any], texts: Sequence[str], seeds: int, grid: Mapping[str, Sequence[Any]]
) -> Iterator[Variation]:
    first = values.get("seed", -1)
    first = secrets.randbelow(MAX_SEED + 1) if first < 0 else first
    for text, *chosen, offset in itertools.product(texts, *grid.values(), range(seeds)):
        seed = (first + offset) % (MAX_SEED + 1)
        prompt, words = fill_wildcards(text, seed)
        settings = {**values, **dict(zip(grid, chosen, strict=True)), "prompt": prompt, "seed": seed}
        notes = [f"{name} {value}" for name, value in zip(grid, chosen, strict=True)] + words
        yield Variation(settings, "; ".join([*notes, *([f"seed {seed}"] if seeds > 1 else [])]))


def fill_wildcards(text: str, seed: int) -> tuple[str, list[str]]:
    """Return the text with each ``{red|blue}`` replaced by one of its words, and those words in the order chosen.

    The seed decides, so that a clip made again says the same.
    """
    chance, chosen = random.Random(seed), []

    def choose(match: re.Match[str]) -> str:
        chosen.append(chance.choice(match.group(1).split("|")).strip())
        return chosen[-1]

    while _CHOICE.search(text):
        text = _CHOICE.sub(choose, text, count=1)
    return text, chosen
