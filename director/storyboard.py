"""Storyboards: one prompt per frame, as key moments in a text, or as YAML.

A directed video is ``frame_prompts``, one text per frame. An empty text is a frame in between: a blend of the nearest
written ones (pipelines/prompt_blending.py).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from errors import InvalidStoryboard
from settings import MAX_FRAMES, MAX_PROMPT_CHARS
from settings.parsing import yaml_mistake
from settings.plain_yaml import FastPlainLoader

MAX_TEXT_CHARS = 256 * 1024  # of a storyboard or of a chat model's answer
TURNS_TEXT = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
BYTE_ORDER_MARK = "\ufeff"  # at the beginning of texts that Windows writes
ARROWS = ("-->", "->", "\u2192")
BEGINS_FILE = re.compile(r"^[ \t{\"']*(frames|prompts)[\"']?[ \t]*:", re.MULTILINE)


def storyboard(text: str, frames: int) -> tuple[str, ...]:
    """Return frame prompts from key moments, one to a line or between arrows ("A -> B -> C"), spread evenly from the
    first frame to the last.

    Raises InvalidStoryboard if there are none, or more than frames.
    """
    _check_length(text)
    moments = moments_of(text)
    if not moments:
        raise InvalidStoryboard("the storyboard is empty: write moments, such as 'a red circle -> a blue circle'")
    if len(moments) > frames:
        raise InvalidStoryboard(f"the storyboard has {len(moments)} moments for {frames} frames: take more frames")
    gaps = max(1, len(moments) - 1)
    written = {(2 * number * (frames - 1) + gaps) // (2 * gaps): moment for number, moment in enumerate(moments)}
    return as_frame_prompts(written, frames)


def moments_of(text: str) -> list[str]:
    """Return the key moments of a text, one to a line or between arrows."""
    for arrow in ARROWS:
        text = text.replace(arrow, "\n")
    return [moment for line in text.splitlines() if (moment := clean(line))]


def as_sentence(text: str) -> str:
    """Return the key moments as one sentence, for engines that draw all frames from one text."""
    return ", then ".join(moments_of(text))


def _check_length(text: str) -> None:
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidStoryboard(f"the storyboard is too long: at most {MAX_TEXT_CHARS} characters")


def as_frame_prompts(written: Mapping[int, str], frames: int) -> tuple[str, ...]:
    """Return prompts by frame as one per frame, the others empty; raises InvalidStoryboard for one that is too long or
    out of place."""
    for frame, prompt in written.items():
        if not 0 <= frame < frames:
            raise InvalidStoryboard(f"the storyboard writes frame {frame}, but its frames are 0 to {frames - 1}")
        if len(prompt) > MAX_PROMPT_CHARS:
            raise InvalidStoryboard(f"the prompt of frame {frame} is too long: at most {MAX_PROMPT_CHARS} characters")
    return tuple(written.get(frame, "") for frame in range(frames))


def save_storyboard(frame_prompts: Sequence[str]) -> str:
    """Return frame prompts as YAML: the number of frames, and the prompts that are not empty by frame, from 0 on."""
    written = {frame: prompt for frame, prompt in enumerate(frame_prompts) if prompt}
    values = {"frames": len(frame_prompts), "prompts": written}
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False, width=MAX_TEXT_CHARS)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    frames: int | None = Field(None, ge=1, le=MAX_FRAMES)
    prompts: dict[int, str]

    @field_validator("prompts", mode="before")
    @classmethod
    def _numbered(cls, prompts: object) -> object:
        """JSON has no names but texts: "0" is frame 0."""
        if not isinstance(prompts, dict):
            return prompts
        numbered = {int(key) if _is_number(key) else key: text for key, text in prompts.items()}
        return numbered if len(numbered) == len(prompts) else {"a frame twice": ""}


def _is_number(key: object) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) <= len(str(MAX_FRAMES))


def load_storyboard(text: str, frames: int | None = None) -> tuple[str, ...]:
    """Read frame prompts from the YAML of ``save_storyboard``, whose own number of frames counts, or from other text as
    key moments over ``frames``.

    Raises InvalidStoryboard with one line.
    """
    _check_length(text)
    text = text.removeprefix(BYTE_ORDER_MARK)
    if BEGINS_FILE.search(text):
        file = _read_file(text)
        count = file.frames or frames
        written = {frame: clean(prompt) for frame, prompt in file.prompts.items()}
        if count is not None and any(written.values()):
            return as_frame_prompts(written, count)
    elif frames is not None:
        return storyboard(text, frames)
    raise InvalidStoryboard("this is no storyboard: write 'frames: 8' and below it 'prompts: {0: a dog, 7: a cat}'")


def frames_of(text: str) -> int | None:
    """Return the number of frames that a storyboard states, or None; raises InvalidStoryboard."""
    _check_length(text)
    text = text.removeprefix(BYTE_ORDER_MARK)
    return _read_file(text).frames if BEGINS_FILE.search(text) else None


def _read_file(text: str) -> _File:
    try:
        _check_flat(text)
        return _File.model_validate(yaml.load(text, Loader=FastPlainLoader))
    except ValidationError as error:
        first = error.errors()[0]
        where = clean(".".join(map(str, first["loc"])))[:60]
        raise InvalidStoryboard(f"the storyboard has a mistake at '{where}': {first['msg'].lower()}") from None
    except (yaml.YAMLError, ValueError) as error:
        mistake = yaml_mistake(error, text)
        raise InvalidStoryboard(f"the storyboard is not valid YAML: {mistake}; put each prompt in quotes") from None


def _check_flat(text: str) -> None:
    """Refuse aliases and deep nesting before anything is built: they turn a few bytes into gigabytes."""
    depth = 0
    for event in yaml.parse(text, Loader=FastPlainLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > 2:
            raise InvalidStoryboard("the storyboard has an alias or too many brackets: write frames and prompts alone")


def clean(text: str) -> str:
    """Return the text in one line, without characters that settings refuse or no file can hold: control characters,
    marks that turn the direction of writing, lone halves of a surrogate pair."""
    hidden = (unicodedata.category(sign) in ("Cc", "Cs") or sign in TURNS_TEXT + BYTE_ORDER_MARK for sign in text)
    return " ".join("".join(" " if hide else sign for sign, hide in zip(text, hidden, strict=True)).split())
