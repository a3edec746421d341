"""Nothing that was made is lost: clips and their index, the list of jobs, the worker, whoever's they are."""

import json
import sqlite3
import threading
import time
import zipfile

import imageio.v3 as imageio
import numpy as np
import pytest
from fakes import ended

from errors import UserError
from library.clips import LOCAL, ClipIndex, Limits
from library.data_folder import open_data_folder, read_key
from library.database import VERSION, Database
from library.job import NewJob, State
from library.job_list import JobList
from library.recorder import Recorder, with_pictures
from library.service import open_library
from library.visitors import Visitors
from library.worker import Worker
from media.exports import EXPORTS, export, read_frames
from media.metadata import read_metadata
from media.video_io import write_video
from model import Clip
from settings import TextToVideoSettings

SETTINGS = TextToVideoSettings(prompt="A lion walking in the jungle!", seed=7, model="toyworld", num_frames=3)
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)


def kept(clips: ClipIndex, owner: str = LOCAL, **changes):
    """A clip in the index."""
    settings = SETTINGS.model_copy(update=changes)
    path = clips.place_for(owner, settings.prompt, settings.seed, "gif")
    write_video(path, FRAMES, 4, {"settings": json.dumps(settings.to_dict())})
    return clips.add(path)


def generating(settings, on_step, cancel, **files) -> Clip:
    """A model that is done at once."""
    return Clip(FRAMES, settings, 1.5, ("a remark",))


def test_a_finished_job_leaves_a_clip_that_its_owner_finds_again(tmp_path, clips, jobs):
    """From the list to the history: the file says the prompt and the seed, and holds what makes it again."""
    worker = Worker(jobs, Recorder(generating, clips, tmp_path))
    worker.start()
    (job,) = jobs.add(LOCAL, [NewJob(SETTINGS.to_dict())])
    worker.wake()
    done = ended(jobs, LOCAL, job)
    assert worker.stop()
    assert (done.state, done.result.facts["notes"], done.message) == (State.DONE, ["a remark"], "")
    (record,) = clips.find(LOCAL, "JUNGLE lion")
    assert (record.id, record.file) == (done.result.clip, done.result.file)
    assert record.download_name == "a-lion-walking-in-the-jungle-7.mp4"
    assert record.settings == SETTINGS.to_dict()
    assert record.picture("thumbnail").stat().st_size
    assert record.picture("strip").stat().st_size


def test_one_owner_sees_nothing_of_another(clips, jobs):
    """Neither by listing, nor by an id that was overheard."""
    mine, theirs = kept(clips, "0" * 24), kept(clips, "f" * 24)
    assert [record.id for record in clips.find("0" * 24)] == [mine.id]
    with pytest.raises(UserError, match="not there"):
        clips.get("0" * 24, theirs.id)
    with pytest.raises(UserError, match="not there"):
        clips.delete("0" * 24, theirs.id)
    (job,) = jobs.add("f" * 24, [NewJob({})])
    assert jobs.listed("0" * 24) == []
    for question in (
        jobs.get,
        jobs.resume,
        lambda owner, job: jobs.edit(owner, job, NewJob({})),
        lambda o, j: jobs.move(o, j, 1),
    ):
        with pytest.raises(UserError):
            question("0" * 24, job)
    assert jobs.cancel_waiting("0" * 24, job) == []
    assert jobs.get("f" * 24, job).state == State.WAITING


def test_the_index_is_rebuilt_from_the_clips(tmp_path, database, clips):
    """Owners and all; files of other programs, and half of a file, are passed over."""
    wanted = {kept(clips).id: LOCAL, kept(clips, "a" * 24, prompt="a fox").id: "a" * 24}
    (tmp_path / "clips" / "holiday.mp4").write_bytes(b"\0" * 100)
    assert clips.rebuild() == 2
    found = [record for owner in (LOCAL, "a" * 24) for record in clips.find(owner)]
    assert {record.id: record.owner for record in found} == wanted


@pytest.mark.parametrize("damage", [b"SQLite format 3\0" + b"\xff" * 5000, b"words", None])
def test_a_damaged_index_is_replaced_and_said(tmp_path, clips, database, damage):
    """What a crash left: the history is read from the clips, and the damaged file is kept aside."""
    record, path = kept(clips), tmp_path / "library.sqlite3"
    database.close()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    again = Database(path)
    assert [found.id for found in ClipIndex(tmp_path / "clips", again).find(LOCAL)] == [record.id]
    assert ("damaged" in again.trouble) == (damage is not None)
    assert len(list(tmp_path.glob("*.damaged-*"))) == (damage is not None)
    again.close()


