"""The storybook: what is drawn is known, what is unusual is named, and its words are known beforehand.

The picture sets are not needed here: every thing is a made-up drawing, its upper right corner missing.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

from storybook import sequences
from storybook.captions import caption
from storybook.drawings import SIDE_PX, standard
from storybook.edits import edit
from storybook.places import draw_place
from storybook.render import recoloured, render
from storybook.scene import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    STAGES,
    Placed,
    Scene,
    held_out_pair,
    random_scene,
)
from storybook.things import FIRST, all_things, thing_named
from storybook.vocabulary import remark, unknown_words

SEEDS = ("A lion walking in the jungle", "a gray fox", "a horse galloping", "a panda", "an astronaut in space")
LION = Scene("plain", (Placed("lion"),))


@pytest.fixture(scope="module")
def drawings() -> np.ndarray:
    """Orange squares without their upper right corner, of every thing."""
    drawing = np.zeros((64, 64, 4), np.uint8)
    drawing[2:62, 2:62] = (240, 130, 20, 255)
    drawing[2:32, 32:62] = 0
    return np.broadcast_to(drawing, (len(all_things()), 2, 64, 64, 4))


def scenes_of(stage: int, count: int = 200) -> list[Scene]:
    """Scenes of the training distribution."""
    return [random_scene(np.random.default_rng([stage, index]), STAGES[stage]) for index in range(count)]


def spoken(scene: Scene, seed: int = 0, **options) -> str:
    """A caption of the scene."""
    return caption(scene, np.random.default_rng(seed), **options)


def test_the_list_names_every_thing_once():
    """205 things; a name or alias belongs to one of them, the least of them come first."""
    names = [name for thing in all_things() for name in thing.names]
    assert len(all_things()) == 205
    assert len(set(names)) == len(names)
    assert thing_named("bunny").name == "rabbit"
    assert "astronaut" in [thing.name for thing in all_things()[:FIRST]]


@pytest.mark.parametrize("place", BACKGROUNDS)
def test_a_place_varies_by_its_seed_and_not_without_variation(place):
    """The same seed gives the same picture; at no variation every seed does."""
    drawn = draw_place(place, 3, 1.0, 48, 64)
    assert drawn.shape == (48, 64, 3)
    assert drawn.dtype == np.uint8
    assert (drawn == draw_place(place, 3, 1.0, 48, 64)).all()
    assert (draw_place(place, 3, 0.0, 48, 64) == draw_place(place, 8, 0.0, 48, 64)).all()
    assert place.startswith("plain") or (drawn != draw_place(place, 8, 1.0, 48, 64)).any()


@pytest.mark.parametrize(("height", "width"), [(128, 128), (96, 160)])
def test_the_truth_agrees_with_the_picture(drawings, height, width):
    """Mask, box, edges and depth describe what was drawn; beside it the place is as it would be without."""
    placed = Placed("lion", x=0.6, y=0.45, size=0.5)
    drawn = render(Scene("meadow", (placed,)), height, width, drawings=drawings)
    empty = render(Scene("meadow"), height, width, drawings=drawings)
    (truth,) = drawn.things
    side = min(height, width)
    left, top, right, bottom = truth.box
    assert (left + right) / 2 == pytest.approx(width / 2 + 0.1 * side, abs=1)
    assert (top + bottom) / 2 == pytest.approx(height / 2 - 0.05 * side, abs=1)
    assert right - left == pytest.approx(0.5 * side * 60 / 64, abs=2)
    assert (drawn.image[truth.mask == 0] == empty.image[truth.mask == 0]).all()
    assert np.abs(drawn.image[truth.mask == 1].astype(int) - (240, 130, 20)).max() <= 2
    assert drawn.edges[truth.mask == 0].max() == 0
    assert drawn.edges.any()
    assert (drawn.depth[truth.mask == 1] == 170).all()


def test_what_is_nearer_hides_what_is_farther(drawings):
    """The far thing's mask is what can still be seen of it; its box is all of it."""
    far, near = Placed("cat", x=0.45, nearness=0.2), Placed("dog", x=0.55, nearness=0.9)
    drawn = render(Scene("snow", (near, far)), 96, 96, drawings=drawings)
    assert [truth.thing.name for truth in drawn.things] == ["cat", "dog"]
    assert max((drawn.things[0].mask + drawn.things[1].mask).max(), 1) == pytest.approx(1)
    alone = render(Scene("snow", (far,)), 96, 96, drawings=drawings)
    assert drawn.things[0].box == alone.things[0].box
    assert drawn.things[0].mask.sum() < alone.things[0].mask.sum()


