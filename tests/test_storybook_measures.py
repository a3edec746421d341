"""Measures of storybook pictures: what was asked for, what a reading says of it, how far things travel."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluation import storybook as measures
from evaluation.storybook_yardstick import HEADS, WEIGHTS, Reading, YardstickNetwork, as_input, load_yardstick, read
from storybook import sequences
from storybook.drawings import FILE, FOLDER
from storybook.render import render
from storybook.scene import BACKGROUNDS, Placed, Scene, held_out_pair
from storybook.things import all_things
from training.storybook import yardstick

READING = Reading(("lion",), "jungle", 1, "centre", "medium", None, 0, False, 0.9)
HAVE_DRAWINGS = (FOLDER / FILE).exists()


def case(kind: str = "plain", **changes) -> measures.Case:
    """A lion in the jungle, asked for."""
    return measures.Case(Scene("jungle", (Placed("lion", **changes),)), "", kind)


def test_cases_are_what_their_kind_says():
    """A tenth each is special; only the unseen pairs are those that training never shows."""
    cases = measures.held_out(100)
    kinds = [found.kind for found in cases]
    assert kinds.count("unseen") == kinds.count("count") == 10
    for found in cases:
        names = [thing.name for thing in found.scene.things]
        assert any(held_out_pair(name, found.scene.place) for name in names) == (found.kind == "unseen")
        assert (len(names) > 1) == (found.kind in ("count", "pair"))
        assert (found.scene.things[0].colour is not None) == (found.kind == "colour")
        assert len(names) > 1 or (found.scene.things[0].position != "centre") == (found.kind == "position")
    assert measures.held_out(100) == cases
    first = {thing.name for thing in all_things()[:10]}
    assert all(thing.name in first for found in measures.held_out(30, things=10) for thing in found.scene.things)


@pytest.mark.parametrize(
    ("asked", "reading", "wrong"),
    [
        (case(), READING, set()),
        (case(), replace(READING, things=("tiger",)), {"thing", "both"}),
        (case(), replace(READING, things=("lion", "tiger")), {"thing", "both"}),
        (case(), replace(READING, place="forest"), {"place", "both"}),
        (case("unseen"), replace(READING, place="forest"), {"place", "both", "unseen"}),
        (case(), replace(READING, count=2), {"count"}),
        (case("position", x=0.29), READING, {"position"}),
        (case("position", x=0.29), replace(READING, position="left"), set()),
        (case("colour", colour="blue"), READING, {"colour"}),
        (case("size", size=0.28), replace(READING, size="small"), set()),
        (case(), replace(READING, position="left", size="small", colour="red"), set()),  # unnamed, so not counted
    ],
)
def test_a_reading_is_right_in_what_was_asked_for(asked, reading, wrong):
    """Only what the caption names counts."""
    right = measures.right_in(asked, reading)
    assert {name for name, value in right.items() if not value} == wrong
    assert {"thing", "place", "both", "count"} <= right.keys()


def test_shares_are_over_the_cases_that_name_it():
    """One of two places right is a half; the one named position is all of them."""
    cases = [case(), case("position", x=0.29)]
    found = measures.shares(cases, [READING, replace(READING, place="sea", position="left")])
    assert (found["place"], found["thing"], found["position"]) == (0.5, 1.0, 1.0)


@pytest.mark.parametrize("strength", [12.0, 0.0, -12.0])
def test_travel_is_the_truth_of_a_sequence(strength):
    """A thing that goes as far as the motion field says is told from one that stays, and from one that goes left."""
    drawing = np.zeros((64, 64, 4), np.uint8)
    drawing[4:60, 4:60] = (240, 130, 20, 255)
    drawing[20:30, 30:50] = (30, 30, 30, 255)
    drawings = np.broadcast_to(drawing, (len(all_things()), 2, 64, 64, 4))
    scene = Scene("meadow", (Placed("lion", size=0.4),), place_seed=4, variation=1.0)
    distance = strength / measures.UNITS_PER_SIDE * (measures.FRAMES - 1)
    scenes = sequences.moving(scene, "right", distance, measures.FRAMES)
    frames = np.stack([render(moved, 128, 128, drawings=drawings).image for moved in scenes])
    offsets = measures.travel(frames, scene.things[0], drawings=drawings)
    assert offsets[-1] == pytest.approx([distance, 0], abs=1 / 128)
    assert measures.moves_as_told(offsets) == (strength > 0)
    assert measures.stays(offsets) == (strength == 0)


def test_the_share_of_frames_with_the_same_thing():
    """The first frame is what the others are held against."""
    frames = [READING, READING, replace(READING, things=("tiger",)), replace(READING, place="sea")]
    assert measures.same_thing(frames) == pytest.approx(2 / 3)


def test_the_network_reads_any_picture():
    """Whatever the size, one class of every head; before training, any."""
    torch.manual_seed(0)
    network = YardstickNetwork().eval()
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), dtype=np.uint8)
    assert as_input(images).shape == (3, 3, 64, 64)
    assert {name: scores.shape[1] for name, scores in network(as_input(images)).items()} == HEADS
    readings = read(images, network, batch=2)
    assert len(readings) == 3
    assert all(reading.place in BACKGROUNDS and 1 <= reading.count <= 3 for reading in readings)


def test_training_and_test_share_no_size_and_no_turn(monkeypatch):
    """What measures the yardstick was kept from it."""
    scene = Scene("sea", (Placed("ship"),))
    random = np.random.default_rng(0)
    monkeypatch.setattr(yardstick, "STANDARD", 0.0)
    for held_out in (False, True):
        for _ in range(60):
            (thing,) = yardstick.free_form(scene, random, held_out=held_out).things
            between = any(low <= thing.size <= high for low, high in yardstick.HELD_OUT_SIZES)
            turned = yardstick.HELD_OUT_TURNS[0] <= abs(thing.angle) <= yardstick.HELD_OUT_TURNS[1]
            assert between == turned == held_out


def test_labels_name_only_what_a_scene_has():
    """Sizes and sides are those of single things; a front has no mirror."""
    truth = yardstick.labels(Scene("snow", (Placed("lion", x=0.3, colour="grey"),)))
    assert truth["thing"] == [0]
    assert truth["mirrored"] == yardstick.UNKNOWN
    assert truth["colour"] != yardstick.OWN_COLOUR
    pair = yardstick.labels(Scene("snow", (Placed("lion", x=0.3), Placed("cat", x=0.7))))
    assert pair["count"] == 1
    assert pair["size"] == pair["position"] == pair["colour"] == yardstick.UNKNOWN


@pytest.mark.skipif(not (HAVE_DRAWINGS and WEIGHTS.exists()), reason="needs the picture sets")
def test_the_yardstick_is_right_on_true_pictures():
    """99 % in things and places, of sizes, places and turns that it never saw; every claim rests on this."""
    shares = yardstick.accuracy(load_yardstick(), 300)
    assert shares["thing"] >= 0.98
    assert shares["place"] >= 0.99
