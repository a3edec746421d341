"""The yardstick of steering, on pictures whose truth is known: right ones pass, and each kind of wrong one fails."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation import steering, storyboards
from evaluation.poses import fit_figure, joints_right, keypoints, visible
from toyworld import control_scenes
from toyworld.detector import detect
from toyworld.render import KEYPOINTS, render
from toyworld.scene import Figure, Object, Scene, pose

PERSON = Figure("blue", "black", 0.5, 0.52, 0.7)
BEACH = Scene("sand", figures=(PERSON,))
NEAR, FAR = Object("circle", "red", 0.42, 0.5, 0.2, nearness=0.9), Object("square", "blue", 0.6, 0.5, 0.2, nearness=0.3)


@pytest.mark.parametrize("kind", steering.KINDS)
def test_true_pictures_are_right_in_everything(kind):
    """The clips drawn as they should be: what the measures miss there, they would miss in any result."""
    for case in steering.held_out(kind, 3, 2):
        found = steering.measures(kind, case, steering.pictures(case.scenes))
        overlaps = found.pop("outline", [1.0])
        assert min(overlaps) > 0.9
        assert all(np.mean(values) == 1 for values in found.values()), (case.prompt, found)
        assert {"canny": "outline", "depth": "order", "pose": "joints", "edit": "changed"}[kind] in {*found, "outline"}


def test_a_case_is_held_out_and_always_the_same():
    """The clips of a kind do not depend on how many are asked for, and training saw none of them."""
    few, more = (list(steering.held_out("depth", count, 2)) for count in (2, 4))
    assert [case.scenes for case in few] == [case.scenes for case in more[:2]]
    trained = {control_scenes.scene_at("depth", index) for index in range(50)}
    assert not trained & {case.scenes[0] for case in more}


def test_a_source_left_as_it_was_is_kept_but_not_changed():
    """The editor that does nothing keeps everything, and fails at the one thing it was asked for."""
    cases = list(steering.held_out(control_scenes.EDIT, 6, 2))
    found = [steering.measures(control_scenes.EDIT, case, case.source) for case in cases]
    assert not any(value for values in found for value in values["changed"])
    assert all(value for values in found for value in values["kept"])


def test_the_nearer_thing_must_be_in_front():
    """Drawn the other way round, each thing still has its colour and place, but the order is wrong."""
    scene = Scene("grass", (NEAR, FAR))
    assert steering.nearer_in_front(scene, render(scene).image)
    turned = Scene("grass", (replace(NEAR, nearness=0.1), FAR))
    assert not steering.nearer_in_front(scene, render(turned).image)
    assert not steering.nearer_in_front(scene, render(Scene("grass")).image)


def test_an_outline_must_be_where_the_source_has_it():
    """A shape moved by its radius overlaps by less than half; an empty picture not at all."""
    scene = Scene("grass", (NEAR,))
    moved = Scene("grass", (replace(NEAR, x=NEAR.x + NEAR.radius),))
    assert steering.overlap(scene, detect(render(scene).image)) > 0.95
    assert steering.overlap(scene, detect(render(moved).image)) < 0.5
    assert steering.overlap(scene, detect(render(Scene("grass")).image)) == 0


def test_joints_are_found_from_a_wrong_start():
    """Every angle off by some 15 degrees: few joints are right there, nearly all after the search."""
    random = np.random.default_rng(0)
    near: dict[str, list[float]] = {"at first": [], "found": []}
    for index in range(6):
        scene = control_scenes.scene_at("pose", index, control_scenes.HELD_OUT_SEED)
        figure = scene.figures[0]
        shaken = replace(figure, x=figure.x + 0.02, angles=tuple(random.normal(figure.angles, 15)))
        found = fit_figure(render(scene).image, scene.background, shaken)
        for name, guess in (("at first", shaken), ("found", found)):
            off = np.linalg.norm(keypoints(guess, 128, 128) - keypoints(figure, 128, 128), axis=1)
            near[name].append((off < 0.05 * figure.height * 128).mean())
    assert np.mean(near["at first"]) < 0.5
    assert np.mean(near["found"]) > 0.9


def test_a_limb_that_is_not_there_is_not_right():
    """An arm raised where it should hang: the search leaves it hanging, and sees that nothing is drawn there."""
    waving = Scene("sand", figures=(replace(PERSON, angles=pose("waving")),))
    assert visible(PERSON, 128, 128).all()
    assert joints_right(render(BEACH).image, "sand", PERSON).all()
    right = dict(zip(KEYPOINTS, joints_right(render(waving).image, "sand", PERSON), strict=True))
    assert not right["left_elbow"]
    assert not right["left_wrist"]
    assert right["right_wrist"]


@pytest.mark.parametrize("evaluation", [steering, storyboards])
def test_an_evaluation_explains_itself(evaluation, monkeypatch, capsys):
    """A per cent sign in the name of a way once broke the help that lists the ways."""
    monkeypatch.setattr("sys.argv", ["evaluation", "--help"])
    with pytest.raises(SystemExit) as ended:
        evaluation.main()
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out
