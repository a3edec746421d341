"""A video model is trained on captioned clips: it begins as an image model, survives a kill, refuses the unusable."""

import json
import logging
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import DDIMScheduler, DDPMScheduler, DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from einops import rearrange
from fakes import drifting
from torch.nn import functional
from transformers import BertConfig, BertModel, BertTokenizer

from errors import UserError
from generation.modes import build_scheduler
from generation.prompts import file_name
from media.video_io import write_video
from model import Model
from settings import Scheduler, TextToVideoSettings
from training.command_line import LARGEST_SEED
from training.video_diffusion.__main__ import (
    build_network,
    ending_in_noise,
    load_base,
    main,
    read_job,
    share_among_processes,
    token_ids,
)
from training.video_diffusion.dataset import LatentClips
from training.video_diffusion.network import (
    build_video_unet,
    is_temporal,
    ready_to_train,
    start_from_image,
    whole_again,
)
from training.video_diffusion.samples import running_mean
from training.video_diffusion.text_encoders import load_text_encoder
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


@pytest.fixture(scope="module")
def image_unet():
    """A tiny 2D UNet whose attention heads all have four channels, and no layer of which is silent."""
    torch.manual_seed(1)
    return UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(2, 4),
        cross_attention_dim=16,
        norm_num_groups=4,
    ).eval()


@pytest.fixture(scope="module")
def base(image_unet, components, tmp_path_factory):
    """The folder of a tiny image checkpoint."""
    folder = tmp_path_factory.mktemp("base")
    StableDiffusionPipeline(**{**components, "unet": image_unet}).save_pretrained(folder)
    return folder


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
    assert differences(image_unet, whole_again(training, training.state_dict()), 4) < 1e-5


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
        teacher,
        Accelerator(cpu=True),
        lambda _, curve: curves.append(list(curve.values)),
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


def test_a_schedule_may_end_in_noise_alone():
    """Then nothing can be read from the noise, and sampling begins where nothing could be; the beginning stays."""
    usual = DDIMScheduler.from_pretrained(TOYWORLD, subfolder="scheduler")
    stretched = ending_in_noise(usual)
    clean, noise = torch.ones(1, 4, 2, 4, 4), torch.randn(1, 4, 2, 4, 4)
    last = torch.tensor([999])
    assert not torch.equal(usual.add_noise(clean, noise, last), noise)
    for either in (stretched, DDPMScheduler.from_config(stretched.config)):  # what samples, and what training noises by
        assert torch.equal(either.add_noise(clean, noise, last), noise)
        assert torch.equal(either.get_velocity(clean, noise, last), -clean)
    assert torch.isclose(stretched.alphas_cumprod[0], usual.alphas_cumprod[0])
    stretched.set_timesteps(20)
    assert stretched.timesteps[0] == 999


@pytest.mark.parametrize("name", get_args(Scheduler))
def test_every_sampler_begins_in_noise_alone(name):
    """A network that knows the clip is asked for it, and the clip comes out."""
    stretched = ending_in_noise(DDIMScheduler.from_pretrained(TOYWORLD, subfolder="scheduler"))
    sampler = build_scheduler(name, stretched.config)
    sampler.set_timesteps(20)
    torch.manual_seed(0)
    clean = torch.randn(1, 4, 2, 4, 4)
    latents = torch.randn(clean.shape) * sampler.init_noise_sigma
    for timestep in sampler.timesteps:
        noisy, kept = sampler.scale_model_input(latents, timestep), stretched.alphas_cumprod[int(timestep)]
        noise = (noisy - kept.sqrt() * clean) / (1 - kept).sqrt()
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
        latents = sampler.step(velocity, timestep, latents).prev_sample
    assert (latents - clean).abs().mean() < 0.1


def test_moving_places_are_where_frames_differ():
    """A still clip has none, nor has a clip of one frame."""
    assert moving_places(torch.ones(1, 4, 1, 8, 8)).tolist() == torch.zeros(1, 1, 1, 8, 8).tolist()
    clean = torch.zeros(2, 4, 3, 8, 8)
    clean[1, 2, 1, 2, 2] = 5
    moving = moving_places(clean)
    assert moving[0].max() == 0
    assert moving[1, 0, 0, 1:4, 1:4].min() == 1
    assert moving[1].sum() == 9


