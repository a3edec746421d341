"""Time that jobs of the list will take, by the pace of those that were done before."""

import json
from collections.abc import Mapping
from typing import Any

from library.database import Database
from library.job import Job

LOOKED_AT = 5  # newest jobs of the same kind


class Estimates:
    """Seconds that jobs take, learnt from the list."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def seconds(self, job: Job) -> float | None:
        """Return how long a whole job will take, None before one of its mode and model has been done.

        The median pace of the newest such jobs in seconds per frame, step and pixel.
        """
        paces = sorted(self._paces(job))
        return paces[len(paces) // 2] * _work(job.settings) if paces else None

    def _paces(self, job: Job) -> list[float]:
        query = """SELECT settings, result FROM jobs WHERE state = 'done' AND kind = ?
            AND json_extract(settings, '$.mode') = ? AND json_extract(settings, '$.model') IS ?
            ORDER BY finished DESC LIMIT ?"""
        values = (job.kind, job.settings.get("mode"), job.settings.get("model"), LOOKED_AT)
        found = ((json.loads(row["settings"]), json.loads(row["result"])) for row in self.database.rows(query, values))
        return [
            result["facts"]["seconds"] / _work(settings) for settings, result in found if "seconds" in result["facts"]
        ]


def _work(settings: Mapping[str, Any]) -> float:
    """Return frames times steps times pixels, of which those that the checkpoint chooses count as one."""
    pixels = (settings.get("width") or 256) * (settings.get("height") or 256)
    return max(1, settings.get("num_frames") or 1) * max(1, settings.get("num_inference_steps") or 1) * pixels
