"""Clips to learn from: captions find their files, odd files are reported and left out, toy clips do as they say."""

import logging
import os
import shutil
import subprocess
from concurrent.futures import Future
from functools import partial

import imageio_ffmpeg
import numpy as np
from fakes import drifting

from media import video_io
from media.video_io import write_video
from toyworld.clips import DIRECTIONS, EVENTS, TRAINING_CLIPS, clip_at, describe, held_out
from toyworld.splits import HELD_OUT_SEED
from training.video_diffusion.dataset import Shape, find_clips, load_latents, read_ahead, read_clip


def test_captions_come_from_texts_beside_and_tables(tmp_path):
    """A .txt beside the file, a .tsv of names, and the published GIF captions, which give addresses."""
    write_video(tmp_path / "beside.gif", drifting(4), 8, {})
    write_video(tmp_path / "tabled.mp4", drifting(4), 8, {})
    (tmp_path / "below").mkdir()
    write_video(tmp_path / "below" / "tumblr_x1.gif", drifting(4), 8, {})
    write_video(tmp_path / "mute.gif", drifting(4), 8, {})
    (tmp_path / "beside.txt").write_text("a red square moves\nit drifts\n", encoding="utf-8")
    lines = [
        "tabled.mp4\tan orange square",
        "https://38.media.tumblr.com/9f6/tumblr_x1.gif\ta man is glaring",
        "no tab",
    ]
    (tmp_path / "captions.tsv").write_text("\n".join([*lines, "absent.gif\tnobody"]), encoding="utf-8")
    found = {file.path.name: file.captions for file in find_clips(tmp_path)}
    assert found == {
        "beside.gif": ("a red square moves", "it drifts"),
        "tabled.mp4": ("an orange square",),
        "tumblr_x1.gif": ("a man is glaring",),
    }


def test_files_of_one_name_keep_their_own_captions(tmp_path, caplog):
    """Where the table names their folders; where it has the name alone both are called so, and the log says so."""
    for folder in ("cats", "dogs"):
        (tmp_path / folder).mkdir()
        for name in ("001.gif", "002.gif"):
            write_video(tmp_path / folder / name, drifting(4), 8, {})
    lines = ["cats/001.gif\ta cat", "./dogs/001.gif\ta dog", "https://a.com/001.gif\tan animal", "002.gif\ta pet"]
    (tmp_path / "captions.tsv").write_text("\n".join(lines), encoding="utf-8")
    found = {file.path.relative_to(tmp_path).as_posix(): file.captions for file in find_clips(tmp_path)}
    alike = ("a pet",)
    expected = {"cats/001.gif": ("a cat",), "cats/002.gif": alike, "dogs/001.gif": ("a dog",), "dogs/002.gif": alike}
    assert found == expected
    assert [line for line in caplog.messages if "write their paths" in line] == [
        "002.gif: 2 videos are called so and share its captions; write their paths instead"
    ]


def test_links_to_nothing_are_reported_and_skipped(tmp_path, components, caplog):
    """As are folders that are called as a video."""
    write_video(tmp_path / "good.gif", drifting(6), 8, {})
    (tmp_path / "gone.gif").symlink_to(tmp_path / "elsewhere.gif")
    (tmp_path / "folder.gif").mkdir()
    for name in ("good", "gone", "folder"):
        (tmp_path / f"{name}.txt").write_text("a square", encoding="utf-8")
    assert len(load_latents(tmp_path / "work", tmp_path, Shape(4, 32), components["vae"])) == 1
    for name in ("gone.gif", "folder.gif"):
        assert f"{name}: skipped, there is no such file" in caplog.text


def test_a_picture_every_three_minutes_is_a_clip(tmp_path):
    """Which stands still."""
    raw = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", "48x48", "-framerate", "0.005", "-i", "pipe:0"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *raw, str(tmp_path / "slow.mp4")]
    subprocess.run(command, input=drifting(3).tobytes(), check=True)
    assert read_clip(tmp_path / "slow.mp4", Shape(4, 32)).std(axis=0).max() == 0


def test_a_copied_folder_holds_the_same_clips(tmp_path, components):
    """Whenever its files were written; and what has the same name, size and time may hold something else."""
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    write_video(first / "a.gif", drifting(4), 8, {})
    (first / "a.txt").write_text("a square", encoding="utf-8")
    shutil.copytree(first, copy)
    os.utime(copy / "a.gif", (1, 1))
    read = partial(load_latents, tmp_path / "work", shape=Shape(4, 32), autoencoder=components["vae"])
    name = read(first).name
    assert read(copy).name == name
    content = bytearray((copy / "a.gif").read_bytes())
    content[20] ^= 1  # of a colour in the palette
    (copy / "a.gif").write_bytes(content)
    os.utime(copy / "a.gif", (1, 1))
    assert read(copy).name != name


def test_clips_are_not_read_further_ahead_than_they_can_be_kept():
    """However long the folder: those that nobody has taken yet are few, and come in order."""
    begun = []

    def submit(task):
        begun.append(task)
        result = Future()
        result.set_result(task)
        return result

    for taken, result in enumerate(read_ahead(submit, range(50), 6), 1):
        assert result == taken - 1
        assert len(begun) - taken < 6
    assert taken == 50


