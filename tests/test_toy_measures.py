"""What a toy video shows, measured on clips that are drawn right, and wrong in one way at a time."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from evaluation import prompt_lists, toyworld
from evaluation.tracking import fit_motion
from toyworld.detector import detect
from toyworld.render import render
from toyworld.scene import BACKGROUNDS, COLOURS, HELD_OUT_PAIRS, POSITIONS, SHAPES, Figure, Object, Scene
from toyworld.sequences import acting, changing, moving, turning

RED_CIRCLE = Object("circle", "red", 0.3, 0.5, 0.2)
GRASS = Scene("grass", (RED_CIRCLE,), texture_seed=3)
PAIR = Scene("sand", (Object("square", "blue", 0.27, 0.5, 0.17), Object("star", "white", 0.74, 0.52, 0.18)))
PERSON = Scene("sea", figures=(Figure("yellow", "black", 0.4, 0.52, 0.7),))
FRAMES = 4


def drawn(scenes, side=128):
    """The clip that shows the scenes: uint8 (frames, side, side, 3)."""
    return np.stack([render(scene, side, side).image for scene in scenes])


def measured(shown, asked):
    """Every measure of the clip drawn from some scenes, where others were asked for."""
    return toyworld.measures(drawn(shown), asked)


@pytest.mark.parametrize(
    "scenes",
    [
        (GRASS,) * FRAMES,
        moving(GRASS, "right", 0.4, FRAMES),
        moving(replace(GRASS, background="night"), "up", 0.2, FRAMES),
        (PAIR,) * FRAMES,
        moving(PAIR, "down", 0.2, FRAMES),
        (PERSON,) * FRAMES,
        acting(PERSON, "walking", FRAMES),
    ],
)
def test_a_clip_that_is_drawn_as_asked_is_right_in_everything(scenes):
    """What the measures miss here, they would miss in any result."""
    found = measured(scenes, scenes)
    assert found.pop("position_error", 0) < 0.015
    speed, flicker = found.pop("speed"), found.pop("background_flicker")
    assert flicker == 1
    assert speed == pytest.approx(toyworld.expected_motion(scenes, 128, 128).speed, abs=0.005)
    assert set(found.values()) == {1.0}, found


def test_an_attribute_that_is_wrong_is_wrong_alone():
    """Another colour, shape, background or place: that share falls to nothing, the others stay."""
    thing = RED_CIRCLE
    for name, shown in {
        "colour": replace(GRASS, objects=(replace(thing, colour="blue"),)),
        "shape": replace(GRASS, objects=(replace(thing, shape="square"),)),
        "background": replace(GRASS, background="plain grey"),
        "position": replace(GRASS, objects=(replace(thing, x=0.7),)),
    }.items():
        found = measured((shown,) * 2, (GRASS,) * 2)
        shares = {attribute: found[attribute] for attribute in ("colour", "shape", "background", "position")}
        assert shares == {attribute: float(attribute != name) for attribute in shares}
        assert found["identity_to_first"] == 1
        assert found["identity_to_expected"] == (name in ("background", "position"))


def test_position_error_is_the_distance():
    """A circle 0.4 of the side to the right and 0.1 up of where it should be, at two sizes of the picture."""
    moved = replace(GRASS, objects=(replace(RED_CIRCLE, x=0.7, y=0.4),))
    for side in (128, 192):
        frames = drawn((moved,), side)
        errors = toyworld.position_errors((GRASS,), [detect(frame) for frame in frames])
        assert errors == pytest.approx([math.hypot(0.4, 0.1)], abs=0.01)


def test_of_two_things_each_counts_half_and_their_order_matters():
    """A pair of which one is recoloured has half its colours; the same things with their places exchanged are right in
    all but their arrangement."""
    square, star = PAIR.objects
    recoloured = replace(PAIR, objects=(square, replace(star, colour="red")))
    assert measured((recoloured,), (PAIR,))["colour"] == 0.5
    exchanged = replace(PAIR, objects=(replace(square, x=star.x), replace(star, x=square.x)))
    found = measured((exchanged,), (PAIR,))
    assert (found["colour"], found["shape"], found["position"]) == (1, 1, 0)
    one = measured((replace(PAIR, objects=(square,)),), (PAIR,))
    assert (one["colour"], one["shape"], one["position"]) == (0.5, 0.5, 0)
    assert math.isnan(one["position_error"])


def test_an_empty_picture_is_wrong_and_not_the_same_as_another():
    """Nothing there has no colour, no place and no identity; its background may well be right."""
    empty = replace(GRASS, objects=())
    found = measured((empty,) * FRAMES, (GRASS,) * FRAMES)
    assert found["background"] == 1
    assert [found[name] for name in ("colour", "shape", "position", "identity_to_first", "identity_to_expected")] == [
        0
    ] * 5
    assert found["direction"] == 0
    assert math.isnan(found["speed"])
    assert math.isnan(found["position_error"])


def test_identity_is_lost_where_the_thing_changes():
    """Half-way the circle turns blue: of the three frames after the first one is as before, of all four two."""
    found = measured(changing(GRASS, FRAMES, colour="blue"), (GRASS,) * FRAMES)
    assert found["identity_to_first"] == pytest.approx(1 / 3)
    assert found["identity_to_expected"] == 0.5
    asked = measured(changing(GRASS, FRAMES, colour="blue"), changing(GRASS, FRAMES, colour="blue"))
    assert asked["identity_to_expected"] == 1


def test_a_shape_that_turns_too_far_is_not_asked_for():
    """The detector knows shapes turned by up to 24 degrees; beyond that a square would pass for a diamond."""
    assert "shape" not in measured(turning(GRASS, 60, FRAMES), turning(GRASS, 60, FRAMES))
    assert "shape" in measured(turning(GRASS, 20, FRAMES), turning(GRASS, 20, FRAMES))


@pytest.mark.parametrize("direction", ["left", "right", "up", "down"])
def test_direction_and_speed_of_a_steady_motion(direction):
    """0.3 of the side over four frames is 0.1 per frame; the opposite way is wrong, standing still as well."""
    centred = replace(GRASS, objects=(replace(RED_CIRCLE, x=0.5),))
    scenes = moving(centred, direction, 0.3, FRAMES)
    found = toyworld.found_motion(scenes, [detect(frame) for frame in drawn(scenes)])
    assert found.direction == direction
    assert found.speed == pytest.approx(0.1, abs=0.003)
    assert measured(tuple(reversed(scenes)), scenes)["direction"] == 0
    assert measured((centred,) * FRAMES, scenes)["direction"] == 0
    assert measured(scenes, (centred,) * FRAMES)["direction"] == 0


def test_a_fit_by_hand():
    """Frames in which nothing was found are bridged; a wavering of 1 % goes nowhere; of one place nothing is known."""
    line = np.stack([0.2 + 0.05 * np.arange(6), np.full(6, 0.5)], axis=1)
    line[2] = np.nan
    fitted = fit_motion(line)
    assert fitted.direction == "right"
    assert fitted.velocity == pytest.approx((0.05, 0), abs=1e-9)
    wavering = np.array([[0.5, 0.5], [0.51, 0.5], [0.5, 0.49], [0.51, 0.5]])
    assert fit_motion(wavering).direction == "none"
    assert fit_motion(line[1:3]).direction == "unknown"
    assert math.isnan(fit_motion(line[2:3]).speed)


def test_flicker_of_the_background_does_not_see_the_object():
    """A thing that moves or changes colour leaves it at 1; a new texture in every frame does not."""
    assert measured(changing(GRASS, FRAMES, colour="blue"), (GRASS,) * FRAMES)["background_flicker"] == 1
    flickering = tuple(replace(GRASS, texture_seed=seed) for seed in range(FRAMES))
    assert measured(flickering, flickering)["background_flicker"] < 0.99
    brighter = drawn((GRASS,) * 2).astype(int)
    brighter[1, :, 90:] += 10  # a quarter and a bit of the width, where no circle is
    found = toyworld.measures(brighter.astype(np.uint8), (GRASS,) * 2)["background_flicker"]
    kept = 1 - cv2.dilate((render(GRASS).things[0].mask > 0.5).astype(np.uint8), np.ones((5, 5))).mean()
    assert found == pytest.approx(1 - 10 / 255 * (38 / 128) / kept, abs=1e-3)


def test_clothes_are_found_wherever_the_person_stands():
    """Every pair of colours that can be told, in any action and place: nearly all, and both or none where it counts."""
    random = np.random.default_rng(0)
    right = []
    for index in range(60):
        shirt, trousers = random.choice(list(COLOURS), 2, replace=False)
        person = replace(PERSON.figures[0], shirt=str(shirt), trousers=str(trousers), x=random.uniform(0.35, 0.65))
        scene = acting(
            Scene(BACKGROUNDS[index % 15] if index % 15 > 9 else "plain grey", figures=(person,)), "dancing", 8
        )
        image = render(scene[index % 8]).image
        right.append(toyworld.worn(image, detect(image)) == (shirt, trousers))
    assert np.mean(right) >= 0.95
    bare = render(Scene("sea")).image
    assert toyworld.worn(bare, detect(bare)) == (None, None)


def test_one_frame_is_measured_as_far_as_it_goes():
    """A still picture has its attributes and no motion, identity over time or flicker."""
    found = measured((GRASS,), (GRASS,))
    assert (found["colour"], found["identity_to_expected"]) == (1, 1)
    assert [name for name, value in found.items() if math.isnan(value)] == [
        "identity_to_first",
        "speed",
        "direction",
        "background_flicker",
    ]


# --- prompts ---------------------------------------------------------------------------------------------------


def test_the_toy_prompts_are_those_in_the_file():
    """The truth is drawn from seeds and the list is text: they say the same, and each prompt is there once."""
    prompts = prompt_lists.toyworld_prompts()
    assert [prompt.prompt for prompt in prompts] == prompt_lists.read_prompts(prompt_lists.TOYWORLD)
    assert len({prompt.prompt for prompt in prompts}) == 50


def test_the_toy_prompts_vary():
    """Every colour, shape, position, background and held-out pair comes up, and so do two objects and mannequins."""
    scenes = [prompt.scene for prompt in prompt_lists.toyworld_prompts()]
    things = [thing for scene in scenes for thing in scene.objects]
    pairs = {(thing.colour, thing.shape) for scene in scenes[25:35] for thing in scene.objects}
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.shape for thing in things} == set(SHAPES)
    assert {scene.objects[0].position for scene in scenes[:25]} == set(POSITIONS)
    assert {scene.background for scene in scenes} == set(BACKGROUNDS)
    assert pairs == set(HELD_OUT_PAIRS)
    assert not {(thing.colour, thing.shape) for scene in scenes[:25] for thing in scene.objects} & set(HELD_OUT_PAIRS)
    assert [len(scene.objects) for scene in scenes[35:]] == [2] * 8 + [0] * 7


def test_every_toy_prompt_can_be_measured():
    """The pictures that are drawn for the prompts are right in all that is asked: the yardstick reads its own list."""
    wrong = []
    for prompt in prompt_lists.toyworld_prompts():
        found = measured((prompt.scene,), (prompt.scene,))
        errors = {name: value for name, value in found.items() if name in toyworld.asked(prompt.scene) and value != 1}
        wrong += [(prompt.prompt, errors)] if errors else []
    assert not wrong


def test_lists_may_hold_comments(tmp_path):
    """Comments and empty lines are not prompts; what follows a ``#`` within a line belongs to the prompt."""
    path = tmp_path / "prompts.txt"
    path.write_text("# a list\n\n  a cat # 1 of 2  \n#b\na dog\n", encoding="utf-8")
    assert prompt_lists.read_prompts(path) == ["a cat # 1 of 2", "a dog"]
    general = prompt_lists.read_prompts(prompt_lists.GENERAL)
    assert len(set(general)) == len(general) == 25
    assert all(" is " in prompt or " are " in prompt for prompt in general)