def test_an_index_of_a_newer_version_is_left_alone(tmp_path, clips, database):
    """The page goes on without it, and says so; not a byte of it changes."""
    record = kept(clips)
    path = tmp_path / "newer.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    newer = Database(path)
    assert "newer version" in newer.trouble
    assert [found.id for found in ClipIndex(tmp_path / "clips", newer).find(LOCAL)] == [record.id]
    newer.close()
    assert path.read_bytes() == before


def test_a_second_server_on_the_same_folder_is_refused(tmp_path):
    """In one line; after the first has gone it may have the folder."""
    first = open_data_folder(tmp_path / "data")
    with pytest.raises(UserError, match="used by another server"):
        open_data_folder(tmp_path / "data")
    first.close()
    again = open_data_folder(tmp_path / "data")
    assert (again.trouble, again.clips) == ("", tmp_path / "data" / "clips")
    again.close()


def test_a_folder_that_cannot_be_written_leaves_the_page_working(tmp_path):
    """A file stands where the folder should be: kept is only until the end, and that is said."""
    (tmp_path / "data").write_text("x")
    folder = open_data_folder(tmp_path / "data")
    assert folder.trouble.startswith("Clips and jobs are kept only until this server stops")
    assert folder.clips.is_dir()


def test_a_clip_is_delivered_where_the_disk_is_full(tmp_path, clips, jobs):
    """The folder of clips is gone: the clip lies elsewhere, with a note."""
    (tmp_path / "clips").rmdir()
    (tmp_path / "clips").write_text("in the way")
    recorder = Recorder(generating, clips, tmp_path)
    (job,) = jobs.add(LOCAL, [NewJob(SETTINGS.to_dict())])
    result = recorder(jobs.get(LOCAL, job), lambda progress: None, threading.Event())
    assert result.file.stat().st_size
    assert result.clip == ""
    assert "is not kept" in result.facts["notes"][-1]


def test_old_clips_and_the_last_gigabyte_make_room(clips):
    """By age, then by size, the oldest first; the newest stays."""
    records = [kept(clips, seed=seed) for seed in range(4)]
    for age, record in enumerate(records):
        clips.database.rows("UPDATE clips SET created = ? WHERE id = ?", (time.time() - age * 86_400, record.id))
    assert clips.prune(Limits(days=2.5)) == 1
    assert clips.prune(Limits(size_bytes=records[0].size_bytes + 1)) == 2
    assert [record.seed for record in clips.find(LOCAL)] == [0]
    assert not records[3].file.exists()


def test_search_takes_signs_as_they_are(clips):
    """A percent sign or a quote is a sign like any other."""
    kept(clips, prompt="100% \\ 'red' fox")
    kept(clips, prompt="1000 red foxes", seed=8)
    assert [record.seed for record in clips.find(LOCAL, "100%")] == [7]
    assert [record.seed for record in clips.find(LOCAL, "\\")] == [7]
    assert len(clips.find(LOCAL, "fox red")) == 2
    assert clips.find(LOCAL, "'; DROP TABLE clips; --") == []
    assert clips.find(LOCAL, mode="pix2pix") == []


def test_pictures_of_a_clip_from_elsewhere_are_made_when_asked_for(clips):
    """A rebuilt index has none yet."""
    record = with_pictures(kept(clips))
    assert record.picture("thumbnail").stat().st_size
    clips.delete(LOCAL, record.id)
    assert [path for path in clips.folder.rglob("*") if path.is_file()] == []


def test_a_visitor_is_known_by_a_signed_cookie_alone(tmp_path):
    """Another server's cookie, an altered one and none are nobody's; the key outlives the server."""
    folder = open_data_folder(tmp_path / "data")
    visitors = Visitors(read_key(folder))
    cookie = visitors.new_cookie()
    owner = visitors.owner(cookie)
    assert owner is not None
    assert owner not in cookie
    assert Visitors(read_key(folder)).owner(cookie) == owner
    altered = cookie[:-1] + ("0" if cookie[-1] != "0" else "1")
    for other in (None, "", altered, Visitors(b"x" * 32).new_cookie(), cookie + "0", "local"):
        assert visitors.owner(other) is None
    folder.close()


