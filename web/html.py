"""HTML of the page; every word from outside is escaped, so that it is shown as text whatever it holds."""

import base64
import html
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from comparison.report.formatting import duration
from library.clips import ClipRecord
from media.pictures import to_jpeg
from model import Progress
from model_manager.builtin_models import ModelRow

HEADER = """<div class="t2v-header"><h1>Text2Video-Zero Studio</h1>
<p>Videos from image models, with no video training.</p></div>"""
PLACEHOLDER = '<div class="t2v-stage"><p>The video appears here.</p></div>'  # keeps the page from jumping later
NOTHING_KEPT = "Stopped. Nothing was kept."


def status_html(text: str, tone: str = "", *, fraction: float | None = None, notes: Sequence[str] = ()) -> str:
    """Return a line of status, with a bar while something runs (``fraction`` from 0 to 1) and the notes under it.

    ``tone`` is "running", "done", "error" or "".
    """
    bar = "" if fraction is None else f'<div class="t2v-bar"><div style="width:{fraction:.1%}"></div></div>'
    remarks = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f'<div class="t2v-status {tone}" role="status"><p>{html.escape(text)}</p>{bar}{remarks}</div>'


def hint_html(text: str) -> str:
    """Return a small grey paragraph; the text is HTML already."""
    return f'<div class="t2v-hint"><p>{text}</p></div>'


def progress_html(progress: Progress, waiting: int = 0) -> str:
    """Return the status of a running job: its step, the frames done in it if a step takes several chunks, time left,
    and how many jobs wait behind it."""
    if progress.step == progress.total:
        return status_html("Writing the video…", "running", fraction=progress.fraction)
    parts = [f"Step {progress.step + 1} of {progress.total}"]
    if progress.frame:
        parts.append(f"frame {progress.frame} of {progress.frames}")
    if progress.seconds_left is not None:
        parts.append(f"about {duration(progress.seconds_left)} left")
    if waiting:
        parts.append(f"{waiting} more in the list")
    return status_html(" · ".join(parts), "running", fraction=progress.fraction)


def waiting_html(ahead: int, *, paused: bool = False, added: int = 1) -> str:
    """Return the status of jobs that have not begun, with the number of jobs before the first of them."""
    if paused:
        return status_html("The list of jobs is paused.", "running")
    before = "" if not ahead else f" {ahead} job{'s come' if ahead > 1 else ' comes'} first."
    several = f"{added} jobs are" if added > 1 else ""
    if several or ahead:
        return status_html(f"{several or 'Added'} {'in' if several else 'to'} the list.{before}", "running")
    return status_html("Loading the model…", "running")


def record_html(record: ClipRecord) -> str:
    """Return what a clip of the history shows, by what it was made and when."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
    return status_html(record.prompt, notes=[f"{record.model} · seed {record.seed} · {when}", record.download_name])


def finished_html(facts: Mapping[str, Any]) -> str:
    """Return the status of a finished clip: time, seed, length, frame rate and size, and the model's notes."""
    frames, height, width = facts["shape"]
    settings = facts["settings"]
    shape = f"{frames} frame{'s' * (frames > 1)}, {settings['fps']} fps, {width}x{height}"
    return status_html(
        f"Done in {duration(facts['seconds'])} · seed {settings['seed']} · {shape}", "done", notes=facts["notes"]
    )


def preview_html(frames: np.ndarray) -> str:
    """Return a sheet of frames (n, h, w, 3), uint8, four to a row, inside the page itself: a preview leaves no file."""
    columns = min(len(frames), 4)
    blank = np.full_like(frames[:1], 255).repeat(-len(frames) % columns, axis=0)
    rows = np.concatenate([frames, blank]).reshape(-1, columns, *frames.shape[1:])
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
    data = base64.b64encode(to_jpeg(sheet, quality=90)).decode()
    return f'<div class="t2v-stage"><img alt="The frames so far" src="data:image/jpeg;base64,{data}"></div>'


def model_html(row: ModelRow, reason: str = "") -> str:
    """Return label and note of a model, and the reason why the program has chosen it."""
    reason = f" <span>{html.escape(reason)}</span>" if reason else ""
    return hint_html(f"<b>{html.escape(row.label)}.</b> {html.escape(row.note)}{reason}")


def learned_words_html(names: Collection[str]) -> str:
    """Return the line that names the learned words (textual inversion) on offer."""
    return hint_html(f"Learned words for both prompts: {', '.join(html.escape(name) for name in names)}.")
