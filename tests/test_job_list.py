"""The list of jobs: its order, changes and variations, and the thread that works it off."""

import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import ended

from errors import Cancelled, InvalidSettings, UserError
from library.clips import LOCAL
from library.database import Database
from library.job import NewJob, Result, State
from library.job_list import JobList, TooManyJobs
from library.variations import fill_wildcards, variations
from library.worker import Worker
from settings import MAX_PROMPT_CHARS, TextToVideoSettings
from web.variation_controls import read_variations

SETTINGS = TextToVideoSettings(prompt="A lion walking in the jungle!", seed=7, model="toyworld", num_frames=3)
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)


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
