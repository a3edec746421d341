"""The command line: one sentence in, and for some modes a video, one video file out. See cli/ for all it does."""

import logging
import sys

from cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)  # remarks would stand around the one line for the user
    sys.exit(main())