def test_nothing_to_learn_from_is_one_line(tmp_path, base, capsys):
    """An empty folder, none at all, and one of broken files."""
    for name, files in (("empty", {}), ("broken", {"a.gif": "no video", "a.txt": "a square"})):
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text, encoding="utf-8")
    for name in ("empty", "absent", "broken"):
        options = ["--data", tmp_path / name, "--out", tmp_path / "out", "--work", tmp_path / "work", "--base", base]
        assert main([*map(str, options), "--size", "32", "--device", "cpu"]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len([line for line in said if line.startswith("error: ")]) == 1
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_trained_is_one_line(tmp_path, base, capsys):
    """No such base; a size that the networks cannot halve."""
    write_video(tmp_path / "a.gif", drifting(4), 8, {})
    (tmp_path / "a.txt").write_text("a square", encoding="utf-8")
    options = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*options, "--base", str(tmp_path)]) == 2
    assert main([*options, "--base", str(base), "--size", "50"]) == 2
    assert "use a multiple of 16" in capsys.readouterr().err
    assert main([*options, "--base", str(base), "--zero-terminal-snr"]) == 2
    assert "wants a base that predicts velocity" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--learning-rate", value) for value in ("nan", "inf", "0", "-1e-3", "fast")),
        *((option, value) for option in ("--known-share", "--moving-weight") for value in ("nan", "-1", "1e999")),
        *(("--seed", value) for value in ("-1", str(2**32), "1.5")),
    ],
)
def test_a_number_that_cannot_be_used_is_one_line(option, value, capsys):
    """Before anything is read."""
    with pytest.raises(SystemExit) as ended:
        main(["--data", "clips", "--out", "model", f"{option}={value}"])
    assert ended.value.code == 2
    assert f"error: argument {option}: " in capsys.readouterr().err.splitlines()[-1]


def test_nothing_may_be_learned_of_what_the_base_knew():
    job = read_job(["--data=clips", "--out=model", "--known-share=0", "--moving-weight=0", f"--seed={LARGEST_SEED}"])
    assert (job.course.known_share, job.course.moving_weight, job.course.seed) == (0, 0, LARGEST_SEED)


def test_processes_wait_and_leave_precision_alone(monkeypatch):
    """accelerate's configuration of a user may ask for half precision, which the loss does not know of; and whoever
    waits while the first process reads a hundred thousand clips does not give up after ten minutes."""
    AcceleratorState._reset_state(True)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    accelerator = share_among_processes("cpu")
    assert accelerator.mixed_precision == "no"
    assert accelerator.init_handler.to_kwargs() == {"timeout": timedelta(days=1)}


def test_the_command_trains_and_plain_diffusers_draws(tmp_path, base):
    """From a folder of GIFs to a folder that diffusers loads; what was drawn is named after the prompt."""
    data, out, work = (tmp_path / name for name in ("data", "out", "work"))
    data.mkdir()
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        write_video(data / f"{name}.gif", drifting(5, colour), 8, {})
        (data / f"{name}.txt").write_text(f"a {name} square moves right", encoding="utf-8")
    options = ["--data", data, "--out", out, "--work", work, "--base", base, "--steps", 3, "--frames", 4, "--size", 32]
    options += ["--device", "cpu", "--tune-text", "--prompt", "A red square, moving!"]
    assert main(list(map(str, options))) == 0
    assert {"loss.csv", "loss.png", "samples"} <= {path.name for path in work.iterdir()}
    assert len((work / "loss.csv").read_text().splitlines()) == 4
    assert {"a-red-square-moving.gif", "README.md", "unet", "model_index.json"} <= {path.name for path in out.iterdir()}
    assert not any(str(base) in path.read_text(encoding="utf-8") for path in out.rglob("*.json"))
    pipe = DiffusionPipeline.from_pretrained(out)
    pipe.set_progress_bar_config(disable=True)
    frames = pipe("a blue square", num_frames=4, num_inference_steps=2, height=32, width=32).frames
    assert frames.shape == (1, 4, 32, 32, 3)
    assert np.isfinite(frames).all()


