"""The command line: one sentence in, and for some modes a video, one video file out. See cli/ for all it does."""

import logging
import os
import sys
import warnings

from cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    # The libraries' own remarks are for programmers, and would stand around the one line for the user.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.ERROR)
    sys.exit(main())
