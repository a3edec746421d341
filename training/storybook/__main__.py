"""Train the storybook's checkpoint: ``python -m training.storybook --minutes 60``.

The whole course, in slices of as many minutes as there are: every slice goes on where the one before stopped. Where the
state in ``--work`` is gone, it begins with the networks of the finished checkpoint ``--base``. On a processor the
course takes hours, most of it the denoiser; on a graphics card, with what ``training.storybook.pack`` made, minutes.
"""

import argparse
import logging
import math
import time
from pathlib import Path

from training.command_line import above_zero
from training.loop import OutOfTime
from training.storybook.course import (
    ON_PROCESSOR,
    Networks,
    Plan,
    learned_networks,
    minutes_left,
    on_processor,
    take_up,
    train_phases,
)
from training.toyworld.denoiser import Course
from utils import choose_device

logger = logging.getLogger("training.storybook")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(".training/storybook"), help="state and drawn pictures")
    parser.add_argument("--minutes", type=above_zero, default=math.inf, help="stop, with the state kept, after so many")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--base", type=Path, default=Path("checkpoints/storybook"), help="where there is no state")
    parser.add_argument("--packed", type=Path, help="the folder that training.storybook.pack made, for a card")
    parser.add_argument("--compiled", action="store_true", help="torch.compile for the denoiser; on a card always")
    parser.add_argument("--out", type=Path, help="write the checkpoint here when the course is done")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    device = choose_device() if options.device == "auto" else options.device
    course = Course(
        0,
        device=device,
        seed=100,
        zero_terminal_snr=True,
        compiled=options.compiled or device == "cuda",
        deadline=time.monotonic() + 60 * options.minutes,
    )
    plan = ON_PROCESSOR
    if options.packed is not None:
        from training.storybook.accelerated import ON_CARD

        plan = ON_CARD
    take_up(options.work, options.base, plan)
    try:
        run(options, plan, course)
    except OutOfTime as stop:
        logger.info("out of time: %s; about %.0f more minutes", stop, minutes_left(plan, stop))


def run(options: argparse.Namespace, plan: Plan, course: Course) -> None:
    """Do the plan's course, and write the checkpoint where one is wanted; raises OutOfTime."""
    networks: Networks
    if options.packed is not None:
        from training.storybook.accelerated import run_on_card

        networks, unet = run_on_card(options.work, options.packed, plan, course)
    else:
        networks = learned_networks(options.work, plan, course)
        unet = train_phases(options.work, plan, on_processor(options.work, networks), course)
    if options.out is not None:
        from training.storybook.finish import write

        things = max(phase.variety.things for phase in plan.phases)
        write(networks, unet, options.out, things, [phase.name for phase in plan.phases])


if __name__ == "__main__":
    main()
