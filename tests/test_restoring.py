"""Settings inside videos that went through other programs, or come from another version: what is there comes back."""

import json
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

import inference
from errors import InvalidSettings, InvalidVideo
from media.metadata import as_comment, read_metadata
from media.video_io import write_video
from settings import TextToVideoSettings
from settings.parsing import parse, restorable, to_json
from tests.command_line import use_fake_model

METADATA = {"settings": to_json(TextToVideoSettings(prompt="a red 'circle' → 🎬", seed=7)), "versions": "{}"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A clip of each format with the metadata."""
    folder, frames = tmp_path_factory.mktemp("clips"), np.full((2, 64, 64, 3), 90, np.uint8)
    frames[1, 8:20, 8:20] = 200
    return {suffix: write_video(folder / f"clip{suffix}", frames, 4, METADATA) for suffix in (".mp4", ".gif")}


COPIED = {
    "copy.mp4": ["-c", "copy"],
    "faststart.mp4": ["-c", "copy", "-movflags", "+faststart"],
    "tags.mp4": ["-c", "copy", "-movflags", "use_metadata_tags"],
    "fragments.mp4": ["-c", "copy", "-movflags", "frag_keyframe+empty_moov"],
    "drawn-anew.mp4": ["-crf", "30"],
    "quicktime.mov": ["-c", "copy"],
    "quicktime-tags.mov": ["-c", "copy", "-movflags", "use_metadata_tags"],
    "matroska.mkv": ["-c", "copy"],
    "web.webm": ["-c:v", "libvpx"],
}


@pytest.mark.parametrize("name", COPIED)
def test_settings_are_found_wherever_another_program_has_put_the_comment(clips, tmp_path, name):
    """In all containers, and in the places that ffmpeg knows in each."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(clips[".mp4"])]
    subprocess.run([*command, *COPIED[name], str(tmp_path / name)], check=True)
    assert read_metadata(tmp_path / name) == METADATA


def test_what_stands_behind_the_end_does_no_harm(clips, tmp_path):
    """Makers of telephones add data of their own; a GIF's last byte may be missing, or another may follow."""
    video, gif = clips[".mp4"].read_bytes(), clips[".gif"].read_bytes()
    padded = video.replace(b"\0\0\0\x08free", b"", 1)
    endless = padded[: padded.rindex(b"mdat") - 4] + b"\0\0\0\0" + padded[padded.rindex(b"mdat") :]
    wholes = (video + b"SEFHe\0\0\0\1" + bytes(40) + b"SEFT", video + b"\0", endless, gif[:-1], gif + b"\0\0maker")
    for number, content in enumerate(wholes):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(content)
        assert read_metadata(path) == METADATA


def test_a_comment_of_a_gif_may_stand_behind_its_pictures(tmp_path):
    """Where some optimisers put it, and beside comments of theirs."""
    Image.new("RGB", (64, 64)).save(tmp_path / "plain.gif", comment=b"made with something")
    content, comment = (tmp_path / "plain.gif").read_bytes(), as_comment(METADATA)
    pieces = [comment[at : at + 255] for at in range(0, len(comment), 255)]
    block = b"!\xfe" + b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"
    (tmp_path / "it.gif").write_bytes(content[:-1] + block + b";")
    assert read_metadata(tmp_path / "it.gif") == METADATA


@pytest.mark.parametrize(
    "content",
    [
        b"\x1aE\xdf\xa3\x80\x18S\x80g\xff" + b"\x12T\xc3g\x88" * 5000,
        b"\x1aE\xdf\xa3" + b"\xff" * 100,
        b"\x1aE\xdf\xa3" + b"\x01" + b"\xff" * 100,
        b"\0\0\0\x08ftyp" + b"\0\0\0\x08moov" + b"\0\0\0\x08mdat" + b"\0\0\0\x10udta\0\0\0\x08meta",
    ],
)
def test_files_that_are_made_to_be_hard_are_one_line(tmp_path, content):
    """No settings, whatever is nested or counted wrongly."""
    (tmp_path / "hard").write_bytes(content)
    with pytest.raises(InvalidVideo, match="carries no settings"):
        read_metadata(tmp_path / "hard")


def test_a_value_that_this_version_cannot_take_costs_that_value_alone():
    """Unknown settings, a choice that was renamed, a bound that was narrowed, two that do not go together."""
    old = {"mode": "text_to_video", "prompt": "a dog", "seed": 7, "fps": 12}
    new = {"interpolate": 2, "sampler_eta": 0.5, "scheduler": "heun", "num_frames": 5000}
    kept, lost = restorable({**old, **new})
    assert kept == old
    assert lost[0] == "interpolate, sampler_eta: not in this version"
    assert [line.partition(":")[0] for line in lost[1:]] == ["num_frames", "scheduler"]
    kept, lost = restorable({**old, "anchor_period": 4, "anchors": "all"})
    assert kept == old
    assert "anchor_period" in lost[0]
    assert restorable(old) == (old, [])


@pytest.mark.parametrize("values", [{"prompt": ""}, {"seed": 7}, {"prompt": "a", "mode": "dance"}])
def test_what_has_no_default_is_still_refused(values):
    """A prompt, and a mode that there is."""
    with pytest.raises(InvalidSettings):
        parse(restorable(values)[0])


def test_the_command_line_names_what_was_not_restored(monkeypatch, tmp_path, capsys):
    """As a note; options still win."""
    model = use_fake_model(monkeypatch, tmp_path)
    settings = json.dumps({"mode": "text_to_video", "prompt": "a dog", "seed": 7, "fps": 12, "interpolate": 2})
    write_video(tmp_path / "new.mp4", np.zeros((1, 64, 64, 3), np.uint8), 4, {"settings": settings})
    assert inference.main(["--from", "new.mp4", "--seed", "8", "-o", "x.mp4"]) == 0
    assert "note: not restored: interpolate: not in this version" in capsys.readouterr().err
    assert model.made[0].settings == TextToVideoSettings(prompt="a dog", seed=8, fps=12)
