"""HTML of the page; every word from outside is escaped, so that it is shown as text whatever it holds."""

import base64
import html
import io
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from comparison.report.formatting import duration
from library.clips import ClipRecord
from model import Progress
from model_manager.builtin_models import ModelRow

HEADER = """<div class="t2v-header"><div><h1>Text2Video-Zero Studio</h1>
<p>Videos from image models, with no video training.</p></div>
<div class="t2v-choices"><button id="t2v-notify" type="button">Notify me when a video is done</button>
<label id="t2v-theme">Theme <select><option>System</option><option>Light</option><option>Dark</option></select></label>
</div></div>"""
PLACEHOLDER = '<div class="t2v-stage"><p>The video appears here.</p></div>'  # keeps the page from jumping later
PREVIEW_MS = 200  # of each frame
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
    decoding = progress.step == progress.total
    parts = ["Writing the video…" if decoding else f"Step {progress.step + 1} of {progress.total}"]
    if progress.frame and not decoding:
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
    """Return frames (n, h, w, 3), uint8, as a picture that moves, inside the page itself: a preview leaves no file."""
    larger = [Image.fromarray(frame).resize((frame.shape[1] * 4, frame.shape[0] * 4)) for frame in frames]
    data = io.BytesIO()
    larger[0].save(data, "WEBP", save_all=True, append_images=larger[1:], duration=PREVIEW_MS, loop=0, quality=70)
    text = base64.b64encode(data.getvalue()).decode()
    return f'<div class="t2v-stage"><img alt="The video so far" src="data:image/webp;base64,{text}"></div>'


def model_html(row: ModelRow, reason: str = "") -> str:
    """Return label and note of a model, and the reason why the program has chosen it."""
    reason = f" <span>{html.escape(reason)}</span>" if reason else ""
    return hint_html(f"<b>{html.escape(row.label)}.</b> {html.escape(row.note)}{reason}")


def learned_words_html(names: Collection[str]) -> str:
    """Return the line that names the learned words (textual inversion) on offer."""
    return hint_html(f"Learned words for both prompts: {', '.join(html.escape(name) for name in names)}.")
