"""Nothing that was made is lost: clips and their index, the list of jobs, the worker, whoever's they are."""

import json
import sqlite3
import threading
import time
import zipfile
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from errors import Cancelled, InvalidSettings, UserError
from library.clips import LOCAL, ClipIndex, Limits
from library.data_folder import open_data_folder, read_key
from library.database import VERSION, Database
from library.job_list import Job, JobList, NewJob, Result, State, TooManyJobs
from library.recorder import Recorder, with_pictures
from library.service import open_library
from library.variations import fill_wildcards, variations
from library.visitors import Visitors
from library.worker import Worker
from media.exports import EXPORTS, export, read_frames
from media.metadata import read_metadata
from media.video_io import write_video
from model import Clip
from settings import MAX_PROMPT_CHARS, TextToVideoSettings
from web.variation_controls import read_variations

SETTINGS = TextToVideoSettings(prompt="A lion walking in the jungle!", seed=7, model="toyworld", num_frames=3)
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path / "library.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def clips(tmp_path, database):
    (tmp_path / "clips").mkdir()
    return ClipIndex(tmp_path / "clips", database)


@pytest.fixture
def jobs(tmp_path, database):
    (tmp_path / "jobs").mkdir()
    return JobList(database, tmp_path / "jobs")


def kept(clips: ClipIndex, owner: str = LOCAL, **changes):
    """A clip in the index."""
    settings = SETTINGS.model_copy(update=changes)
    path = clips.place_for(owner, settings.prompt, settings.seed, "gif")
    write_video(path, FRAMES, 4, {"settings": json.dumps(settings.to_dict())})
    return clips.add(path)


def generating(settings, on_step, cancel, **files) -> Clip:
    """A model that is done at once."""
    return Clip(FRAMES, settings, 1.5, ("a remark",))


def ended(jobs: JobList, owner: str, job: str) -> Job:
    """The job when it is neither waiting nor running any more."""
    for _ in range(200):
        found = jobs.get(owner, job)
        if found.state not in (State.WAITING, State.RUNNING):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{found.state} after 4 s")


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


def test_jobs_are_taken_in_order_moved_edited_and_cancelled(jobs):
    """The list does what its buttons say."""
    a, b, c, d = jobs.add(LOCAL, [NewJob({"prompt": name}) for name in "abcd"])
    jobs.move(LOCAL, d, -3)
    jobs.move(LOCAL, a, 50)
    jobs.edit(LOCAL, c, NewJob({"prompt": "new"}))
    assert jobs.cancel_waiting(LOCAL, b) == [b]
    assert jobs.ahead_of(a) == [d, c]
    assert [(job.id, job.state) for job in jobs.listed(LOCAL)][:3] == [(d, "waiting"), (c, "waiting"), (a, "waiting")]
    assert jobs.take_next().id == d
    assert jobs.take_next().settings == {"prompt": "new"}
    with pytest.raises(UserError, match="has begun"):
        jobs.edit(LOCAL, c, NewJob({}))
    jobs.resume(LOCAL, b)
    assert [jobs.take_next().id, jobs.take_next().id, jobs.take_next()] == [a, b, None]


def test_owners_take_turns(jobs):
    """Twenty jobs of one visitor do not keep another one waiting for all twenty."""
    first = jobs.add("a" * 24, [NewJob({}) for _ in range(3)])
    second = jobs.add("b" * 24, [NewJob({}) for _ in range(2)])
    taken = [jobs.take_next().id for _ in range(5)]
    assert taken == [first[0], second[0], first[1], second[1], first[2]]


