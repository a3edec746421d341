"""Temporary files are the server's own: swept at the start, by age and by size, and gone at the end."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from gradio.utils import get_upload_folder

from web import temporary_files
from web.temporary_files import KEEP_PARTS_SECONDS, KEEP_SECONDS, TemporaryFiles, close_all, own_folder, room_bytes

NOW = 1_000_000_000.0
ROOT = Path(__file__).parents[1]


@pytest.fixture
def files(tmp_path):
    """A server's folder."""
    files = TemporaryFiles(tmp_path)
    yield files
    close_all()
    assert not files.folder.exists()


def put(folder: Path, name: str, age: float, size: int = 10) -> Path:
    """A file of this age in seconds."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (NOW - age, NOW - age))
    return path


def test_uploads_that_ended_half_way_go_soon_and_whole_ones_late(files):
    """Gradio leaves the parts of aborted uploads, of odd field names and of a full disk lying for good."""
    cases = {
        "tmpabc": (KEEP_PARTS_SECONDS + 1, False),
        "tmpnew": (5, True),
        "0123abcd/video.mp4": (KEEP_PARTS_SECONDS + 1, True),
        "0123abcd/old.mp4": (KEEP_SECONDS + 1, False),
        "text2video-x1/clip.mp4": (KEEP_SECONDS + 1, False),
    }
    paths = {name: put(files.folder, name, age) for name, (age, _) in cases.items()}
    os.utime(files.folder / "text2video-x1", (0, 0))
    files.sweep(NOW)
    assert {name: path.exists() for name, path in paths.items()} == {name: stays for name, (_, stays) in cases.items()}


def test_beyond_the_quota_the_oldest_go_and_uploads_under_way_stay(files):
    """One aborted upload on a small disk made every later job fail."""
    files.quota_bytes = 250
    paths = [put(files.folder, f"{age}/video.mp4", age, 100) for age in (4000, 3000, 2000, 10)]
    assert room_bytes(files.folder, files.quota_bytes) == -150
    files.sweep(NOW)
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert room_bytes(files.folder, files.quota_bytes) == 50


def test_a_server_that_was_killed_leaves_nothing_for_long(tmp_path):
    """The next one removes its folder, and lets those of others that run alone."""
    running, base = TemporaryFiles(tmp_path), tmp_path
    program = "import os, sys; from pathlib import Path; from web.temporary_files import TemporaryFiles\n"
    program += "f = TemporaryFiles(Path(sys.argv[1])); (f.folder / 'x').write_text('x'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program, str(base)], cwd=ROOT, check=False)
    left = [path for path in base.glob("server-*") if path.is_dir() and path != running.folder]
    assert len(left) == 1
    TemporaryFiles(base).close()
    assert [path for path in base.glob("server-*") if path.is_dir()] == [running.folder]
    running.close()
    assert list(base.glob("server-*")) == []


def test_everything_temporary_of_a_process_lies_in_its_folder(tmp_path, monkeypatch):
    """Gradio's files and those of every library; at the end it is gone."""
    monkeypatch.setenv(temporary_files.FOLDER_VARIABLE, str(tmp_path))
    assert get_upload_folder() == str(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", None)
    with own_folder() as files:
        assert get_upload_folder() == str(files.folder)
        assert Path(tempfile.mkdtemp(prefix="text2video-")).parent == files.folder
        assert files.folder.parent == tmp_path
    assert not files.folder.exists()
    assert (get_upload_folder(), tempfile.tempdir) == (str(tmp_path), None)
