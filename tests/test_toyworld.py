"""The toy world: what is drawn is known, and is found again."""

import re
from dataclasses import replace

import numpy as np
import pytest

from toyworld import sequences
from toyworld.captions import caption
from toyworld.detector import detect
from toyworld.render import KEYPOINTS, render
from toyworld.scene import (
    ACTIONS,
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_PAIRS,
    SHAPES,
    Figure,
    Object,
    Scene,
    pose,
    position_word,
)
from toyworld.splits import HELD_OUT_SEED, scene_at
from training.toyworld.measure import detector_accuracy

BALL = Scene("grass", (Object("circle", "red", 0.3, 0.5, 0.2),))
PERSON = Scene("sand", figures=(Figure("blue", "black", 0.5, 0.52, 0.7),))


def test_the_detector_is_right_on_true_pictures():
    """99 % in every attribute; every claim about fidelity and motion rests on this."""
    shares = detector_accuracy(400).shares()
    assert min(shares[name] for name in ("colour", "shape", "background", "position")) >= 0.99
    assert shares["overlap"] > 0.93


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_an_empty_background_shows_nothing_but_itself(background):
    """Blades, waves, stars and clouds are not objects."""
    for seed in range(3):
        detection = detect(render(Scene(background, texture_seed=seed)).image)
        assert detection.background == background
        assert not detection.things


def test_two_objects_are_both_found_where_they_are():
    """Largest first, each with its own colour and shape."""
    right = 0
    scenes = [scene for scene in (scene_at(index, HELD_OUT_SEED) for index in range(300)) if len(scene.objects) == 2]
    for scene in scenes:
        found = {(thing.colour, position_word(thing.x, thing.y)) for thing in detect(render(scene).image).things}
        right += found == {(thing.colour, position_word(thing.x, thing.y)) for thing in scene.objects}
    assert right >= 0.97 * len(scenes)


def test_the_truth_agrees_with_the_picture():
    """Mask, box, edges and depth describe what was drawn, at any size and aspect."""
    drawn = render(BALL, height=96, width=160)
    (truth,) = drawn.things
    red = (drawn.image[..., 0] > 180) & (drawn.image[..., 1] < 90)
    assert (red == (truth.mask > 0.5)).mean() > 0.995
    rows, columns = np.nonzero(truth.mask > 0.5)
    assert truth.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert set(np.unique(drawn.edges)) == {0, 255}
    assert drawn.depth[truth.mask == 1].min() > drawn.depth[truth.mask == 0].max()
    assert drawn.depth[truth.mask == 0][0] < drawn.depth[truth.mask == 0][-1]  # the ground comes nearer


def test_nearer_things_hide_farther_ones():
    """Order follows nearness, not the order of the description; hidden parts leave the mask."""
    far = Object("square", "blue", 0.45, 0.5, 0.25, nearness=0.2)
    near = Object("circle", "red", 0.6, 0.5, 0.2, nearness=0.9)
    drawn = render(Scene("plain white", (near, far)))
    assert [truth.thing for truth in drawn.things] == [far, near]
    assert (drawn.things[0].mask + drawn.things[1].mask).max() <= 1 + 1e-6
    assert tuple(drawn.image[64, 70]) == COLOURS["red"]


def test_a_mannequin_has_the_18_keypoints_where_its_limbs_are():
    """Each limb's keypoint lies on the figure; the wrist of a raised arm is above the head."""
    for action in ACTIONS:
        figure = replace(PERSON.figures[0], angles=pose(action), action=action)
        (truth,) = render(Scene("sand", figures=(figure,))).things
        assert truth.keypoints.shape == (18, 2)
        for x, y in truth.keypoints:
            assert truth.mask[round(y), round(x)] > 0.5
    raised = render(Scene("sand", figures=(replace(figure, angles=pose("raising both arms")),))).things[0]
    points = dict(zip(KEYPOINTS, raised.keypoints, strict=True))
    assert points["left_wrist"][1] < points["nose"][1]
    assert points["right_shoulder"][0] < points["left_shoulder"][0]  # facing us


def test_captions_say_what_is_there_and_nothing_else():
    """Shape and colour always; every word of a complete caption is known to the world."""
    random = np.random.default_rng(0)
    for index in range(300):
        scene = scene_at(index, HELD_OUT_SEED)
        text = caption(scene, random)
        assert all(thing.colour in text for thing in scene.objects)
        assert not re.search(r"\ba [aeiou]", text), text
        named = set(re.findall(r"\w+", text)) & set(COLOURS)
        present = {thing.colour for thing in scene.objects} | {
            colour for figure in scene.figures for colour in (figure.shirt, figure.trousers)
        }
        assert named <= present | set(scene.background.split()) | {"green", "blue"}  # green grass, blue sky
    assert caption(BALL, random, complete=True) == "a medium red circle on the left on grass"


def test_training_never_shows_the_held_out_pairs():
    """Else 'composes' would mean 'remembers'."""
    scenes = [scene_at(index) for index in range(3000)]
    pairs = {(thing.colour, thing.shape) for scene in scenes for thing in scene.objects}
    assert not pairs & set(HELD_OUT_PAIRS)
    assert len(pairs) > 0.95 * (len(COLOURS) * len(SHAPES) - len(HELD_OUT_PAIRS))


def test_a_scene_is_the_same_for_the_same_number():
    """Training can be resumed, and held-out scenes stay held out."""
    assert scene_at(5) == scene_at(5)
    assert scene_at(5) != scene_at(5, HELD_OUT_SEED)
    assert np.array_equal(render(scene_at(5)).image, render(scene_at(5)).image)


def test_sequences_are_ground_truth_videos():
    """The detector sees the object move, grow and change as the sequence says, and nothing else."""
    moved = [detect(render(scene).image).things[0] for scene in sequences.moving(BALL, "right", 0.4, 5)]
    assert np.allclose([thing.x for thing in moved], np.linspace(0.3, 0.7, 5), atol=0.02)
    assert {thing.colour for thing in moved} == {"red"}
    grown = [detect(render(scene).image).things[0].radius for scene in sequences.growing(BALL, 1.5, 4)]
    assert grown == sorted(grown)
    assert grown[-1] / grown[0] == pytest.approx(1.5, rel=0.05)
    changed = [detect(render(scene).image) for scene in sequences.changing(BALL, 4, colour="blue", background="night")]
    assert [one.things[0].colour for one in changed] == ["red", "red", "blue", "blue"]
    assert [one.background for one in changed] == ["grass", "grass", "night", "night"]
    turned = sequences.turning(BALL, 90, 3)
    assert [scene.objects[0].angle for scene in turned] == [0, 45, 90]


@pytest.mark.parametrize("motion", sequences.MOTIONS)
def test_a_mannequin_acts(motion):
    """Keypoints move between frames, bones keep their length."""
    frames = [render(scene).things[0].keypoints for scene in sequences.acting(PERSON, motion, 8)]
    assert np.ptp(np.stack(frames), axis=0).max() > 8
    forearm = [np.linalg.norm(points[7] - points[6]) for points in frames]
    assert np.ptp(forearm) < 1e-6