def test_a_full_list_takes_all_or_nothing(tmp_path, database):
    """Uploads of refused jobs are not left behind."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "clip.mp4").write_bytes(b"x")
    jobs = JobList(database, tmp_path / "jobs", most_per_owner=3)
    jobs.add("a" * 24, [NewJob({}), NewJob({})])
    with pytest.raises(TooManyJobs, match="4 jobs"):
        jobs.add("a" * 24, [NewJob({}, files={"source": tmp_path / "clip.mp4"}), NewJob({})])
    assert list((tmp_path / "jobs").iterdir()) == []
    jobs.add("b" * 24, [NewJob({})] * 3)


def test_a_killed_server_loses_no_job(tmp_path, database):
    """What waited waits, what ran is offered again with its upload; nothing runs by itself twice."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "clip.mp4").write_bytes(b"x")
    jobs = JobList(database, tmp_path / "jobs")
    ran, waits = jobs.add(LOCAL, [NewJob({}, files={"source": tmp_path / "clip.mp4"}), NewJob({})])
    assert jobs.take_next().id == ran
    again = JobList(Database(tmp_path / "library.sqlite3"), tmp_path / "jobs")
    assert again.get(LOCAL, ran).state == State.INTERRUPTED
    assert again.take_next().id == waits
    again.resume(LOCAL, ran)
    assert again.take_next().files["source"].read_bytes() == b"x"
    again.finish(ran, State.DONE, result=Result(Path("x")))
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_job_that_runs_ends_when_it_is_cancelled_or_the_server_stops(tmp_path, jobs):
    """Cancelled for good by its owner; offered again where the server was stopped."""
    began = threading.Event()

    def run(job, tell, cancel):
        tell(job.settings["step"])
        began.set()
        assert cancel.wait(5)
        raise Cancelled

    worker = Worker(jobs, run)
    worker.start()
    first, second = jobs.add(LOCAL, [NewJob({"step": 1}), NewJob({"step": 2})])
    worker.wake()
    assert began.wait(5)
    assert (worker.running.job.id, worker.running.progress) == (first, 1)
    began.clear()
    worker.cancel("f" * 24, first)
    assert not worker.running.cancel.is_set()
    worker.cancel(LOCAL, first)
    assert began.wait(5)
    assert jobs.get(LOCAL, first).state == State.CANCELLED
    assert worker.stop()
    assert jobs.get(LOCAL, second).state == State.INTERRUPTED


def test_a_job_that_breaks_down_does_not_take_the_next_one_with_it(jobs):
    """A mistake of the user is told as it stands, a bug as one."""
    errors = {"mistake": InvalidSettings("seed: is too large"), "bug": RuntimeError("secret")}

    def run(job, tell, cancel):
        if job.settings["way"] in errors:
            raise errors[job.settings["way"]]
        return Result(Path("clip.mp4"), "0", {"seconds": 1})

    worker = Worker(jobs, run)
    worker.start()
    found = [ended(jobs, LOCAL, job) for job in jobs.add(LOCAL, [NewJob({"way": way}) for way in [*errors, "well"]])]
    assert worker.stop()
    assert [job.state for job in found] == ["failed", "failed", "done"]
    assert found[0].message == "seed: is too large"
    assert "secret" not in found[1].message
    assert found[2].result == Result(Path("clip.mp4"), "0", {"seconds": 1})


def test_a_paused_list_stays_paused_over_a_restart(tmp_path, jobs):
    """And goes on when told to."""
    jobs.add(LOCAL, [NewJob({})])
    jobs.set_paused(True)
    again = JobList(Database(tmp_path / "library.sqlite3"), tmp_path / "jobs")
    assert again.take_next() is None
    again.set_paused(False)
    assert again.take_next() is not None


def test_variations_say_what_tells_them_apart():
    """Prompts, grid and seeds multiply; a wildcard's word follows from the seed, so that it can be made again."""
    values = {"prompt": "a {red|{light|dark} blue} fox", "seed": 5, "guidance_scale": 7.5}
    made = variations(values, seeds=2, grid={"guidance_scale": [3, 7]})
    assert [(one.values["guidance_scale"], one.values["seed"]) for one in made] == [(3, 5), (3, 6), (7, 5), (7, 6)]
    assert made == variations(values, seeds=2, grid={"guidance_scale": [3, 7]})
    assert all("{" not in one.values["prompt"] and one.note.startswith("guidance_scale ") for one in made)
    prompts = {one.values["prompt"] for one in variations(values, seeds=50)}
    assert prompts == {"a red fox", "a light blue fox", "a dark blue fox"}
    assert [one.values["prompt"] for one in variations(values, prompts=["a cat", "a dog"])] == ["a cat", "a dog"]
    with pytest.raises(InvalidSettings, match="201 jobs"):
        variations(values, seeds=201)
    with pytest.raises(InvalidSettings, match="no_such is not a setting"):
        variations(values, grid={"no_such": [1]})


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


def test_a_disk_that_fills_up_leaves_the_list_working(tmp_path, database, jobs):
    """What is known goes on in memory; the add that met the full disk says so and can be tried again."""
    (first,) = jobs.add(LOCAL, [NewJob({})])
    database.connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(UserError, match=r"kept only until this server stops.*Try again"):
        jobs.add(LOCAL, [NewJob({"prompt": "x" * 5000})] * 20)
    (second,) = jobs.add(LOCAL, [NewJob({})])
    assert [job.id for job in jobs.listed(LOCAL)] == [first, second]


