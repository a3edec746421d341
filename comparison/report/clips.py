"""Clips of a comparison side by side, in step and without a script, as HTML that escapes every word from outside.

It depends on results and not on engines.
"""

import base64
import html
from collections.abc import Sequence
from urllib.parse import quote

import numpy as np
from PIL import Image

from comparison.report.formatting import duration
from comparison.results import ClipResult, EngineResult, Results
from media.pictures import to_jpeg

MOST_FRAMES = 64
LONGEST_SIDE = 256  # px
JPEG_BLOCK = 8  # px; a block that two frames share would carry traces of one into the other


def strip_of(frames: np.ndarray) -> bytes:
    """Return uint8 frames (f, h, w, 3) below each other as a JPEG: at most MOST_FRAMES, evenly chosen from the first to
    the last, each at most LONGEST_SIDE px long and wide."""
    count, height, width = frames.shape[:3]
    chosen = np.linspace(0, count - 1, min(count, MOST_FRAMES)).round().astype(int)
    size = _strip_size(width, height)
    pictures = [np.asarray(Image.fromarray(frames[index]).resize(size, Image.Resampling.LANCZOS)) for index in chosen]
    return to_jpeg(np.concatenate(pictures), quality=88)


def _strip_size(width: int, height: int) -> tuple[int, int]:
    """Return a frame's width and height in the strip in px. Frames that are made smaller become whole JPEG blocks high;
    the page shows them in their true proportions."""
    scale = LONGEST_SIDE / max(width, height)
    if scale >= 1:
        return width, height
    return max(1, round(width * scale)), max(JPEG_BLOCK, round(height * scale / JPEG_BLOCK) * JPEG_BLOCK)


def clips_html(results: Results, *, links: bool = False) -> str:
    """Return every prompt that any engine has a strip of, with the first seed's clip of each engine.

    ``links`` adds a link to each clip's file, for a page in the folder where the files are.

    All clips of a prompt start together at their own speed, and start again together when the longest one is over; a
    shorter one holds its last frame until then. Slowing it down would be a lie about motion.
    """
    return "".join(_prompt_html(results, prompt, links) for prompt in results.prompts)


def _prompt_html(results: Results, prompt: str, links: bool) -> str:
    """Return a heading and a row of cells, "" if no engine has a strip of this prompt."""
    seed = results.seeds[0]
    clips = [_clip(engine, prompt, seed) for engine in results.engines]
    seconds = max((clip.frames / clip.fps for clip in clips if clip and clip.strip), default=0.0)
    if not seconds:
        return ""
    cells = []
    for engine, clip in zip(results.engines, clips, strict=True):
        picture = _clip_html(clip, engine.label, seconds) if clip else _missing_html(engine.error)
        cells.append(_cell_html(engine.label, picture, _caption_html(clip, links) if clip else ""))
    heading = f'<h3 dir="auto">{html.escape(prompt)} <small>seed {seed}</small></h3>'
    return f'<section class="t2v-cmp-prompt">{heading}{_row_html(cells)}</section>'


def side_by_side_html(clips: Sequence[tuple[str, np.ndarray, float]]) -> str:
    """Return clips of any origin in step, each as its label, its uint8 frames (f, h, w, 3) and frames per second."""
    seconds = max(len(frames) / fps for _, frames, fps in clips)
    cells = []
    for label, frames, fps in clips:
        count, height, width = frames.shape[:3]
        clip = ClipResult("", 0, "", 0.0, count, round(fps), width, height, {}, strip=strip_of(frames))
        cells.append(_cell_html(label, _clip_html(clip, label, seconds), _shape(clip)))
    return f"<section>{_row_html(cells)}</section>"


def _row_html(cells: Sequence[str]) -> str:
    return (
        f'<div class="t2v-cmp-row" role="group" tabindex="0" style="--t2v-cmp-engines:{len(cells)}"'
        f' aria-label="Clips side by side; point here to hold them still">{"".join(cells)}</div>'
    )


def _clip(engine: EngineResult, prompt: str, seed: int) -> ClipResult | None:
    """Return an engine's clip of this prompt and seed, or None."""
    return next((clip for clip in engine.clips if (clip.prompt, clip.seed) == (prompt, seed)), None)


def _cell_html(label: str, picture: str, caption: str) -> str:
    return (
        f'<div class="t2v-cmp-cell"><div class="t2v-cmp-label" dir="auto">{html.escape(label)}</div>'
        f'<div class="t2v-cmp-box">{picture}<div class="t2v-cmp-caption">{caption}</div></div></div>'
    )


def _missing_html(error: str | None) -> str:
    """Return the reason why there is no clip: an engine's error, or that it is still to come."""
    tone = " t2v-cmp-error" if error else ""
    return f'<p class="t2v-cmp-none{tone}">{html.escape(error or "waiting")}</p>'


def _clip_html(clip: ClipResult, label: str, seconds: float) -> str:
    """Return the strip behind a window of one frame, which moves on by a frame at a time.

    The strip is n windows high, so its position is 0 % at the first frame and 100 % at the last, and frame k of n is
    seen at k / (n - 1). The window is a whole number of pixels high: at fractions every frame would fall on the
    screen's pixels differently, and a still video would flicker.
    """
    if clip.strip is None:
        return '<p class="t2v-cmp-none">not shown here</p>'
    count = min(clip.frames, MOST_FRAMES)
    data = base64.b64encode(clip.strip).decode()
    style = (
        f"aspect-ratio:{clip.width}/{clip.height};height:round(100cqw*{clip.height}/{clip.width},2px);"
        f"background-size:100% {count * 100}%;background-image:url(data:image/jpeg;base64,{data})"
    )
    if count > 1:
        share = clip.frames / clip.fps / seconds
        style += f";animation:t2v-cmp-play {seconds:.6g}s {easing(count, share)} infinite"
    about = html.escape(f"{label}: {clip.prompt}, seed {clip.seed}, {_frames(clip.frames)}")
    return f'<div class="t2v-cmp-clip" role="img" aria-label="{about}" style="{style}"></div>'


def easing(count: int, share: float) -> str:
    """Return a CSS easing that shows ``count`` frames (2 or more), each equally long, in ``share`` of the time at first
    and the last one in the rest."""
    if share > 1 - 1e-9:
        return f"steps({count},jump-none)"
    stops = [
        f"{index / (count - 1):.6g} {100 * share * index / count:.6g}% {100 * share * (index + 1) / count:.6g}%"
        for index in range(count - 1)
    ]
    return f"linear({','.join(stops)},1 {100 * share * (count - 1) / count:.6g}% 100%)"


def _caption_html(clip: ClipResult, link: bool) -> str:
    facts = f"{duration(clip.seconds)} · {_shape(clip)}"
    return facts + (f" · {link_html(clip, 'file')}" if link else "")


def _shape(clip: ClipResult) -> str:
    return f"{clip.width}x{clip.height} · {_frames(clip.frames)} · {clip.fps} fps"


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"


def link_html(clip: ClipResult, text: str) -> str:
    """Return a link to the clip's file; quoting makes any text a file name, never another address."""
    return f'<a href="{quote(clip.file)}">{html.escape(text)}</a>'
