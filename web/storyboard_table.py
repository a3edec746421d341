"""The rows of the page's storyboard, and what a client sends in their place.

A row is the frame's number, its prompt (empty: a blend of the nearest written ones) and whether it is kept when the
others are written anew.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from director.storyboard import as_frame_prompts, load_storyboard, save_storyboard
from errors import InvalidStoryboard
from settings import MAX_FRAMES

HEADERS = ("#", "Prompt", "Keep")
Row = list[Any]


def rows_of(frame_prompts: Sequence[str], kept: Mapping[int, str] | None = None) -> list[Row]:
    """The rows of these prompts, those of ``kept`` as they are there and marked."""
    kept = kept or {}
    return [[frame, kept.get(frame, prompt), frame in kept] for frame, prompt in enumerate(frame_prompts)]


def read_rows(table: Any) -> tuple[tuple[str, ...], dict[int, str]]:
    """Frame prompts, and by frame those that are kept, of what a client sent as the table; raises InvalidStoryboard."""
    rows = table.get("data") if isinstance(table, dict) else None
    if not isinstance(rows, list) or len(rows) > MAX_FRAMES or not all(_is_row(row) for row in rows):
        raise InvalidStoryboard("storyboard: must be a table of frame, prompt and whether it is kept")
    prompts = as_frame_prompts({frame: (row[1] or "").strip() for frame, row in enumerate(rows)}, len(rows))
    return prompts, {frame: prompts[frame] for frame, row in enumerate(rows) if row[2] and prompts[frame]}


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) == len(HEADERS) and isinstance(row[1], str | None)


def as_text(value: Any) -> Any:
    """The setting ``storyboard`` of a table, of nothing where no frame is written; what is no table as it is."""
    if not isinstance(value, dict):
        return value
    prompts, _ = read_rows(value)
    return save_storyboard(prompts) if any(prompts) else ""


def resized(table: Any, frames: int) -> list[Row]:
    """The rows of the same course over another number of frames: what is written keeps its place in time, and what is
    kept is kept; raises InvalidStoryboard."""
    prompts, kept = read_rows(table)
    if len(prompts) == frames:
        return rows_of(prompts, kept)
    moved = {frame: round(frame * (frames - 1) / max(1, len(prompts) - 1)) for frame in range(len(prompts))}
    written = {moved[frame]: prompt for frame, prompt in enumerate(prompts) if prompt}
    return rows_of(as_frame_prompts(written, frames), {moved[frame]: prompt for frame, prompt in kept.items()})


def shown_rows(text: str, frames: int) -> list[Row]:
    """The table of the setting ``storyboard``; raises InvalidStoryboard."""
    return rows_of(load_storyboard(text, frames) if text.strip() else ("",) * frames)
