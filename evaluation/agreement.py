"""Precision, recall and F1 of the words that were asked for against those that are seen, beside shares of right ones.

A thing that nobody asked for is no mistake of any attribute's share; here it costs precision. Words are counted as
often as they are asked for or seen: of two red things asked for and one seen, half are recalled.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

KINDS = ("things", "colours", "places")
Words = Mapping[str, Iterable[str]]  # of one picture, by kind


@dataclass(frozen=True)
class Tally:
    """Numbers of words that were asked for, that are seen, and that are both."""

    asked: int = 0
    seen: int = 0
    both: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.asked + other.asked, self.seen + other.seen, self.both + other.both)

    @property
    def precision(self) -> float:
        """Share of what is seen that was asked for; NaN where nothing is seen."""
        return self.both / self.seen if self.seen else math.nan

    @property
    def recall(self) -> float:
        """Share of what was asked for that is seen; NaN where nothing was asked for."""
        return self.both / self.asked if self.asked else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0 where nothing agrees; NaN where nothing was asked for or seen."""
        return 2 * self.both / (self.asked + self.seen) if self.asked + self.seen else math.nan


def tally(asked: Iterable[str], seen: Iterable[str]) -> Tally:
    """Count the words of one picture."""
    wanted, found = Counter(asked), Counter(seen)
    return Tally(wanted.total(), found.total(), (wanted & found).total())


def agreement(pictures: Iterable[tuple[Words, Words]]) -> dict[str, float]:
    """Return ``things_precision``, ``things_recall``, ``things_f1`` and so on, of each kind that was asked for.

    ``pictures`` are pairs of what was asked for and what is seen; their words are counted together. A kind that a
    picture does not ask for is left out of its count, whatever is seen.
    """
    totals: dict[str, Tally] = {}
    for asked, seen in pictures:
        for kind in asked:
            totals[kind] = totals.get(kind, Tally()) + tally(asked[kind], seen.get(kind, ()))
    return {
        f"{kind}_{name}": getattr(totals[kind], name)
        for kind in KINDS
        if kind in totals
        for name in ("precision", "recall", "f1")
    }
