"""Mistakes and interruptions on the command line: one line each, an exit code, and nothing written."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import inference
from errors import GenerationFailed
from media.video_io import write_video
from tests.command_line import FakeModel, assert_refused, raiser, use_fake_model, write_lora

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path):
    """The fake in place of model.py, and a folder of its own."""
    return use_fake_model(monkeypatch, tmp_path)


REFUSED = [
    (["x", "-o", "x.mp4", "--lora", "./missing.safetensors"], "./missing.safetensors: there is no such file or folder"),
    (["x", "-o", "x.mp4", "--lora", "evil/file.pt"], "evil/file.pt: there is no such file or folder"),
    (["x", "-o", "x.mp4", "--loras", "file.txt"], "file.txt is not a .safetensors file"),
    (["x", "-o", "x.mp4", "--vae", "folder.mp4"], "there is no VAE (.safetensors) in this folder"),
    (["x", "-o", "x.mp4", "--embedding", "half.safetensors"], "half.safetensors is not whole"),
    (["x", "-o", "x.mp4", "--models-root", "missing"], "models root missing: there is no such folder"),
    (["x", "--lora", "\udcff"], "lora: is not valid text"),
    (["x", "--lora-scale", "3"], "lora_scale: must be at most 2"),
    (
        [],
        "prompt: is missing: give a sentence, such as 'a red circle on green grass', or a file of settings",
    ),
    (["--seed", "7"], "or work in a folder with a config.yaml"),
    ([""], "prompt: is empty"),
    (["  "], "prompt: is empty"),
    (["x", "y"], "unrecognized arguments: y"),
    (["x", "--seed"], "expected one argument"),
    (["x", "--see", "7"], "unrecognized arguments"),
    (["x", "--no-such-option"], "unrecognized arguments"),
    (["x", "--" + "a" * 5000], "unrecognized arguments: --aaa"),
    (["x\nerror: y", "--a\nb"], r"unrecognized arguments: --a\nb"),
    (["x", "--seed", "1.5"], "seed: must be a whole number"),
    (["x", "--seed", "9" * 5000], "seed: must be"),
    (["x", "--seed", str(2**64)], "seed: must be at most"),
    (["x", "--seed", "none"], "seed: must be a whole number, not nothing"),
    (["x", "--num-inference-steps", "nan"], "num_inference_steps: must be"),
    (["x", "--num-inference-steps", "inf"], "num_inference_steps: must be"),
    (["x", "--num-inference-steps", "many"], "num_inference_steps: must be a whole number, not 'many'"),
    (["x", "--guidance-scale", "nan"], "guidance_scale: must be a finite number"),
    (["x", "--guidance-scale", "1,2,3"], "guidance_scale: must be a number"),
    (["x", "--width", "513"], "width: must be a multiple of 8"),
    (["x", "--width", "1" + "0" * 30], "width: must be at most 2048"),
    (["x", "--num-frames", "1024", "--width", "2048", "--height", "2048"], "too much at once"),
    (["x", "--motion-window", "941,881"], "0 < from < to < 1000"),
    (["x", "--motion-window", "941"], "motion_window"),
    (["x", "--scheduler", "zz"], "scheduler: must be one of"),
    (["half a sign \udcff"], "prompt: is not valid text"),
    (["x", "--model", "\udcff"], "model: is not valid text"),
    (["x\x1b[31m"], "U+001B"),
    (["x" * 100_000], "prompt: is too long"),
    (["x", "-o", "out.avi"], "must end in .mp4 or .gif"),
    (["x", "-o", ""], "must end in .mp4 or .gif"),
    (["x", "-o", "-"], "must end in .mp4 or .gif"),
    (["x", "-o", "folder.mp4"], "is a folder"),
    (["x", "-o", "file.txt/x.mp4"], "output: cannot write"),
    (["x", "-o", "n" * 300 + ".mp4"], "output: cannot write"),
    (["x", "-o", "nul\x00.mp4"], "output: cannot write"),
    (["x", "--config", "missing.yaml"], "missing.yaml: No such file"),
    (["x", "--config", "folder.mp4"], "folder.mp4: Is a directory"),
    (["x", "--config", "binary.yaml"], "is not a text in UTF-8"),
    (["x", "--config", "words.yaml"], "must be a mapping"),
    (["x", "--config", "unknown.yaml"], "promt: is not a setting"),
    (["x", "--config", "random.yaml"], "randomize_seed: must be true or false"),
    (["x", "--config", "output.yaml"], "output: must be text"),
    (["x", "--config", "surrogate.yaml"], "output: cannot write"),
    (["--from", "missing.mp4"], "missing.mp4: there is no such file"),
    (["--from", "file.txt"], "file.txt: this is not an MP4 or GIF video"),
    (["--from", "plain.mp4"], "plain.mp4: this video carries no settings"),
    (["--from", "foreign.mp4"], "foreign.mp4: this video carries no settings"),
    (["--from", "future.mp4"], "mode: must be one of"),
]


@pytest.fixture(scope="module")
def wrong_files(tmp_path_factory):
    """A folder of files that somebody might give by mistake."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "folder.mp4").mkdir()
    (folder / "file.txt").write_text("text")
    write_lora(folder / "half.safetensors")
    with (folder / "half.safetensors").open("rb+") as half:
        half.truncate(half.seek(0, os.SEEK_END) - 1)
    (folder / "binary.yaml").write_bytes(b"prompt: \xff")
    (folder / "words.yaml").write_text("just words")
    (folder / "unknown.yaml").write_text("promt: x")
    (folder / "random.yaml").write_text("randomize_seed: 1")
    (folder / "output.yaml").write_text("output: [a]")
    (folder / "surrogate.yaml").write_text(r'output: "\ud800.mp4"')
    for name, metadata in (
        ("plain", {}),
        ("foreign", {"settings": "words"}),
        ("future", {"settings": '{"mode": "x"}'}),
    ):
        write_video(folder / f"{name}.mp4", np.zeros((1, 64, 64, 3), np.uint8), 4, metadata)
    return folder


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=[said[:40] for _, said in REFUSED])
def test_a_mistake_is_one_line_and_exit_code_2(model, monkeypatch, capsys, wrong_files, arguments, said):
    """No traceback, nothing loaded and nothing written, whatever is on the command line or in the files."""
    monkeypatch.chdir(wrong_files)
    before = set(os.listdir())
    assert_refused(capsys, arguments, said)
    assert set(os.listdir()) == before
    assert model.made == []


