"""Training can be killed at any moment and goes on as if nothing had happened."""

import pytest
import torch

from training.loop import ExponentialAverage, run_steps
from training.toyworld.denoiser import build_unet
from training.toyworld.text import build_tokenizer, save_tokenizer


class Killed(BaseException):
    """What a kill looks like from inside."""


def learn(path, steps, kill_at=None):
    """A small regression; returns the weights and the losses of the steps that ran here."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    average = ExponentialAverage(model, 0.9)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    losses = {}

    def step(index):
        if index == kill_at:
            raise Killed
        generator = torch.Generator().manual_seed(index)
        inputs = torch.randn(8, 4, generator=generator)
        loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(model)
        losses[index] = loss.item()
        return {"loss": loss.item()}

    parts = {"model": model, "average": average, "optimizer": optimizer}
    run_steps(path, steps, parts, step, save_every_s=0)
    average.copy_to(model)
    return model.weight.detach().clone(), losses


def test_a_killed_run_resumes_on_the_same_course(tmp_path):
    """Same losses, same averaged weights as without the kill."""
    expected, losses = learn(tmp_path / "whole.pt", 20)
    with pytest.raises(Killed):
        learn(tmp_path / "killed.pt", 20, kill_at=13)
    resumed, rest = learn(tmp_path / "killed.pt", 20)
    assert torch.equal(resumed, expected)
    assert rest == {index: losses[index] for index in range(13, 20)}


def test_a_finished_run_is_not_repeated(tmp_path):
    """Starting again only loads."""
    expected, _ = learn(tmp_path / "run.pt", 5)
    again, losses = learn(tmp_path / "run.pt", 5)
    assert torch.equal(again, expected)
    assert not losses


def test_the_tokenizer_is_in_clips_format_old_and_new(tmp_path):
    """Any text can be written in it; both generations of readers find their files."""
    tokenizer = build_tokenizer(["a red circle on green grass"], vocabulary=540)
    save_tokenizer(tokenizer, tmp_path)
    assert {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"} <= {
        path.name for path in tmp_path.iterdir()
    }
    loaded = type(tokenizer).from_pretrained(tmp_path)
    for text in ("a red circle", "Zebra! 日本 é 🎈"):
        ids = loaded(text).input_ids
        assert ids == tokenizer(text).input_ids
        assert ids[0] == loaded.bos_token_id
        assert ids[-1] == loaded.eos_token_id
        assert loaded.unk_token_id not in ids[1:-1]


def test_the_unet_fits_a_ten_megabyte_file():
    """In half precision, as it is shipped; and attention is there at every level, since the method patches it."""
    unet = build_unet()
    assert 2 * sum(parameter.numel() for parameter in unet.parameters()) < 10e6
    blocks = {name.split(".transformer_blocks")[0] for name in unet.attn_processors}
    assert {block.split(".")[1] for block in blocks if block.startswith("up_blocks")} == {"0", "1", "2", "3"}
