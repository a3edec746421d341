"""Programs that this one starts end with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STARTS_A_CHILD = """
import sys, threading
from media.processes import run
run(["sh", "-c", f"echo $$ > {sys.argv[1]}.part; mv {sys.argv[1]}.part {sys.argv[1]}; exec sleep 60"])
"""


def alive(process: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the signal is Linux's")
def test_a_child_dies_with_a_process_that_is_killed(tmp_path):
    """ffmpeg lived on for 36 seconds after its parent was killed, and read a video that nobody waited for."""
    named = tmp_path / "child"
    parent = subprocess.Popen([sys.executable, "-c", STARTS_A_CHILD, str(named)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 20
        while not named.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child = int(named.read_text())
        assert alive(child)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 5
        while alive(child):
            assert time.monotonic() < deadline, os.kill(child, signal.SIGKILL)
            time.sleep(0.02)
    finally:
        parent.kill()
        parent.wait()
