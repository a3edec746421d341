"""Look at a denoiser while it learns: a sheet of pictures for held-out captions, made beside the training."""

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from evaluation.sheets import contact_sheet
from generation.schedulers import build_scheduler as scheduler_named
from media.pictures import write_picture
from storybook.captions import caption
from storybook.render import SIZE_PX
from storybook.scene import Scene, Variety
from training.storybook.course import ON_PROCESSOR, learned_networks
from training.storybook.data import HELD_OUT_SEED, scene_at
from training.storybook.denoiser import build_unet
from training.storybook.finish import pipeline_of
from training.toyworld.data import MASK_CELLS
from training.toyworld.denoiser import Course
from training.toyworld.measure import draw

logger = logging.getLogger(__name__)


def held_out_scenes(variety: Variety, count: int) -> list[Scene]:
    """Scenes that training never saw."""
    return [scene_at(index, variety, HELD_OUT_SEED) for index in range(count)]


def averaged_unet(path: Path) -> tuple[UNet2DConditionModel, int]:
    """The averaged weights of a denoiser's state, and how many steps it has done."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    unet = build_unet().eval()
    unet.load_state_dict(state["average"]["shadow"])
    return unet, state["done"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phase")
    parser.add_argument("--work", type=Path, default=Path(".training/storybook"))
    parser.add_argument("--captions", type=int, default=40)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--scheduler", default="dpm++ 2m")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    phase = next(phase for phase in ON_PROCESSOR.phases if phase.name == options.phase)
    networks = learned_networks(options.work, ON_PROCESSOR, Course(0))
    unet, done = averaged_unet(options.work / f"denoiser-{phase.name}.pt")
    pipeline = pipeline_of(networks, unet)
    pipeline.scheduler = scheduler_named(options.scheduler, pipeline.scheduler.config)
    scenes = held_out_scenes(phase.variety, options.captions)
    random = np.random.default_rng(0)
    captions = [caption(scene, random, complete=True) for scene in scenes]
    size_px = SIZE_PX * phase.cells // MASK_CELLS
    with torch.autocast("cpu", torch.bfloat16):
        images = draw(pipeline, captions, steps=options.steps, guidance=options.guidance, size_px=size_px)
    path = options.work / f"review-{phase.name}-{done}.png"
    write_picture(path, contact_sheet(images, columns=10))
    logger.info("%s\n%s", path, "\n".join(captions))


if __name__ == "__main__":
    main()