def test_the_thread_outlives_a_list_that_cannot_be_written(jobs, monkeypatch):
    """The one thread that works the list off died of it, and every later job waited for ever."""
    monkeypatch.setattr("library.worker.TRY_AGAIN_S", 0.01)
    finish = jobs.finish
    monkeypatch.setattr(jobs, "finish", lambda *args, **more: (_ for _ in ()).throw(sqlite3.OperationalError("full")))
    worker = Worker(jobs, lambda job, tell, cancel: Result(Path("clip.mp4")))
    worker.start()
    jobs.add(LOCAL, [NewJob({})])
    worker.wake()
    while jobs.count_waiting(LOCAL):
        time.sleep(0.01)
    monkeypatch.setattr(jobs, "finish", finish)
    (second,) = jobs.add(LOCAL, [NewJob({})])
    worker.wake()
    assert ended(jobs, LOCAL, second).state == State.DONE
    assert worker.stop()


def test_a_job_is_cancelled_in_the_moment_in_which_it_begins(jobs, monkeypatch):
    """Between waiting and running it was neither, and went on."""
    take_next, taken = jobs.take_next, threading.Event()

    def take_slowly():
        job = take_next()
        if job is not None:
            taken.set()
            time.sleep(0.1)
        return job

    def run(job, tell, cancel):
        assert cancel.wait(5)
        raise Cancelled

    monkeypatch.setattr(jobs, "take_next", take_slowly)
    worker = Worker(jobs, run)
    (job,) = jobs.add(LOCAL, [NewJob({})])
    worker.start()
    assert taken.wait(5)
    worker.cancel(LOCAL, job)
    assert ended(jobs, LOCAL, job).state == State.CANCELLED
    assert worker.stop()


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


def test_uploads_are_copied_when_there_is_room_for_the_jobs_and_once(tmp_path, database):
    """A refused list of 200 jobs copied a large upload 200 times first."""
    folder, upload = tmp_path / "jobs", tmp_path / "upload.mp4"
    folder.mkdir()
    upload.touch()
    jobs = JobList(database, folder, most_per_owner=3)
    jobs.add(LOCAL, [NewJob({}, files={"source": upload})] * 3)
    assert {path.stat().st_nlink for path in folder.rglob("*.mp4")} == {3}
    upload.unlink()
    with pytest.raises(TooManyJobs):  # and not FileNotFoundError
        jobs.add(LOCAL, [NewJob({}, files={"source": upload})])


def test_a_changed_job_has_the_format_and_the_files_that_were_asked_for(tmp_path, jobs):
    """They were left as they had been; an upload that is not sent again stays."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.mp4").write_text(name)
    (job,) = jobs.add(LOCAL, [NewJob({}, files={"source": tmp_path / "one.mp4"})])
    jobs.edit(LOCAL, job, NewJob({}, suffix="gif"))
    changed = jobs.get(LOCAL, job)
    assert (changed.suffix, changed.files["source"].read_text()) == ("gif", "one")
    jobs.edit(LOCAL, job, NewJob({}, files={"source": tmp_path / "two.mp4"}))
    assert jobs.get(LOCAL, job).files["source"].read_text() == "two"


def test_long_prompts_with_many_bars_take_no_time():
    """Twenty thousand bars without an end held the whole server for half a minute; none of the prompts but the first
    was measured before."""
    began = time.monotonic()
    fill_wildcards("{" + "|" * 20_000, 1)
    assert time.monotonic() - began < 2
    with pytest.raises(InvalidSettings, match="characters"):
        variations({"prompt": "a", "seed": 1}, prompts=["a", "{" + "|" * MAX_PROMPT_CHARS])


@pytest.mark.parametrize("name", ["prompt", "seed"])
def test_a_grid_over_what_has_a_field_of_its_own_is_refused(name):
    """Its values were noted and not used."""
    with pytest.raises(InvalidSettings, match=f"several values of {name}"):
        variations({"prompt": "a", "seed": 1}, grid={name: ["1", "2"]})


@pytest.mark.parametrize("seeds", [float("nan"), float("inf"), True, 1.5, "2"])
def test_odd_numbers_of_seeds_are_the_users_mistake(seeds):
    """JSON as Python reads it knows NaN and Infinity."""
    with pytest.raises(InvalidSettings, match="seeds"):
        read_variations(TextToVideoSettings, {"seeds": seeds})


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
