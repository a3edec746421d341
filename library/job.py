"""A job of the list: what it asks for, how it stands, what it came to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from errors import Cancelled


class State(StrEnum):
    """State of a job; an interrupted one was running when its server stopped, and is offered again."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


OPEN = (State.WAITING, State.RUNNING)
RESUMABLE = (State.INTERRUPTED, State.CANCELLED, State.FAILED)


@dataclass(frozen=True)
class NewJob:
    """A job to be added: plain ``settings`` of its ``kind``, a file suffix, uploads by name, and a note for the list,
    such as the words that wildcards chose."""

    settings: Mapping[str, Any]
    kind: str = "generate"
    suffix: str = "mp4"
    files: Mapping[str, Path] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Result:
    """A file that a job made: ``clip`` its id in the index, empty where it could not be kept there; ``facts`` for the
    page and programs, as JSON has them."""

    file: Path
    clip: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text that the list keeps."""
        return json.dumps({"file": str(self.file), "clip": self.clip, "facts": dict(self.facts)})

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """Return what ``to_json`` wrote."""
        values = json.loads(text)
        return cls(Path(values["file"]), values["clip"], values["facts"])


@dataclass(frozen=True)
class Job:
    """A job of the list; times are seconds since 1970. A done one has a ``result``, a failed one a ``message``."""

    id: str
    owner: str
    kind: str
    state: State
    settings: dict[str, Any]
    files: dict[str, Path]
    suffix: str
    note: str
    result: Result | None
    message: str
    created: float
    started: float | None
    finished: float | None


class StoppedWithResult(Cancelled):
    """A job was cancelled, and a part of its ``result`` is there."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result
