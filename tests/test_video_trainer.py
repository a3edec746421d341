"""A video network begins as an image network, and learns motion on a course that a kill does not change."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DConditionModel
from einops import rearrange
from torch.nn import functional

from errors import UserError
from training.command_line import LARGEST_SEED
from training.video_diffusion.base import token_ids
from training.video_diffusion.dataset import LatentClips
from training.video_diffusion.network import (
    build_video_unet,
    is_temporal,
    ready_to_train,
    restore_full_unet,
    start_from_image,
)
from training.video_diffusion.samples import running_mean
from training.video_diffusion.trainer import (
    CaptionedVideoNetwork,
    Teacher,
    VideoCourse,
    draw_noise,
    learn,
    moving_places,
    optimizer_for,
    target_and_weight,
)

TOYWORLD = "checkpoints/toyworld"


class Killed(BaseException):
    """What a kill looks like from inside."""


def differences(image_unet, video_unet, cells):
    """How far the video network is from the image network, frame by frame, on noise."""
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(2, 4, 3, cells, cells, generator=generator)
    states = torch.randn(2, 5, image_unet.config.cross_attention_dim, generator=generator)
    timesteps = torch.tensor([120, 870])
    with torch.no_grad():
        clips = video_unet(noisy, timesteps, states).sample
        frames = image_unet(
            rearrange(noisy, "b c f h w -> (b f) c h w"),
            timesteps.repeat_interleave(3),
            states.repeat_interleave(3, dim=0),
        ).sample
    return (rearrange(clips, "b c f h w -> (b f) c h w") - frames).abs().max().item()


def test_a_video_network_begins_as_the_image_network(image_unet):
    """Whole, as it trains, and whole again: frame by frame what the image network gives."""
    video_unet = build_video_unet(image_unet, 4)
    start_from_image(video_unet, image_unet)
    assert differences(image_unet, video_unet.eval(), 4) < 1e-5
    training = ready_to_train(video_unet, "cpu").train()
    assert differences(image_unet, training, 4) < 1e-5
    assert differences(image_unet, restore_full_unet(training, training.state_dict()), 4) < 1e-5


def test_the_toy_world_begins_as_a_video_network():
    """The real checkpoint, whose heads and projections differ from level to level."""
    image_unet = UNet2DConditionModel.from_pretrained(TOYWORLD, subfolder="unet").eval()
    video_unet = build_video_unet(image_unet, 32)
    start_from_image(video_unet, image_unet)
    assert differences(image_unet, video_unet.eval(), 16) < 1e-4


def test_heads_of_several_widths_are_told(components, caplog):
    """A 3D UNet has one width of heads; a base that has more begins a little elsewhere, and the log says so."""
    build_video_unet(components["unet"], 16)
    assert "4 and 8 channels" in caplog.text


def test_what_has_no_counterpart_is_refused():
    """A UNet that is told a class, which the 3D UNet cannot be."""
    class_told = UNet2DConditionModel(block_out_channels=(32,) * 4, cross_attention_dim=8, num_class_embeds=3)
    with pytest.raises(UserError, match="num_class_embeds"):
        build_video_unet(class_told, 4)


def network_and_teacher(image_unet, components, steps):
    """A tiny course: two clips with captions, noise and timesteps from the index alone."""
    torch.manual_seed(3)
    unet = build_video_unet(image_unet, 4)
    start_from_image(unet, image_unet)
    encoder = type(components["text_encoder"])(components["text_encoder"].config)
    encoder.load_state_dict(components["text_encoder"].state_dict())
    network = CaptionedVideoNetwork(ready_to_train(unet, "cpu"), encoder)
    latents = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 4)).astype(np.float16)
    clips = LatentClips(latents, [["a red circle"], ["a blue star", "a star at night"]], "two clips")
    course = VideoCourse(steps, batch=2, accumulate=2)
    scheduler = DDPMScheduler.from_config(components["scheduler"].config)
    return network, Teacher(clips, lambda texts: token_ids(components["tokenizer"], texts), scheduler, course, "cpu")


def test_neither_colours_nor_places_can_be_read_from_the_noise():
    """White noise hides neither the mean of a clip nor that of a place in it, of which the last timestep leaves a
    fifteenth; a network that has learned to read them draws any background and any motion when there is nothing to
    read."""
    noise = draw_noise((64, 4, 8, 32, 32), torch.Generator().manual_seed(0))
    assert 0.25 < noise.mean(dim=(2, 3, 4)).std() < 0.4  # white: 0.01
    places = functional.avg_pool2d(noise.flatten(0, 2), 8).std()
    assert 0.4 < places < 0.7  # white: 0.13
    frames = noise - noise.mean(dim=(3, 4), keepdim=True)
    assert abs((frames[:, :, 0] * frames[:, :, 1]).mean()) < 0.02  # each frame has its own
    assert draw_noise((1, 4, 2, 4, 4), torch.Generator().manual_seed(0)).shape == (1, 4, 2, 4, 4)


def run(path, image_unet, components, disturb=lambda number, loss: loss):
    """Six steps of two batches, each of whose losses may be disturbed; returns the losses and the averaged weights."""
    network, teacher = network_and_teacher(image_unet, components, 6)
    curves = []
    real = teacher.loss
    object.__setattr__(teacher, "loss", lambda *given: disturb(given[1], real(*given)))
    trained = learn(
        path,
        network,
        teacher=teacher,
        accelerator=Accelerator(cpu=True),
        review=lambda _, curve: curves.append(list(curve.values)),
        save_every_s=0,
    )
    return curves[-1], trained.state_dict()


def killed_at_seven(number, loss):
    """End as a kill does."""
    if number == 7:
        raise Killed
    return loss


def test_a_killed_training_resumes_on_the_same_loss_curve(tmp_path, image_unet, components):
    """Killed between two batches of a step: same losses from the first step on, same weights."""
    losses, weights = run(tmp_path / "whole.pt", image_unet, components)
    with pytest.raises(Killed):
        run(tmp_path / "killed.pt", image_unet, components, killed_at_seven)
    resumed, resumed_weights = run(tmp_path / "killed.pt", image_unet, components)
    assert resumed == losses
    assert len(losses) == 6
    assert all(torch.equal(weights[name], resumed_weights[name]) for name in weights)


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path, image_unet, components, spoilt):
    """In the fourth step: one line, and the state is that of the third, whose weights are numbers."""
    with pytest.raises(UserError, match=r"not finite at step 4: .* lower --learning-rate"):
        run(tmp_path / "state.pt", image_unet, components, lambda number, loss: loss * (spoilt if number == 6 else 1))
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["done"] == 3
    assert all(value.isfinite().all() for value in (*state["network"].values(), *state["average"]["shadow"].values()))


def test_any_seed_draws_its_own_noise_in_every_process(image_unet, components):
    """The greatest too, in the last of many processes."""
    network, teacher = network_and_teacher(image_unet, components, 1)
    losses = []
    for seed in (0, 1, LARGEST_SEED):
        seeded = replace(teacher, course=replace(teacher.course, seed=seed))
        losses += [seeded.loss(network, number, rank).item() for number, rank in ((0, 0), (10**6, 0), (0, 63))]
    assert len(set(losses)) == 9
    assert seeded.loss(network, 0, 63).item() == losses[-1]


def test_temporal_layers_and_words_are_learned(tmp_path, image_unet, components):
    """After some steps the temporal layers say something, and the text encoder has moved along."""
    network, _ = network_and_teacher(image_unet, components, 6)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _, weights = run(tmp_path / "state.pt", image_unet, components)
    moved = {name for name in weights if not torch.equal(weights[name], before[name])}
    assert {
        "unet.down_blocks.0.temp_convs.0.conv4.3.weight",
        "unet.mid_block.temp_attentions.0.proj_out.weight",
    } <= moved
    assert any(name.startswith("text_encoder.") for name in moved)
    assert any(not is_temporal(name.removeprefix("unet.")) for name in moved if name.startswith("unet."))


def test_words_learn_as_fast_as_motion(image_unet, components):
    """What the base draws with learns at a share of the rate; words of motion are as new as the temporal layers."""
    network, teacher = network_and_teacher(image_unet, components, 1)
    names = {id(value): name for name, value in network.named_parameters()}
    fast, slow = optimizer_for(network, teacher.course).param_groups
    assert slow["lr"] == teacher.course.known_share * fast["lr"]
    assert not any(name.startswith("text_encoder.") for name in (names[id(value)] for value in slow["params"]))
    assert any(names[id(value)].startswith("text_encoder.") for value in fast["params"])


def test_predicted_noise_is_weighted_by_min_snr():
    """arXiv 2303.09556: where little noise is left, as 5 / SNR; where much is, fully. Velocity has no weight."""
    clean, noise = torch.ones(2, 4, 2, 2, 2), torch.zeros(2, 4, 2, 2, 2)
    scheduler = DDPMScheduler(prediction_type="epsilon")
    timesteps = torch.tensor([10, 900])
    target, weight = target_and_weight(scheduler, clean, noise, timesteps)
    kept = scheduler.alphas_cumprod[10]
    assert torch.equal(target, noise)
    assert torch.allclose(weight, torch.stack([5 * (1 - kept) / kept, torch.tensor(1.0)]))
    velocity, weight = target_and_weight(DDPMScheduler(prediction_type="v_prediction"), clean, noise, timesteps)
    assert velocity.max() < 0
    assert weight.tolist() == [1, 1]


def test_moving_places_are_where_frames_differ():
    """A still clip has none, nor has a clip of one frame."""
    assert moving_places(torch.ones(1, 4, 1, 8, 8)).tolist() == torch.zeros(1, 1, 1, 8, 8).tolist()
    clean = torch.zeros(2, 4, 3, 8, 8)
    clean[1, 2, 1, 2, 2] = 5
    moving = moving_places(clean)
    assert moving[0].max() == 0
    assert moving[1, 0, 0, 1:4, 1:4].min() == 1
    assert moving[1].sum() == 9


def test_what_reads_text_of_the_same_width_is_kept(image_unet):
    """And of another is not; nothing else differs."""
    kept, anew = build_video_unet(image_unet, 4), build_video_unet(image_unet, 4, 24)
    for unet in (kept, anew):
        start_from_image(unet, image_unet)
    spatial = image_unet.state_dict()
    same = {name for name, value in anew.state_dict().items() if name in spatial and value.shape == spatial[name].shape}
    assert all(name.endswith(("to_k.weight", "to_v.weight")) for name in spatial.keys() - same if "proj" not in name)
    assert all(torch.equal(anew.state_dict()[name], spatial[name]) for name in same)
    assert differences(image_unet, kept.eval(), 4) < 1e-5


def test_the_running_mean_is_of_what_came_before():
    """Of fewer values at the beginning."""
    assert running_mean(np.array([4.0, 2.0, 6.0]), 2).tolist() == [4, 3, 4]