@pytest.mark.parametrize("kind", EXPORTS)
def test_a_clip_is_given_out_in_other_formats(tmp_path, clips, kind):
    """Every frame of it, at its speed; MP4 and GIF still hold the settings."""
    record = kept(clips)
    path = export(record.file, kind, tmp_path, "a-lion-7")
    assert path.name == f"a-lion-7.{'zip' if kind == 'png' else kind}"
    if kind == "png":
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == [f"frame-{number:04d}.png" for number in range(3)]
            return
    frames, fps = (imageio.imread(path, index=...), 4) if kind == "webp" else read_frames(path)
    assert (frames.shape, fps) == ((3, 32, 48, 3), 4)
    if kind in ("mp4", "gif"):
        assert json.loads(read_metadata(path)["settings"]) == record.settings


def test_a_clip_that_was_finished_when_its_server_was_killed_is_found_at_the_next_start(tmp_path, clips, database):
    """Its file was there and its row was not; one that is gone from the disk is gone from the index."""
    found, gone = kept(clips), kept(clips, seed=8)
    database.rows("DELETE FROM clips WHERE id = ?", (found.id,))
    gone.file.unlink()
    assert [record.id for record in ClipIndex(tmp_path / "clips", database).find(LOCAL)] == [found.id]


def test_an_empty_file_in_place_of_the_index_hides_no_clip(tmp_path, clips, database):
    """It looks like one that was just begun."""
    kept(clips)
    (tmp_path / "empty.sqlite3").touch()
    assert len(ClipIndex(tmp_path / "clips", Database(tmp_path / "empty.sqlite3")).find(LOCAL)) == 1


def test_an_index_that_another_program_holds_is_not_called_damaged(tmp_path, clips, database, monkeypatch):
    """It was moved aside, with the jobs that waited in it; now it is left alone, and the uploads of its jobs too."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "upload.mp4").touch()
    (job,) = JobList(database, tmp_path / "jobs").add(LOCAL, [NewJob({}, files={"source": tmp_path / "upload.mp4"})])
    monkeypatch.setattr("library.database.BUSY_S", 0.01)
    database.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.connection.execute("BEGIN EXCLUSIVE")
    database.connection.execute("UPDATE jobs SET note = 'held'")
    other = Database(tmp_path / "library.sqlite3")
    JobList(other, tmp_path / "jobs")
    assert "kept only until this server stops" in other.trouble
    assert [path.name for path in tmp_path.glob("*damaged*")] == []
    assert (tmp_path / "jobs" / job).is_dir()


def test_a_clip_that_cannot_be_indexed_is_delivered(tmp_path, clips, jobs, monkeypatch):
    """A finished clip was thrown away as a bug."""
    recorder = Recorder(generating, clips, tmp_path)
    (job,) = jobs.add(LOCAL, [NewJob(SETTINGS.to_dict())])
    monkeypatch.setattr(clips, "add", lambda path: (_ for _ in ()).throw(sqlite3.OperationalError("locked")))
    result = recorder(jobs.get(LOCAL, job), lambda progress: None, threading.Event())
    assert result.file.stat().st_size
    assert "(locked)" in result.facts["notes"][-1]


def test_limits_hold_while_the_server_runs(tmp_path):
    """They were looked at when it started, and never again; the clip of the moment is spared."""
    library = open_library(generating, data_dir=tmp_path / "data", limits=Limits(size_bytes=1))
    library.worker.start()
    for _ in range(2):
        (job,) = library.jobs.add(LOCAL, [NewJob(SETTINGS.to_dict())])
        library.worker.wake()
        result = ended(library.jobs, LOCAL, job).result
    assert [record.id for record in library.clips.find(LOCAL)] == [result.clip]
    assert library.close()


def test_programs_without_a_session_are_not_one_visitor(tmp_path):
    """They saw each other's jobs."""
    library = open_library(generating, data_dir=tmp_path / "data", shared=True)
    assert library.owner(None, None) != library.owner(None, None)
    assert library.owner(None, "a") == library.owner("forged", "a")
    library.close()


def test_a_search_of_thousands_of_words_is_answered(clips):
    """SQLite has a limit on them."""
    kept(clips, prompt="a fox")
    assert len(clips.find(LOCAL, "fox " * 3000)) == 1


def test_a_clip_whose_file_somebody_deleted_is_the_users_mistake(clips):
    """It was a traceback, and a player of nothing; it can still be taken out of the history."""
    record = kept(clips)
    record.file.unlink()
    with pytest.raises(UserError, match="is gone"):
        clips.get(LOCAL, record.id)
    clips.delete(LOCAL, record.id)
    assert clips.find(LOCAL) == []
