"""What control and editing learn from: true pairs, scenes of their own, and networks that begin as the base does."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from annotators.depth import Depth
from model_manager.loader import load_network
from toyworld import control_scenes
from toyworld.edits import ATTRIBUTES
from toyworld.render import render
from toyworld.scene import BLOB, HELD_OUT_PAIRS, clashes
from training.toyworld import control, control_data, estimator
from training.toyworld.denoiser import Course

COURSE = Course(2, batch=2)


@pytest.fixture
def pool():
    """Twenty true pictures of edges and random latents for them."""
    images = np.stack([render(control_scenes.scene_at("canny", index)).image for index in range(20)])
    masks = np.full((20, 32, 32), 255, np.uint8)
    return control_data.ControlPool(images, masks, np.zeros((20, 0), np.uint8))


@pytest.fixture
def latents():
    return np.random.default_rng(1).standard_normal((20, 4, 32, 32)).astype(np.float16)


@pytest.fixture
def parts(components):
    """The tiny pipeline's parts, by attribute, as a pipeline has them."""
    return SimpleNamespace(**components)


def test_an_edit_changes_what_it_names_and_nothing_else():
    """The truth that editing is trained on and measured by: one attribute, visible, of no held-out pair."""
    seen = set()
    for index in range(300):
        before, attribute, instruction, after = control_scenes.edited_at(index)
        seen.add(attribute)
        assert differences(before, after) == {attribute}, instruction
        for thing in after.objects:
            assert (thing.colour, thing.shape) not in HELD_OUT_PAIRS
            assert not clashes(thing.colour, after.background)
        for figure in after.figures:
            assert not {figure.shirt, figure.trousers} & {after.background.removeprefix("plain ")}
        named = getattr((*after.objects, *after.figures)[0], attribute, after.background)
        assert named.removeprefix("plain ").split()[0] in instruction or attribute in ("background", "shape")
    assert seen == set(ATTRIBUTES)


def differences(before, after) -> set[str]:
    """The attributes in which two scenes differ; anything else that differs is ``something else``."""
    found = {"background"} if before.background != after.background else set()
    for old, new in zip((*before.objects, *before.figures), (*after.objects, *after.figures), strict=True):
        changed = {name for name, value in vars(new).items() if value != getattr(old, name)}
        found |= changed - ({"outline"} if "shape" in changed else set())
    return found if before.texture_seed == after.texture_seed else found | {"something else"}


@pytest.mark.parametrize("kind", [*control_scenes.CONTROLS, control_scenes.EDIT])
def test_held_out_scenes_are_not_those_of_training(kind):
    trained = {control_scenes.scene_at(kind, index) for index in range(50)}
    held_out = {control_scenes.scene_at(kind, index, control_scenes.HELD_OUT_SEED) for index in range(50)}
    assert len(trained) == len(held_out) == 50
    assert not trained & held_out


def test_each_kind_sees_what_it_is_for():
    """Free-form outlines for edges, two things for depth, a mannequin in every scene for pose."""
    edges = [control_scenes.scene_at("canny", index) for index in range(200)]
    assert sum(thing.shape == BLOB for scene in edges for thing in scene.objects) > 40
    assert sum(len(control_scenes.scene_at("depth", index).objects) == 2 for index in range(200)) > 60
    assert all(control_scenes.scene_at("pose", index).figures for index in range(50))


def test_the_editor_begins_as_the_base(parts, pool, latents, tmp_path):
    """Before the first step it draws what the base draws, whatever picture it is shown."""
    editor = control.train_editor(
        tmp_path / "state.pt", parts=parts, pool=pool, latents=(latents, latents), course=Course(0)
    )
    noisy, shown = torch.randn(2, 2, 4, 32, 32)
    states = torch.randn(2, 7, parts.unet.config.cross_attention_dim)
    with torch.no_grad():
        edited = editor(torch.cat([noisy, shown], dim=1), 500, states).sample
        assert torch.allclose(edited, parts.unet(noisy, 500, states).sample, atol=1e-5)


def test_a_controlnet_learns_beside_a_frozen_unet_and_loads_as_any_other(parts, pool, latents, tmp_path):
    """Two steps change it and not the UNet; what is written is what the program's loader reads."""
    before = {name: value.clone() for name, value in parts.unet.state_dict().items()}
    trained = control.train_controlnet(
        tmp_path / "state.pt", "canny", parts=parts, pool=pool, latents=latents, course=COURSE
    )
    assert all(torch.equal(value, before[name]) for name, value in parts.unet.state_dict().items())
    assert trained.controlnet_mid_block.weight.abs().sum() > 0
    trained.half().save_pretrained(tmp_path / "controlnet")
    loaded = load_network("ControlNetModel", str(tmp_path / "controlnet"), "cpu")
    assert loaded.dtype == torch.float32
    assert torch.allclose(loaded.conv_in.weight, trained.conv_in.weight.float())


def test_a_control_is_drawn_as_an_annotator_draws_it(pool):
    """White lines on black, and a skeleton where the mannequin is."""
    random = np.random.default_rng(0)
    edges = control_data.control_pictures("canny", pool, np.arange(3), random)
    assert edges.shape == (3, 128, 128, 3)
    assert set(np.unique(edges)) == {0, 255}
    scene = control_scenes.scene_at("pose", 0)
    (skeleton,) = control_data.control_pictures("pose", pool, np.array([0]), random)
    body = render(scene).things[0].mask > 0.5
    drawn = skeleton.max(axis=-1) > 0
    assert (drawn & body).sum() > 0.7 * drawn.sum()


def test_the_depth_estimator_learns_and_the_annotator_reads_it(tmp_path):
    """A few steps on two scenes with two things in them: ground is farther than a thing, in the annotator's picture."""
    candidates = (control_scenes.scene_at("depth", index) for index in range(12))
    scenes = [scene for scene in candidates if len(scene.objects) == 2][:4]
    drawn = [render(scene) for scene in scenes]
    images, depths = (np.stack([getattr(one, name) for one in drawn]) for name in ("image", "depth"))
    pool = control_data.ControlPool(images, np.zeros((4, 32, 32), np.uint8), depths)
    estimator.train_estimator(tmp_path / "state.pt", pool, Course(60, 2e-3, batch=4)).half().save_pretrained(
        tmp_path / "net"
    )
    estimator.build_processor().save_pretrained(tmp_path / "net")
    estimated = Depth(str(tmp_path / "net"))(images)
    assert estimated.shape == images.shape
    things = np.stack([np.any([thing.mask > 0.5 for thing in one.things], axis=0) for one in drawn])
    assert np.median(estimated[things]) > np.median(estimated[~things]) + 50


def test_where_one_thing_hides_another_counts_most():
    """Depth once learned everything but which of two things is in front, since that is a hundredth of the picture."""
    scenes = [control_scenes.scene_at("depth", index) for index in range(60)]
    overlapping = [scene for scene in scenes if control_scenes.hidden(scene).any()]
    assert len(overlapping) > 10
    cells = control.hidden_cells(overlapping)
    assert cells.shape == (len(overlapping), 1, 32, 32)
    assert 0 < cells.mean() < 0.05
    alone = next(scene for scene in scenes if len(scene.objects) == 1)
    assert not control.hidden_cells([alone]).any()