def test_other_clips_begin_anew(base, tmp_path, caplog):
    """As many clips in another folder, with the same options: no state of the first is taken for theirs, and the log
    says so."""
    caplog.set_level(logging.INFO)
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / name).mkdir()
        write_video(tmp_path / name / "a.gif", drifting(5, colour), 8, {})
        (tmp_path / name / "a.txt").write_text(f"a {name} square", encoding="utf-8")
        options = ["--data", tmp_path / name, "--out", tmp_path / "out", "--work", tmp_path / "work", "--base", base]
        options += ["--steps", 1, "--frames", 4, "--size", 32, "--device", "cpu", "--batch", 1]
        assert main(list(map(str, options))) == 0
        assert caplog.text.count("begins anew") == (name == "blue")
    assert len(list((tmp_path / "work").glob("video-*.pt"))) == 2


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """The folder of a tiny BERT, wider than the base's text encoder."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "square", "moves", "right"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(5)
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return folder


def test_another_text_encoder_can_be_taken(base, bert, tmp_path):
    """A BERT in place of the base's CLIP: pictures begin as the base's, only what reads the text begins anew; the
    result is a folder that diffusers and this program load."""
    data, out = tmp_path / "clips", tmp_path / "model"
    data.mkdir()
    write_video(data / "red.gif", drifting(5), 8, {})
    (data / "red.txt").write_text("a red square moves right", encoding="utf-8")
    options = ["--data", data, "--out", out, "--work", tmp_path / "work", "--base", base, "--text-encoder", bert]
    options += ["--steps", 2, "--frames", 4, "--size", 32, "--device", "cpu", "--batch", 1]
    assert main(list(map(str, options))) == 0
    pipe = DiffusionPipeline.from_pretrained(out)
    assert (type(pipe.text_encoder).__name__, pipe.unet.config.cross_attention_dim) == ("BertModel", 24)
    assert pipe.tokenizer.model_max_length <= 77
    settings = TextToVideoSettings(prompt="a blue square", model="model", num_frames=2, num_inference_steps=2)
    assert len(Model(models=[str(out)], device="cpu").generate(settings).frames) == 2


def test_whatever_may_learn_is_asked_for(base, bert):
    """Several processes wait for the gradient of every weight that may learn; a BERT's pooler never has one."""
    parts = load_base(str(base))
    parts.text_encoder, parts.tokenizer = load_text_encoder(str(bert))
    network = build_network(parts, read_job(["--data=clips", "--out=model", "--size=32", "--tune-text"]), "cpu")
    ids = token_ids(parts.tokenizer, ["a red square"])
    network(torch.randn(1, 4, 3, 4, 4), torch.tensor([500]), ids).square().sum().backward()
    idle = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert idle == []


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


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be loaded"), ({"model_type": "gpt2"}, "is a gpt2")])
def test_a_text_encoder_of_another_kind_is_one_line(base, tmp_path, capsys, content, said):
    (tmp_path / "clips").mkdir()
    (tmp_path / "other").mkdir()
    if content is not None:
        (tmp_path / "other" / "config.json").write_text(json.dumps(content))
    options = ["--data", tmp_path / "clips", "--out", tmp_path / "out", "--base", base, "--device", "cpu"]
    assert main(list(map(str, [*options, "--text-encoder", tmp_path / "other"]))) == 2
    assert said in capsys.readouterr().err


def test_gifs_are_named_after_the_prompt():
    """Whatever is in it."""
    assert file_name("a red circle moving right", ".gif") == "a-red-circle-moving-right.gif"
    assert file_name("../..", ".gif") == "clip.gif"
    assert file_name("x" * 300, ".gif") == f"{'x' * 80}.gif"


def test_the_running_mean_is_of_what_came_before():
    """Of fewer values at the beginning."""
    assert running_mean(np.array([4.0, 2.0, 6.0]), 2).tolist() == [4, 3, 4]