def test_a_job_that_breaks_down_tells_why(model, monkeypatch, capsys):
    """Out of memory is the user's to mend; a bug is not, and keeps its traceback."""
    monkeypatch.setattr(model, "during", staticmethod(raiser(GenerationFailed("out of memory: try fewer frames"))))
    assert_refused(capsys, ["x", "-o", "x.mp4"], "out of memory: try fewer frames")
    monkeypatch.setattr(model, "during", staticmethod(raiser(ZeroDivisionError("a bug"))))
    with pytest.raises(ZeroDivisionError):
        inference.main(["x", "-o", "x.mp4"])
    assert os.listdir() == []


def test_a_full_disk_is_one_line(monkeypatch, capsys):
    """Minutes of work are lost, but at least it is clear to what, and no half of a video is left."""
    monkeypatch.setattr("media.video_io.os.replace", raiser(OSError(28, "No space left on device")))
    assert_refused(capsys, ["x", "-o", "x.mp4"], "cannot write x.mp4: No space left on device")
    assert os.listdir() == []


def test_a_finished_clip_is_kept_elsewhere_where_its_folder_is_gone(model, monkeypatch, capsys, tmp_path):
    """It went while the clip was made; minutes of work are not lost for that."""
    folder, elsewhere = tmp_path / "gone", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    monkeypatch.setattr(model, "during", staticmethod(lambda cancel: folder.rmdir()))
    assert_refused(capsys, ["x", "-o", str(folder / "x.mp4")], "x.mp4: No such file or directory; the video is kept as")
    assert [path.name for path in elsewhere.rglob("*.mp4")] == ["x.mp4"]


def test_interrupt_stops_the_job_and_writes_nothing(model, monkeypatch, capsys):
    """Ctrl-C lets the model end its step and tidy up; what Ctrl-C did before is restored."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(model, "during", staticmethod(lambda cancel: signal.raise_signal(signal.SIGINT)))
    assert inference.main(["x", "-o", "x.mp4"]) == 130
    assert os.listdir() == []
    assert signal.getsignal(signal.SIGINT) is before
    assert capsys.readouterr() == ("", "cancelled, nothing was written\n")
    monkeypatch.setattr(model, "during", staticmethod(FakeModel.during))
    assert inference.main(["x", "-o", "x.mp4"]) == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_after_the_last_step_counts_too(model, monkeypatch):
    """The model has nothing left to stop, but who pressed Ctrl-C does not expect a file."""
    monkeypatch.setattr(model, "looks_at_cancel", False)
    monkeypatch.setattr(model, "during", staticmethod(lambda cancel: signal.raise_signal(signal.SIGINT)))
    assert inference.main(["x", "-o", "x.mp4"]) == 130
    assert os.listdir() == []


def test_a_second_interrupt_does_not_wait(model, monkeypatch):
    """A model that takes minutes to load looks at nothing; who insists gets out."""

    def twice(cancel):
        signal.raise_signal(signal.SIGINT)
        assert cancel.is_set()
        signal.raise_signal(signal.SIGINT)
        pytest.fail("still running")

    monkeypatch.setattr(model, "during", staticmethod(twice))
    assert inference.main(["x", "-o", "x.mp4"]) == 130
    assert os.listdir() == []


def test_an_interrupt_while_writing_leaves_nothing(monkeypatch):
    """The frames are done, but half a file is worth nothing."""
    monkeypatch.setattr("media.video_io.os.replace", raiser(KeyboardInterrupt()))
    assert inference.main(["x", "-o", "x.mp4"]) == 130
    assert os.listdir() == []


def test_bytes_that_are_no_text_are_refused_in_a_process_of_its_own(tmp_path):
    """Python hides such bytes in half signs that cannot be printed, which must not end in a traceback."""
    command = [sys.executable, str(ROOT / "inference.py"), b"\xff\xfe", b"--config", b"\xff"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert re.fullmatch(rb"error: [^\n]+\n", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--mode video", "mode: must be one of text_to_video, direct, control, pix2pix"),
        ("--mode control --control canny --source none.mp4", "source: there is no file none.mp4"),
        ("--mode control", "control: is missing"),
        ("--mode control --control canny --width 64", "unrecognized arguments: --width 64"),
    ],
)
def test_a_mistake_in_a_mode_is_one_line(options, message, capsys):
    assert inference.main(["x", *options.split(), "-o", "out.mp4"]) == 2
    assert message in capsys.readouterr().err


def test_a_language_model_out_of_reach_is_one_line(tmp_path):
    """The program as it is: the log's own line once stood beside the message."""
    options = ["direct", "a dog", "--llm", "http://127.0.0.1:9/v1", "--llm-model", "x", "-o", str(tmp_path / "x.mp4")]
    done = subprocess.run([sys.executable, "inference.py", *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the language model's server cannot be reached")
    assert len(done.stderr.splitlines()) == 1
