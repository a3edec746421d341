"""Precision, recall and F1 of what was asked for against what is seen: by hand, in drawn clips, and in a report."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from comparison.report.page import page_html
from comparison.results import MEASURES, ClipResult, EngineResult, Results
from comparison.runner import measure_clip
from evaluation import prompt_lists, storybook, toyworld
from evaluation.agreement import agreement, tally
from evaluation.storybook import Case
from evaluation.storybook_yardstick import Reading
from storybook.scene import Placed
from storybook.scene import Scene as Page
from toyworld.render import render
from toyworld.scene import Figure, Object, Scene

CIRCLE = Object("circle", "red", 0.3, 0.5, 0.2)
STAR = Object("star", "white", 0.74, 0.52, 0.18)
GRASS = Scene("grass", (CIRCLE,), texture_seed=3)
NAMES = [f"{kind}_{name}" for kind in ("things", "colours", "places") for name in ("precision", "recall", "f1")]


@pytest.mark.parametrize(
    ("asked", "seen", "expected"),
    [
        (["fox"], ["fox"], (1, 1, 1)),
        (["fox"], ["fox", "cat"], (0.5, 1, 2 / 3)),
        (["fox", "cat"], ["fox"], (1, 0.5, 2 / 3)),
        (["red", "red"], ["red"], (1, 0.5, 2 / 3)),
        (["fox"], ["cat"], (0, 0, 0)),
        (["fox"], [], (math.nan, 0, 0)),
        ([], ["cat"], (0, math.nan, 0)),
        ([], [], (math.nan, math.nan, math.nan)),
    ],
)
def test_words_are_counted(asked, seen, expected):
    """As often as they are there; where a share is of nothing there is none."""
    found = tally(asked, seen)
    np.testing.assert_allclose((found.precision, found.recall, found.f1), expected)


def test_pictures_are_counted_together_and_a_kind_that_is_not_asked_for_is_left_out():
    """The sure frames weigh as much as the crowded ones."""
    pictures = [
        ({"things": ["fox"]}, {"things": ["fox", "cat", "dog"], "colours": ["red"]}),
        ({"things": ["fox"], "colours": ["red"]}, {"things": ["fox"]}),
    ]
    found = agreement(pictures)
    assert (found["things_precision"], found["things_recall"]) == (0.5, 1)
    assert (found["colours_recall"], found["colours_f1"]) == (0, 0)
    assert math.isnan(found["colours_precision"])
    assert not any(name.startswith("places") for name in found)


def shares(shown, asked):
    """The words of a clip of two frames that shows a scene where another was asked for."""
    frames = np.stack([render(shown, 128, 128).image] * 2)
    found = toyworld.measures(frames, (asked,) * 2)
    return {name: round(found[name], 3) for name in NAMES if name in found}


def test_a_thing_that_nobody_asked_for_costs_precision_and_no_attribute():
    """Every share of what is right is 1, though a star lies beside the circle."""
    more = replace(GRASS, objects=(CIRCLE, STAR))
    frames = np.stack([render(more, 128, 128).image])
    found = toyworld.measures(frames, (GRASS,))
    assert (found["shape"], found["colour"], found["background"]) == (1, 1, 1)
    assert shares(more, GRASS) == {
        **{"things_precision": 0.5, "things_recall": 1, "things_f1": 0.667},
        **{"colours_precision": 0.5, "colours_recall": 1, "colours_f1": 0.667},
        **{"places_precision": 1, "places_recall": 1, "places_f1": 1},
    }


def test_a_thing_that_is_missing_costs_recall():
    found = shares(GRASS, replace(GRASS, background="sand", objects=(CIRCLE, STAR)))
    assert (found["things_precision"], found["things_recall"], found["colours_recall"]) == (1, 0.5, 0.5)
    assert (found["places_precision"], found["places_recall"], found["places_f1"]) == (0, 0, 0)


def test_clothes_are_colours_and_a_mannequin_has_no_shape():
    person = Scene("sea", figures=(Figure("yellow", "black", 0.4, 0.52, 0.7),))
    found = shares(person, replace(person, figures=(Figure("yellow", "green", 0.4, 0.52, 0.7),)))
    assert (found["colours_precision"], found["colours_recall"]) == (0.5, 0.5)
    assert "things_f1" not in found


def test_storybook_shares_have_them_beside_what_is_right():
    """A second kind of thing costs precision, and a colour counts where the caption names it."""
    page = Page("beach", (Placed("fox"),))
    cases = [Case(page, "a fox at the beach", "plain"), Case(page, "a fox at the beach", "plain")]
    reading = Reading(("fox", "cat"), "beach", 1, "centre", "large", None, 0, mirrored=False, certainty=0.9)
    found = storybook.shares(cases, [reading, replace(reading, things=("fox",), place="forest")])
    assert (found["thing"], found["place"]) == (0.5, 0.5)
    assert (round(found["things_precision"], 3), found["things_recall"], found["things_f1"]) == (0.667, 1, 0.8)
    assert (found["places_precision"], found["places_recall"], found["places_f1"]) == (0.5, 0.5, 0.5)
    assert "colours_f1" not in found


def test_a_comparison_reports_them():
    """In results.json, with the means of each engine, and in the report, with a word on what each is."""
    prompt, truth = next((text, truth) for text, truth in prompt_lists.truths(2).items() if isinstance(truth, Scene))
    frames = np.stack([render(truth, 128, 128).image] * 2)
    measures = measure_clip(frames, 8, prompt)
    clip = ClipResult(prompt, 1, "clips/a.mp4", 1.0, 2, 8, 128, 128, measures)
    results = Results((prompt,), (1,), "cpu", {}, "2026-01-01T00:00:00+00:00", [EngineResult("a", "A", "", {})])
    results.engines[0].clips.append(clip)
    facts = json.loads(json.dumps(results.to_dict(), allow_nan=False))
    for name in NAMES:
        assert facts["engines"][0]["clips"][0]["measures"][name] == 1
        assert facts["engines"][0]["means"][name]["mean"] == 1
        assert MEASURES[name].label in page_html(results)
    assert list(facts["measures"]).index("background") + 1 == list(facts["measures"]).index("things_precision")
