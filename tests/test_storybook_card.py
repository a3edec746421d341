"""The storybook's course on a card: the same pictures without OpenCV, a folder that travels, states that come back."""

from dataclasses import replace
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from storybook.captions import caption
from storybook.render import render
from storybook.scene import STAGES, random_scene
from storybook.things import all_things
from training.loop import OutOfTime
from training.storybook import accelerated, course, pack
from training.storybook.sprites import draw_places, make_sprites, put_together
from training.toyworld.data import coarse_mask
from training.toyworld.denoiser import Course
from training.toyworld.text import build_tokenizer, save_tokenizer

THINGS = 3
SIDE_PX = 64


@pytest.fixture(scope="module")
def drawings() -> np.ndarray:
    """Orange squares without their upper right corner, of every thing."""
    drawing = np.zeros((48, 48, 4), np.uint8)
    drawing[2:46, 2:46] = (240, 130, 20, 255)
    drawing[2:24, 24:46] = 0
    return np.broadcast_to(drawing, (len(all_things()), 2, 48, 48, 4))


@pytest.fixture(scope="module")
def sprites(drawings):
    return make_sprites(drawings, draw_places(2, SIDE_PX), THINGS, "cpu")


def scenes_of(count: int):
    """Scenes of few things whose places have been drawn."""
    variety = replace(STAGES[-1], things=THINGS)
    scenes = (random_scene(np.random.default_rng([8, index]), variety) for index in range(count))
    return [replace(scene, place_seed=scene.place_seed % 2) for scene in scenes]


def test_sprites_make_the_pictures_that_are_drawn(drawings, sprites):
    """Mirrored, coloured, small, turned, several: the same to a rounding, and the same masks."""
    scenes = [
        replace(scene, things=tuple(replace(thing, angle=float(5 * number)) for thing in scene.things))
        for number, scene in enumerate(scenes_of(24))
    ]
    images, masks = put_together(scenes, sprites)
    for scene, image, mask in zip(scenes, images, masks, strict=True):
        drawn = render(scene, SIDE_PX, SIDE_PX, drawings=drawings)
        difference = np.abs(image.permute(1, 2, 0).numpy() - drawn.image)
        assert np.mean(difference) < 0.3, scene
        expected = coarse_mask([truth.mask for truth in drawn.things])
        assert np.abs(mask.numpy().astype(int) - expected).mean() < 3, scene


def test_colours_need_no_opencv():
    """What stands in for OpenCV on the card gives its hues."""
    instead = ModuleType("instead")
    exec(pack.INSTEAD, instead.__dict__)
    pixels = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(
        instead.cvtColor(pixels, None), cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), rtol=1e-3, atol=1e-2
    )
    assert all(np.array_equal(*pair) for pair in zip(instead.split(pixels), cv2.split(pixels), strict=True))


def test_a_card_learns_from_what_it_put_together(tmp_path, sprites):
    """A pool of latents and tokens, then a step of the denoiser; without a card on the processor."""
    scenes = scenes_of(6)
    random = np.random.default_rng(0)
    tokenizer = build_tokenizer([caption(scene, random) for scene in scenes], vocabulary=540)
    save_tokenizer(tokenizer, tmp_path)
    variety = replace(STAGES[0], things=THINGS)
    described, tokens = accelerated.describe(0, variety, tmp_path)
    assert tokens.shape[:2] == (len(described), accelerated.WORDINGS)

    def encode(images):
        latents = torch.nn.functional.adaptive_avg_pool2d(images, 32)[:, [0, 1, 2, 0]]
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=latents))

    autoencoder = SimpleNamespace(encode=encode, config=SimpleNamespace(scaling_factor=1.0))
    pool = accelerated.pool_on_card(sprites, autoencoder, iter([(described[:6], tokens[:6])]), tokenizer)
    assert len(pool) == 6
    assert pool.masks.max() > 0

    def text_encoder(tokens):
        states = tokens[..., None].float().expand(-1, -1, accelerated.build_unet().config.cross_attention_dim) / 600
        return SimpleNamespace(last_hidden_state=states)

    unet = accelerated.train_on_card(tmp_path / "state.pt", pool, text_encoder, Course(1, batch=2))
    assert not unet.training


def test_a_state_comes_back_in_parts(tmp_path, monkeypatch):
    """Half precision on the way, single precision at home, no part above its limit."""
    monkeypatch.setattr(pack, "PART_BYTES", 4096)
    work, home = tmp_path / "work", tmp_path / "home"
    (work / "vae-card").mkdir(parents=True)
    (work / "vae-card" / "config.json").write_text("{}")
    values = torch.randn(100, 100)
    state = {"model": {"a": values}, "optimizer": {"state": {0: {"exp_avg_sq": 1e-9 * values.square()}}}, "done": 7}
    torch.save(state, work / "denoiser-fixed.pt")
    torch.save(state, work / "denoiser-coarse.pt")
    torch.save(state["model"], work / "unet-coarse.pt")
    parts = pack.give(work, tmp_path / "parts")
    assert len(parts) > 1
    assert max(part.stat().st_size for part in parts) <= 4096
    pack.take(tmp_path / "parts", home)
    back = torch.load(home / "denoiser-fixed.pt", weights_only=True)
    assert back["done"] == 7
    torch.testing.assert_close(back["model"]["a"], values, rtol=1e-3, atol=1e-3)
    second = back["optimizer"]["state"][0]["exp_avg_sq"]
    assert second.dtype == torch.float32
    torch.testing.assert_close(second, 1e-9 * values.square(), rtol=1e-2, atol=0)
    assert {path.name for path in home.iterdir()} == {"denoiser-fixed.pt", "unet-coarse.pt", "vae-card"}


def test_a_slice_says_how_long_the_rest_takes():
    """From the pace of the phase that it stopped in, by pictures and cells."""
    plan = course.ON_PROCESSOR
    coarse, *later = plan.phases
    stop = OutOfTime(f"denoiser-{coarse.name}", coarse.steps - 60, coarse.steps, 1.0)
    per_cell = 1 / (coarse.batch * coarse.cells**2)
    expected = 1 + sum(phase.steps * phase.batch * phase.cells**2 * per_cell for phase in later) / 60
    assert course.minutes_left(plan, stop) == pytest.approx(expected)


def test_a_course_goes_on_from_the_latest_weights(tmp_path):
    """Phases before the last finished one are not repeated, also where their weights did not travel."""
    phases = tuple(course.Phase(name, STAGES[0], 1, 1) for name in ("one", "two", "three"))
    plan = replace(course.ON_PROCESSOR, phases=phases)
    weights = course.build_unet()
    torch.save(weights.state_dict(), tmp_path / "unet-two.pt")
    taught = []

    def teach(path, phase, own, start):
        taught.append((path.name, own.seed, start["conv_in.bias"]))
        return weights

    course.train_phases(tmp_path, plan, teach, Course(0, seed=10))
    ((name, seed, bias),) = taught
    assert (name, seed) == ("denoiser-three.pt", 12)
    assert torch.equal(bias, weights.conv_in.bias)
    course.train_phases(tmp_path, plan, teach, Course(0))
    assert len(taught) == 1
