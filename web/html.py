"""What the page shows of a job, as HTML in which every word from outside is text."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from comparison.report.formatting import duration

PLACEHOLDER = '<div class="t2v-stage"><p>The video appears here.</p></div>'  # keeps the page from jumping later
NOTHING_KEPT = "Stopped. Nothing was kept."


def status_html(text: str, tone: str = "", fraction: float | None = None, notes: Sequence[str] = ()) -> str:
    """A line that is text whatever it holds, a bar while something runs, and remarks."""
    bar = "" if fraction is None else f'<div class="t2v-bar"><div style="width:{fraction:.1%}"></div></div>'
    remarks = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f'<div class="t2v-status {tone}" role="status"><p>{html.escape(text)}</p>{bar}{remarks}</div>'


def progress_html(progress: Any) -> str:
    """The step it is at, the frames done in it where it takes several goes, and the time left."""
    if progress.step == progress.total:
        return status_html("Writing the video…", "running", progress.fraction)
    parts = [f"Step {progress.step + 1} of {progress.total}"]
    if progress.frame:
        parts.append(f"frame {progress.frame} of {progress.frames}")
    if progress.seconds_left is not None:
        parts.append(f"about {duration(progress.seconds_left)} left")
    return status_html(" · ".join(parts), "running", progress.fraction)


def finished_html(clip: Any) -> str:
    """Time, seed and shape of the video, and the model's remarks."""
    frames, height, width = clip.frames.shape[:3]
    shape = f"{frames} frame{'s' * (frames > 1)}, {clip.fps} fps, {width}x{height}"
    return status_html(
        f"Done in {duration(clip.seconds)} · seed {clip.settings.seed} · {shape}", "done", notes=clip.notes
    )


def preview_html(frames: np.ndarray) -> str:
    """Some uint8 frames (n, h, w, 3), four to a row, inside the page itself: a preview leaves no file behind."""
    columns = min(len(frames), 4)
    blank = np.full_like(frames[:1], 255).repeat(-len(frames) % columns, axis=0)
    rows = np.concatenate([frames, blank]).reshape(-1, columns, *frames.shape[1:])
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=90, subsampling=0)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<div class="t2v-stage"><img alt="The frames so far" src="data:image/jpeg;base64,{data}"></div>'
