"""Numbers that a training's command line takes, for argparse: what none can use is one line about that option."""

import math
from argparse import ArgumentTypeError

LARGEST_SEED = 2**32 - 1


def positive(text: str) -> int:
    """A whole number from one on."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"{number} is below 1")
    return number


def above_zero(text: str) -> float:
    """A finite number above 0."""
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise ArgumentTypeError(f"{number:g} is no finite number above 0")
    return number


def zero_or_above(text: str) -> float:
    """A finite number from 0 on."""
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise ArgumentTypeError(f"{number:g} is no finite number from 0 on")
    return number


def seed(text: str) -> int:
    """A whole number that numpy's generators and torch's take alike."""
    number = int(text)
    if not 0 <= number <= LARGEST_SEED:
        raise ArgumentTypeError(f"{number} is not from 0 to {LARGEST_SEED}")
    return number