def test_broken_files_are_reported_and_skipped(tmp_path, components, caplog):
    """The others are learned from."""
    caplog.set_level(logging.INFO)
    write_video(tmp_path / "good.gif", drifting(6), 8, {})
    (tmp_path / "broken.mp4").write_bytes((tmp_path / "good.gif").read_bytes()[:300])
    (tmp_path / "noise.gif").write_bytes(b"not a video")
    for name in ("good", "broken", "noise", "absent"):
        (tmp_path / f"{name}.txt").write_text("a square", encoding="utf-8")
    write_video(tmp_path / "uncaptioned.gif", drifting(6), 8, {})
    clips = load_latents(tmp_path / "work", tmp_path, Shape(4, 32), components["vae"])
    assert clips.latents.shape == (1, 4, 4, 4, 4)
    assert clips.captions == [["a square"]]
    for name in ("broken.mp4", "noise.gif", "uncaptioned.gif"):
        assert f"{name}: skipped" in caplog.text
    assert "1 clips to learn from, 2 files skipped" in caplog.text


def test_what_would_fill_the_memory_is_skipped(tmp_path, components, caplog, monkeypatch):
    """A GIF of 16x60000 has less than a kilobyte; scaled until its shorter side is that of a clip it would have
    gigabytes. So would many frames that are less thin."""
    monkeypatch.setattr(video_io, "MAX_READ_PIXELS", 6 * 128 * 128)
    source = ["-f", "lavfi", "-i", "color=gray:size=16x60000", "-frames:v", "1"]
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *source, str(tmp_path / "hair.gif")], check=True
    )
    for name, frames in {"good": 5, "long": 9}.items():
        write_video(tmp_path / f"{name}.gif", drifting(frames), 8, {})
    for name in ("good", "hair", "long"):
        (tmp_path / f"{name}.txt").write_text("a square", encoding="utf-8")
    assert len(load_latents(tmp_path / "work", tmp_path, Shape(4, 128), components["vae"])) == 1
    assert "hair.gif: skipped, this video is too long and thin" in caplog.text
    assert "long.gif: skipped, this video has over 6 frames" in caplog.text


def test_clips_are_cut_to_a_square_and_spread_over_time(tmp_path):
    """The middle of a wide video; as many frames as asked for, from the first to the last."""
    wide = np.zeros((9, 40, 80, 3), np.uint8)
    wide[:, :, 20:60] = (30 * np.arange(9, dtype=np.uint8))[:, None, None, None]
    path = write_video(tmp_path / "wide.mp4", wide, 8, {})
    frames = read_clip(path, Shape(5, 32))
    assert frames.shape == (5, 32, 32, 3)
    assert np.allclose(frames[:, 16, 16, 0], [0, 60, 120, 180, 240], atol=6)
    assert abs(int(frames[4, 16, 2, 0]) - 240) < 12
    assert read_clip(path, Shape(16, 32)).shape[0] == 16


def test_toy_clips_move_as_their_captions_say():
    """Far enough to be seen, whole all the way."""
    for number in range(200):
        clip = clip_at(number)
        caption = describe(clip, np.random.default_rng(number))
        for scene in clip.scenes:
            for thing in scene.objects:
                assert min(thing.x, thing.y) - thing.radius > 0.0
                assert max(thing.x, thing.y) + thing.radius < 1.0
        if clip.kind == "moves":
            first, last = (scene.objects[0] for scene in (clip.scenes[0], clip.scenes[-1]))
            gone = np.array([last.x - first.x, last.y - first.y])
            distance = float(gone @ np.array(DIRECTIONS[clip.detail]))
            assert 0.24 < distance < 0.46
            assert first.colour in caption


def what_is_seen(clip):
    """All that a caption can say of a clip but the size."""
    scene = clip.scenes[0]
    things = [(thing.colour, thing.shape) for thing in scene.objects]
    people = [(figure.shirt, figure.trousers) for figure in scene.figures]
    return clip.kind, clip.detail, scene.background, *things, *people


def test_training_never_shows_what_is_held_out():
    """Colour, shape or clothes, what happens and where to, and background together. Drawing others would not do: a
    third of them are like one of the thousands that were learned from."""
    trained = {what_is_seen(clip_at(number)) for number in range(TRAINING_CLIPS)}
    others = [what_is_seen(clip_at(number, HELD_OUT_SEED)) for number in range(100)]
    assert 20 < sum(seen in trained for seen in others) < 50
    measured = held_out(100)
    assert trained.isdisjoint(what_is_seen(clip) for _, clip in measured)
    assert len({caption for caption, _ in measured}) == 100
    assert measured[:30] == held_out(30)
    assert {clip.kind for _, clip in measured} == set(EVENTS)


def test_every_direction_and_action_has_its_words():
    """Captions of opposite directions never share a wording."""
    said = {}
    for number in range(600):
        clip = clip_at(number)
        if clip.kind in ("moves", "grows", "shrinks"):
            said.setdefault(clip.detail or clip.kind, set()).add(
                describe(clip, np.random.default_rng(0), complete=True)
            )
    assert {"left", "right", "up", "down", "grows", "shrinks"} == set(said)
    assert all("moves to the left" in caption for caption in said["left"])
