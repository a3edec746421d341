"""Train the storybook's checkpoint: ``python -m training.storybook --minutes 60``."""

import argparse
import logging
import math
import time
from pathlib import Path

import torch

from training.command_line import above_zero
from training.loop import OutOfTime
from training.storybook.course import ON_PROCESSOR, learned_networks, train_phases
from training.toyworld.denoiser import Course

logger = logging.getLogger("training.storybook")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(".training/storybook"), help="state and drawn pictures")
    parser.add_argument("--minutes", type=above_zero, default=math.inf, help="stop, with the state kept, after so many")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--compiled", action="store_true", help="the denoiser with torch.compile: minutes to begin with"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    deadline = time.monotonic() + 60 * options.minutes
    device = options.device if options.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    plan = ON_PROCESSOR
    networks = learned_networks(options.work, plan, device)
    course = Course(0, device=device, seed=100, zero_terminal_snr=True, compiled=options.compiled, deadline=deadline)
    try:
        train_phases(options.work, plan, networks, course)
    except OutOfTime as stop:
        logger.info("out of time: %s", stop)


if __name__ == "__main__":
    main()
