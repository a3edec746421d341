"""Waiting times: for the page after ``python app.py``, and for a default clip.

    python -m benchmarks.bench_app
    python -m benchmarks.bench_app --model FOLDER --repeats 1 -- --num-frames 2 --num-inference-steps 4   # a look

Everything is started once before, so that files are warm. What follows ``--`` goes to ``inference.py``.

Predicted, on two cores: a page that answers in under 15 s, a default 8-frame clip, file written, in under 6 s.
"""

import argparse
import http.client
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import conditions, table
from cli.options import read_request
from model import Model
from utils import ROOT

PROMPT = "a red circle on green grass"
POLL_SECONDS, PATIENCE_SECONDS = 0.05, 600


def main() -> None:
    """Wait, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="toyworld", help="the name of a row, or a diffusers folder")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("settings", nargs="*", help="settings for inference.py, after --")
    options = parser.parse_args()
    wanted = [PROMPT, "--model", options.model, "--device", "cpu", "--seed", "7", *options.settings]
    print(
        conditions(
            model=Path(options.model).name, settings=" ".join(options.settings) or "default", median_of=options.repeats
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        waits = {
            "python app.py until the page answers": seconds_to_page,
            "python inference.py until it has ended, file written": lambda: seconds_of_command_line(wanted, path),
            "a loaded Model, file written": warm_model(wanted, path),
        }
        rows = []
        for name, wait in waits.items():
            wait()
            rows.append((name, f"{statistics.median(wait() for _ in range(options.repeats)):.2f}"))
    print(table(["wait for", "seconds"], rows))


def seconds_to_page() -> float:
    """Return the time from the start of ``app.py`` to its first answer on the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        while not answers(port):
            if server.poll() is not None or time.perf_counter() - started > PATIENCE_SECONDS:
                raise RuntimeError("app.py did not come up")
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - started
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    """Return True if the page is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.OK
    except (ConnectionError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def seconds_of_command_line(wanted: list[str], path: Path) -> float:
    """Return the time of a whole process from its start to its end, with the clip written."""
    started = time.perf_counter()
    command = [sys.executable, "inference.py", *wanted, "-o", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def warm_model(wanted: list[str], path: Path) -> Callable[[], float]:
    """Return a measurement of the same clip from a model that stays loaded."""
    request = read_request(wanted)
    asked: Any = request.settings
    model = Model(models=request.offer.models, device=request.device)
    name = next(row.name for row in model.rows.values() if asked.model in (row.name, row.source))
    settings = asked.model_copy(update={"model": name})

    def wait() -> float:
        started = time.perf_counter()
        model.generate(settings).save(path)
        return time.perf_counter() - started

    return wait


if __name__ == "__main__":
    main()
