"""The command line: one sentence in, and for some modes a video, one video file out.

Every setting of the mode is an option made from the settings class, a key of the YAML file given with --config, and
inside the videos read with --from; options win over the file, and the file over the video. A user's mistake is one
line on the error output and exit code 2; Ctrl-C ends the job within a step, with exit code 130 and no file.
"""

import logging
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.compare import CompareJob, read_compare_job, run_comparison
from cli.options import OUTPUT_FOLDER, Job, read_job
from director.storyboard import load_storyboard
from errors import Cancelled, InvalidSettings, UserError
from generation.prompts import file_name
from media.video_io import SUFFIXES
from model_manager.offered_names import with_offered_names
from settings import DirectorSettings

BAR_CHARS, TERMINAL_CHARS, MESSAGE_CHARS = 24, 79, 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one video and return the exit code."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["compare"]:
            _compare(read_compare_job(given[1:]))
        else:
            _run(read_job(given))
    except UserError as error:
        sys.stderr.write(f"error: {_one_line(str(error))}\n")
        return 2
    except (Cancelled, KeyboardInterrupt) as error:
        sys.stderr.write(f"{_one_line(str(error)) or 'cancelled, nothing was written'}\n")
        return 130
    return 0


def _run(job: Job) -> None:
    """Generate, save, and say where; an output that cannot be written is refused before anything is loaded."""
    _check_output(job.output or OUTPUT_FOLDER / "any.mp4")
    from generation.sources import directed
    from model import Model

    with _cancel_on_interrupt() as cancel:
        model = Model(models=job.models, device=job.device, extras=job.extras)
        settings = with_offered_names(job.settings, model.catalogue)
        if job.chat_model is not None and isinstance(settings, DirectorSettings):
            settings = directed(settings, job.chat_model)
            for frame, prompt in enumerate(load_storyboard(settings.storyboard)):
                sys.stderr.write(f"frame {frame}: {_one_line(prompt)}\n")
        try:
            given = {name: path for name in ("source", "first_frame") if (path := getattr(job, name)) is not None}
            clip = model.generate(settings, on_step=_draw_progress, cancel=cancel, **given)
        finally:
            _draw("")
        if cancel.is_set():
            raise Cancelled
    seed = clip.settings.to_dict()["seed"]
    path = job.output or _unused_path(clip, model)
    try:
        clip.save(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    for note in clip.notes:
        sys.stderr.write(f"note: {_one_line(note)}\n")
    sys.stdout.write(f"{_one_line(str(path))}  seed {seed}  {clip.seconds:.1f} s\n")


def _compare(job: CompareJob) -> None:
    """Draw with several engines, and say what came of it."""
    with _cancel_on_interrupt() as cancel:
        text = run_comparison(job, _draw, cancel, lambda note: sys.stderr.write(f"note: {_one_line(note)}\n"))
    sys.stdout.write(f"{text}\n")


def _check_output(path: Path) -> None:
    """Make the folder and see that it can be written, before minutes of work; raises InvalidSettings."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidSettings(f"output: {path} must end in {' or '.join(SUFFIXES)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
        with suppress(FileNotFoundError):
            path.lstat()
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"output: cannot write {path}: {getattr(error, 'strerror', error)}") from None
    if path.is_dir():
        raise InvalidSettings(f"output: {path} is a folder")


def _unused_path(clip: Any, model: Any) -> Path:
    """A name of its own for every video: of a model that was trained on videos a GIF that is called as its prompt, as
    in training, of any other the time it was finished."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{clip.settings.to_dict()['seed']}.mp4"
    if model.rows[clip.settings.model].trained_on_videos:
        name = file_name(clip.settings.prompt, ".gif")
    path, number = OUTPUT_FOLDER / name, 2
    while path.exists():
        path, number = OUTPUT_FOLDER / f"{Path(name).stem}-{number}{path.suffix}", number + 1
    return path


@contextmanager
def _cancel_on_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that the job ends by itself; the second one ends the program."""
    cancel = threading.Event()

    def stop(*_: Any) -> None:
        cancel.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)


def _draw_progress(progress: Any) -> None:
    """A bar by work done, the step, and the time left."""
    bar = "#" * round(progress.fraction * BAR_CHARS)
    left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
    _draw(f"[{bar:.<{BAR_CHARS}}] step {progress.step} of {progress.total}{left}")


def _draw(text: str) -> None:
    """Put a text in place of the line before it; logs and pipes get none of this."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<{TERMINAL_CHARS}}" if text else f"\r{'':{TERMINAL_CHARS}}\r")
        sys.stderr.flush()


def _one_line(text: str) -> str:
    """The text as one printable line, whatever was in it."""
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return shown if len(shown) <= MESSAGE_CHARS else f"{shown[:MESSAGE_CHARS]}..."


if __name__ == "__main__":
    # The libraries' own remarks are for programmers, and would stand around the one line for the user.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.ERROR)
    sys.exit(main())