def test_facing_left_is_the_mirror_and_turning_keeps_the_middle(drawings):
    """The missing corner changes sides; a turned thing stays where it is."""
    plain = render(LION, 128, 128, drawings=drawings).things[0].mask
    mirrored = render(replace(LION, things=(Placed("lion", mirrored=True),)), 128, 128, drawings=drawings)
    assert np.abs(mirrored.things[0].mask - plain[:, ::-1]).mean() < 0.01
    turned = render(replace(LION, things=(Placed("lion", angle=90.0),)), 128, 128, drawings=drawings)
    rows = np.flatnonzero(turned.things[0].mask.max(axis=1) > 0.5)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(127 / 2 + 0.02 * 128, abs=1.5)
    missing = turned.things[0].mask[50:60, 50:60], turned.things[0].mask[72:82, 72:82]
    assert missing[0].mean() < 0.1 < 0.9 < missing[1].mean()  # counter-clockwise: from upper right to upper left


def test_a_thing_outside_the_picture_is_no_error(drawings):
    """Sequences may carry things out of sight."""
    drawn = render(Scene("sea", (Placed("ship", x=2.0),)), 64, 64, drawings=drawings)
    assert drawn.things[0].box is None
    assert not drawn.things[0].mask.any()


@pytest.mark.parametrize("colour", COLOURS)
def test_a_colour_word_paints_the_main_colour_and_nothing_else(colour):
    """A red car in blue keeps its black wheels and its outline."""
    drawing = np.zeros((32, 32, 4), np.uint8)
    drawing[4:22, 4:28] = (220, 40, 40, 255)
    drawing[22:28, 4:10] = (20, 20, 25, 255)
    painted = recoloured(drawing, colour)
    assert (painted[..., 3] == drawing[..., 3]).all()
    assert np.abs(painted[10, 10, :3].astype(int) - COLOURS[colour]).max() <= 3
    assert (painted[24, 6] == drawing[24, 6]).all()
    assert recoloured(drawing, None) is drawing


