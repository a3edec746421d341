"""The storybook's course: pools stay true, latents are alike in all channels, a slice stops anywhere and goes on."""

import time

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from storybook.scene import STAGES, Placed, Scene, random_scene
from storybook.things import FIRST, thing_index
from training.loop import OutOfTime
from training.storybook import text
from training.storybook.autoencoder import build_autoencoder, standardise_latents
from training.storybook.data import packed, unpacked
from training.storybook.denoiser import build_unet, train_denoiser
from training.storybook.latents import LatentPool, encode
from training.toyworld import denoiser as toyworld_denoiser
from training.toyworld.autoencoder import Reconstruction, as_mosaic, learn_to_reconstruct
from training.toyworld.denoiser import Course

WIDTH = text.WIDTH


@pytest.fixture
def pool() -> LatentPool:
    """Twelve scenes with random latents."""
    random = np.random.default_rng(1)
    scenes = np.stack([packed(random_scene(random, STAGES[0])) for _ in range(12)])
    latents = random.standard_normal((12, 4, 32, 32)).astype(np.float16)
    return LatentPool(latents, np.zeros((12, 32, 32), np.uint8), scenes)


def states_of(texts: list[str]) -> torch.Tensor:
    """Text states that depend on the texts alone."""
    return torch.tensor([[[float(len(text))]] for text in texts]).expand(-1, 4, WIDTH) / 50


def pictures(count: int) -> np.ndarray:
    """Flat pictures in random colours with a bright square."""
    images = np.empty((count, 64, 64, 3), np.uint8)
    images[:] = np.random.default_rng(0).integers(0, 200, (count, 1, 1, 3))
    images[:, 16:40, 16:40] = 240
    return images


def test_a_pool_keeps_its_scenes():
    """Every scene comes back from its record as it was, also the fullest."""
    for index in range(300):
        scene = random_scene(np.random.default_rng([5, index]), STAGES[-1])
        assert unpacked(packed(scene)) == scene


def test_what_a_text_says_is_what_its_heads_learn():
    """Classes of one thing and of two; what does not apply is left out."""
    names = list(text.ATTRIBUTES)
    one = text.attributes(Scene("jungle", (Placed("lion", colour="blue", mirrored=True),)))
    assert one[names.index("thing")] == thing_index("lion")
    assert one[names.index("second thing")] == text.UNKNOWN
    assert one[names.index("mirrored")] == 1
    two = text.attributes(Scene("room", (Placed("cat", x=0.7, size=0.4), Placed("dog", x=0.3, size=0.4))))
    assert two[: names.index("background")] == [thing_index("dog"), thing_index("cat")]
    assert two[names.index("count")] == 1
    assert two[names.index("colour")] == text.UNKNOWN
    rider = Scene("meadow", (Placed("astronaut", y=0.3, size=0.4), Placed("horse", x=0.48, y=0.7, size=0.4)))
    assert rider.stacked
    assert text.attributes(rider)[: names.index("background")] == [thing_index("astronaut"), thing_index("horse")]
    for index in range(200):
        classes = text.attributes(random_scene(np.random.default_rng([6, index]), STAGES[-1]))
        for value, count in zip(classes, text.ATTRIBUTES.values(), strict=True):
            assert value == text.UNKNOWN or 0 <= value < count


def test_the_unet_is_light_and_attends_below_the_finest_level():
    """At most three times the toy world's work; the method patches its attention at 16x16."""
    unet = build_unet()
    assert sum(parameter.numel() for parameter in unet.parameters()) < 10e6
    assert work(unet, WIDTH) < 3 * work(toyworld_denoiser.build_unet(), 128)
    levels = {".".join(name.split(".")[:2]) for name in unet.attn_processors if not name.startswith("mid")}
    assert levels == {f"down_blocks.{level}" for level in (1, 2, 3)} | {f"up_blocks.{level}" for level in (0, 1, 2)}


def work(unet, width: int) -> int:
    """Floating-point operations of one evaluation."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(torch.zeros(1, 4, 32, 32), torch.tensor([1]), torch.zeros(1, 32, width))
    return counter.get_total_flops()


def test_latents_are_alike_in_all_channels_and_decode_as_before():
    """Standardising is folded into the convolutions on either side of the latents."""
    torch.manual_seed(0)
    model = build_autoencoder().eval()
    images = pictures(10)
    with torch.no_grad():
        before = model.decode(model.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mean).sample
        standardise_latents(model, images)
        after = model.decode(model.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mean).sample
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        latents = model.encode(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mean
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-3)
    assert encode(model, images).shape == (10, 4, 8, 8)


def test_a_mosaic_shows_four_pictures_at_half_their_size():
    """Quarter by quarter."""
    pictures = torch.arange(5.0)[:, None, None, None].expand(5, 3, 8, 8)
    mosaic = as_mosaic(pictures)
    assert mosaic.shape == (1, 3, 8, 8)
    assert mosaic[0, 0, ::7, ::7].tolist() == [[0, 1], [2, 3]]


def test_an_autoencoder_is_guided_to_colours_first(tmp_path):
    """Two steps with all options on; the loss falls and the model is ready to use."""
    torch.manual_seed(0)
    model = build_autoencoder()
    course = Reconstruction(2, divergence=1e-4, mosaic=True, guided=2)
    learn_to_reconstruct(tmp_path / "autoencoder.pt", model, lambda random: pictures(4), course)
    assert not model.training


def test_a_slice_stops_at_its_deadline_and_the_next_goes_on(tmp_path, pool):
    """The weights are those of a course that was never interrupted."""
    whole = train_denoiser(tmp_path / "whole.pt", pool, states_of, Course(2, batch=2, zero_terminal_snr=True), cells=16)
    stopped = Course(2, batch=2, zero_terminal_snr=True, deadline=time.monotonic())
    with pytest.raises(OutOfTime):
        train_denoiser(tmp_path / "part.pt", pool, states_of, stopped, cells=16)
    part = train_denoiser(tmp_path / "part.pt", pool, states_of, Course(2, batch=2, zero_terminal_snr=True), cells=16)
    assert all(torch.equal(mine, its) for mine, its in zip(part.parameters(), whole.parameters(), strict=True))


def test_sampling_begins_where_training_ends():
    """Nothing of the picture is left at the last timestep, and sampling begins there."""
    scheduler = toyworld_denoiser.with_zero_terminal_snr(toyworld_denoiser.build_scheduler())
    assert scheduler.alphas_cumprod[-1] < 1e-6
    scheduler.set_timesteps(20)
    assert scheduler.timesteps[0] == scheduler.config.num_train_timesteps - 1


def test_the_first_things_are_all_shown():
    """The first stage shows the least that the storybook must know, all of it."""
    names = {random_scene(np.random.default_rng([7, index]), STAGES[0]).things[0].name for index in range(2000)}
    assert len(names) == FIRST
