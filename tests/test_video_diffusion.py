"""A video model is trained on captioned clips: from a folder and a base to a folder, refusing the unusable."""

import json
import logging
from datetime import timedelta
from typing import get_args

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import DDIMScheduler, DDPMScheduler, DiffusionPipeline, StableDiffusionPipeline
from fakes import drifting
from transformers import BertConfig, BertModel, BertTokenizer

from generation.prompts import file_name
from generation.schedulers import build_scheduler
from media.video_io import write_video
from model import Model
from settings import Scheduler, TextToVideoSettings
from training.command_line import LARGEST_SEED
from training.video_diffusion.__main__ import main, share_among_processes
from training.video_diffusion.base import build_network, ending_in_noise, load_base, token_ids
from training.video_diffusion.config import read_config
from training.video_diffusion.text_encoders import load_text_encoder

TOYWORLD = "checkpoints/toyworld"


@pytest.fixture(scope="module")
def base(image_unet, components, tmp_path_factory):
    """The folder of a tiny image checkpoint."""
    folder = tmp_path_factory.mktemp("base")
    StableDiffusionPipeline(**{**components, "unet": image_unet}).save_pretrained(folder)
    return folder


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
    config = read_config(
        ["--data=clips", "--out=model", "--known-share=0", "--moving-weight=0", f"--seed={LARGEST_SEED}"]
    )
    assert (config.course.known_share, config.course.moving_weight, config.course.seed) == (0, 0, LARGEST_SEED)


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
    network = build_network(parts, read_config(["--data=clips", "--out=model", "--size=32", "--tune-text"]), "cpu")
    ids = token_ids(parts.tokenizer, ["a red square"])
    network(torch.randn(1, 4, 3, 4, 4), torch.tensor([500]), ids).square().sum().backward()
    idle = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert idle == []


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