def test_drawings_are_trimmed_and_face_right():
    """Whatever the margins of a set, the longer side fills the square and what looks left is mirrored."""
    icon = np.zeros((100, 100, 4), np.uint8)
    icon[40:60, 10:70] = (0, 0, 255, 255)
    icon[45:55, 10:20] = (255, 0, 0, 255)
    kept = standard(icon, "left")
    assert kept.shape == (SIDE_PX, SIDE_PX, 4)
    rows, columns = np.nonzero(kept[..., 3] > 128)
    assert columns.max() - columns.min() >= SIDE_PX - 6
    assert abs(rows.min() + rows.max() + 1 - SIDE_PX) <= 2
    assert kept[SIDE_PX // 2, SIDE_PX - 12, 0] > 200
    assert standard(icon, "front")[SIDE_PX // 2, 12, 0] > 200


def test_the_first_stage_is_standard():
    """One thing of the first 49, in the middle, of medium size, its own colour: training begins with this."""
    for scene in scenes_of(0):
        (placed,) = scene.things
        assert all_things().index(placed.thing) < FIRST
        assert (placed.size_word, placed.position, placed.drawing, placed.colour) == ("medium", "centre", 0, None)
        assert max(abs(placed.x - 0.5), abs(placed.y - 0.52)) < 0.05
        assert not placed.mirrored


def test_what_is_not_standard_is_named():
    """Every caption says the size, the side, the colour, the other drawing, the mirror and the place, if unusual."""
    words = {
        "small": "small|little|tiny",
        "large": "large|big|huge|giant",
        "left": "left",
        "right": "right",
        "top": "top|upper|up high",
        "bottom": "bottom|lower|down low",
    }
    singles = [scene for scene in scenes_of(3, 400) if len(scene.things) == 1]
    for number, scene in enumerate(singles):
        (placed,) = scene.things
        text = spoken(scene, number)
        for value in (placed.size_word, placed.position):
            assert value not in words or re.search(words[value], text), text
        assert placed.colour is None or re.search("gr[ae]y" if placed.colour == "grey" else placed.colour, text), text
        assert not placed.drawing or re.search("detailed|different|shaded", text), text
        assert not placed.mirrored or "left" in text, text
        assert any(name in text for name in placed.thing.names), text
    counted = [scene for scene in scenes_of(4, 400) if len(scene.things) > 1]
    assert any(scene.stacked for scene in counted)
    for number, scene in enumerate(counted):
        text = spoken(scene, number)
        assert re.search("two|three|pair| and | with |next to| of |on top| on |riding|above", text), text


def test_standard_scenes_have_plain_captions():
    """The project's own prompts are captions of this world, of pairs that training may show."""
    assert spoken(LION, complete=True) == "a lion"
    assert spoken(Scene("jungle", (Placed("lion"),)), complete=True) == "a lion in the jungle"
    assert spoken(Scene("space", (Placed("astronaut"),)), complete=True) == "an astronaut in space"
    assert spoken(Scene("plain", (Placed("fox", colour="grey"),)), complete=True) == "a gray fox"
    riding = Scene("plain", (Placed("astronaut", y=0.32, size=0.4), Placed("horse", y=0.68, size=0.46)))
    assert "an astronaut riding a horse" in {spoken(riding, seed) for seed in range(200)}
    assert not held_out_pair("lion", "jungle")
    assert not held_out_pair("astronaut", "space")


def test_a_tenth_of_the_pairs_is_kept_from_training():
    """Training never shows them, in no stage; a measure can ask for them."""
    pairs = [(thing.name, place) for thing in all_things() for place in PLACES]
    assert 0.08 < np.mean([held_out_pair(*pair) for pair in pairs]) < 0.12
    for stage in (0, 5):
        assert not any(
            held_out_pair(placed.name, scene.place) for scene in scenes_of(stage, 400) for placed in scene.things
        )
    unseen = [random_scene(np.random.default_rng(index), held_out=True) for index in range(20)]
    assert all(held_out_pair(scene.things[0].name, scene.place) for scene in unseen)


def test_every_word_of_a_caption_is_known():
    """So the page never doubts what the world itself says."""
    for number, scene in enumerate(scenes_of(5, 400)):
        assert unknown_words(spoken(scene, number)) == ()
    for seed in SEEDS:
        assert remark(seed) == ""


@pytest.mark.parametrize(
    ("text", "word", "nearest"),
    [
        ("a guitar-playing bear", "guitar-playing", "guitar"),
        ("a squirel on a tree", "squirel", "squirrel"),
        ("a wizard", "wizard", "walker"),
    ],
)
def test_what_is_not_known_is_said_kindly_with_the_nearest(text, word, nearest):
    """One word is named once, with what comes nearest; the other words are known."""
    (unknown,) = unknown_words(f"{text}, {text}")
    assert (unknown.word, unknown.nearest[0]) == (word, nearest)
    assert remark(text) == f"Storybook knows about 200 things; “{word}” is not among them; nearest: {nearest}."


def test_forms_of_known_words_are_known():
    """Plurals, other tenses, capitals and words of style are no reason for a remark."""
    assert remark("Two lions walked, highly detailed, 4k, the horse's galloped; monkeys jumped") == ""


def test_a_moving_thing_goes_as_far_as_it_is_told(drawings):
    """The truth of each frame is its scene."""
    frames = sequences.moving(LION, "right", 0.3, 5)
    assert [round(scene.things[0].x, 3) for scene in frames] == [0.5, 0.575, 0.65, 0.725, 0.8]
    masks = [render(scene, 64, 64, drawings=drawings).things[0].mask for scene in (frames[0], frames[2])]
    lefts = [np.flatnonzero(mask.max(axis=0) > 0.5)[0] for mask in masks]
    assert lefts[1] - lefts[0] == pytest.approx(0.15 * 64, abs=1)
    assert sequences.growing(LION, 2.0, 3)[-1].things[0].size == pytest.approx(2 * 0.55)


def test_things_that_cross_change_places():
    """And the nearer one stays the nearer one."""
    pair = Scene("sea", (Placed("ship", x=0.25, nearness=0.6), Placed("whale", x=0.75, nearness=0.4)))
    last = sequences.crossing(pair, 4)[-1]
    assert [placed.x for placed in last.things] == pytest.approx([0.75, 0.25])


def test_random_sequences_stay_in_the_picture_and_are_described():
    """Whole from the first frame to the last, and every word known."""
    for seed in range(120):
        random = np.random.default_rng(seed)
        sequence = sequences.random_sequence(random, STAGES[5], 6)
        assert len(sequence.scenes) == 6
        assert unknown_words(sequences.describe(sequence, random)) == ()
        if sequence.kind == "moves":
            ends = [sequence.scenes[frame].things[0] for frame in (0, -1)]
            assert all(value - end.size / 2 >= 0 and value + end.size / 2 <= 1 for end in ends for value in (end.x,))
            words = sequences.describe(sequence, random, complete=True)
            assert re.search(f"{sequence.detail}|rising|falling", words)


def test_an_edit_changes_what_it_names_and_nothing_else():
    """The place, the colour or the thing; never a pair that training must not show."""
    seen = set()
    for number, scene in enumerate(scenes_of(1, 90)):
        attribute, instruction, after = edit(scene, np.random.default_rng(number))
        seen.add(attribute)
        first, changed = scene.things[0], after.things[0]
        assert unknown_words(instruction) == ()
        assert (changed.x, changed.y, changed.size) == (first.x, first.y, first.size)
        assert not held_out_pair(changed.name, after.place)
        assert (after.place != scene.place) == (attribute == "place")
        assert (changed.name != first.name) == (attribute == "thing")
        assert (changed.colour != first.colour) == (attribute == "colour")
    assert seen == {"place", "colour", "thing"}
