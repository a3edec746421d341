"""Times the history of 10,000 clips: opening the first page, a search, rebuilding the index of some.

    python -m benchmarks.bench_library [--clips 10000]

The entries are made up and lie in the index alone, but for the few hundred clips that the rebuilding reads.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from library.clips import LOCAL, ClipIndex
from library.database import Database
from media.video_io import write_video
from settings import TextToVideoSettings

THINGS = ("lion", "fox", "panda", "rocket", "horse", "astronaut", "sailboat", "castle")
PLACES = ("in the jungle", "on a beach", "in the snow", "at night", "in space")


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def fill(database: Database, clips: int) -> None:
    """Write made-up clips of ten owners into the index, nine in ten of them the local one's."""
    prompts = itertools.cycle(f"a {thing} {place}" for thing in THINGS for place in PLACES)
    rows = []
    for number, prompt in zip(range(clips), prompts, strict=False):
        settings = TextToVideoSettings(prompt=f"{prompt} {number}", seed=number).to_dict()
        owner = LOCAL if number % 10 else f"{number % 100:024x}"
        place = f"{number:016x}.mp4"
        facts = number, "text_to_video", "auto", settings["prompt"], number, 50_000
        rows.append((f"{number:016x}", owner, place, *facts, json.dumps(settings)))
    with database.transaction() as connection:
        connection.executemany("INSERT INTO clips VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=300, help="clips on disk whose index is rebuilt")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = Database(folder / "library.sqlite3")
        index = ClipIndex(folder / "clips", database)
        fill(database, options.clips)
        questions: dict[str, Callable[[], object]] = {
            "open the file": lambda: Database(folder / "library.sqlite3").close(),
            "newest 20": lambda: index.find(LOCAL),
            "count and size": lambda: index.count(LOCAL),
            "search: one common word": lambda: index.find(LOCAL, "fox"),
            "search: three words": lambda: index.find(LOCAL, "fox snow 99"),
            "search: nothing found": lambda: index.find(LOCAL, "no such words"),
            "the oldest page": lambda: index.find(LOCAL, skip=options.clips * 9 // 10 - 20),
        }
        print(f"| of {options.clips:,} clips | ms |\n| --- | ---: |")
        for label, question in questions.items():
            print(f"| {label} | {1000 * seconds(question, options.repeats):.1f} |")
        rebuilt = ClipIndex(folder / "files", database)
        for seed in range(options.files):
            path = rebuilt.place_for(LOCAL, "a fox", seed, "gif")
            settings = TextToVideoSettings(prompt="a fox", seed=seed).to_dict()
            write_video(path, np.zeros((1, 32, 32, 3), np.uint8), 4, {"settings": json.dumps(settings)})
        print(f"| rebuild, per clip on disk | {1000 * seconds(rebuilt.rebuild, 3) / options.files:.2f} |")


if __name__ == "__main__":
    main()
