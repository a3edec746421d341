"""Train the toy world's checkpoint from nothing: ``python -m training.toyworld``.

Draws the pictures, then trains text encoder, autoencoder and denoiser, and exports them in Stable Diffusion's
format. Every stage keeps its state in ``--work`` and resumes there after a kill; other options want another folder.
On two CPU cores it takes about two hours, most of it the denoiser; with CUDA it uses that. ``--further`` goes on from
a finished checkpoint: the one that ships is the first with 5,400 further steps.
"""

import argparse
import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPModel

from evaluation.sheets import contact_sheet
from media.pictures import write_picture
from toyworld.splits import SIZE_PX, held_out_scenes
from training.toyworld.autoencoder import encode_pool, train_autoencoder
from training.toyworld.checkpoint import assemble, export, text_half
from training.toyworld.data import MASK_CELLS, load_pool
from training.toyworld.denoiser import Course, text_states, train_denoiser
from training.toyworld.measure import measure, report
from training.toyworld.text import train_clip

logger = logging.getLogger("training.toyworld")
COARSE_CELLS = 16
Assemble = Callable[[UNet2DConditionModel], StableDiffusionPipeline]


def main() -> None:
    """Draw, train, export and measure, each stage resuming from the work folder."""
    options = read_options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pipeline, clip = train_from_nothing(options) if options.further is None else train_further(options)
    export(pipeline, clip, options.out)
    finished = StableDiffusionPipeline.from_pretrained(options.out, safety_checker=None).to(options.device)
    finished.set_progress_bar_config(disable=True)
    result = report(finished, options.out, {"pictures": options.pictures, "course": course_of(options)})
    logger.info("%s", result["fidelity"])


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(".training/toyworld"), help="state and drawn pictures")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/toyworld"), help="the finished checkpoint")
    parser.add_argument(
        "--further", type=Path, metavar="CHECKPOINT", help="train only the denoiser of this one further"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pictures", type=int, default=60_000, help="how many scenes to draw")
    parser.add_argument("--clip-steps", type=int, default=450)
    parser.add_argument("--autoencoder-steps", type=int, default=2600)
    parser.add_argument("--coarse-steps", type=int, default=1080, help="denoiser steps on 16x16 latents, batch 64")
    parser.add_argument("--steps", type=int, default=3200, help="denoiser steps at full size, batch 32")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of the denoiser at full size, at its peak")
    return parser.parse_args()


def train_from_nothing(options: argparse.Namespace) -> tuple[StableDiffusionPipeline, CLIPModel]:
    """Train text encoder, autoencoder and denoiser, the last first on coarse latents; return pipeline and CLIP."""
    work, device = options.work, options.device
    pool = load_pool(work, options.pictures)
    tokenizer, clip = train_clip(work, pool, options.clip_steps, device)
    autoencoder = train_autoencoder(work, pool, options.autoencoder_steps, device)
    text_encoder = text_half(clip).to(device)
    latents = encode_pool(work, pool, autoencoder, device)
    assembled = partial(assemble, autoencoder, text_encoder, tokenizer)
    encode_text = text_states(tokenizer, text_encoder)
    review = partial(write_review, options, assembled, COARSE_CELLS)
    course = Course(options.coarse_steps, floor=0.4, batch=64, device=device, review=review)
    coarse = train_denoiser(work / "denoiser-16.pt", pool, latents, encode_text, course, cells=COARSE_CELLS)
    course = full_size_course(options, assembled, seed=6)
    start = coarse.state_dict()
    unet = train_denoiser(work / "denoiser-32.pt", pool, latents, encode_text, course, start=start)
    return assembled(unet), clip


def train_further(options: argparse.Namespace) -> tuple[StableDiffusionPipeline, CLIPModel]:
    """Train the denoiser of the finished checkpoint ``--further`` on; return pipeline and CLIP."""
    work, device = options.work, options.device
    pool = load_pool(work, options.pictures)
    parts = StableDiffusionPipeline.from_pretrained(options.further, safety_checker=None).to(device)
    latents = encode_pool(work, pool, parts.vae, device)
    assembled = partial(assemble, parts.vae, parts.text_encoder, parts.tokenizer)
    encode_text = text_states(parts.tokenizer, parts.text_encoder)
    course = full_size_course(options, assembled, seed=7)
    start = parts.unet.state_dict()
    unet = train_denoiser(work / "denoiser-further.pt", pool, latents, encode_text, course, start=start)
    return assembled(unet), CLIPModel.from_pretrained(options.further / "clip")


def full_size_course(options: argparse.Namespace, assembled: Assemble, *, seed: int) -> Course:
    """Return the hyperparameters of the denoiser at full size."""
    review = partial(write_review, options, assembled, MASK_CELLS)
    return Course(options.steps, options.learning_rate, device=options.device, seed=seed, review=review)


def write_review(options: argparse.Namespace, assembled: Assemble, cells: int, unet: UNet2DConditionModel) -> None:
    """Log the fidelity of the averaged UNet so far, and write a sheet of its pictures into the work folder."""
    size_px = SIZE_PX * cells // MASK_CELLS
    with torch.autocast(options.device, torch.bfloat16):
        fidelity, images, right = measure(assembled(unet), held_out_scenes(64), steps=20, guidance=5.0, size_px=size_px)
    logger.info("at %d cells, 64 captions: %s", cells, fidelity)
    write_picture(options.work / f"review-{cells}.png", contact_sheet(images, right, columns=16))


def course_of(options: argparse.Namespace) -> str:
    """Describe the training of the checkpoint, for the model card."""
    if options.further is not None:
        before = json.loads((options.further / "fidelity.json").read_text(encoding="utf-8"))["training"]["course"]
        return f"{before}; then {options.steps} further steps of 32 on {options.device}"
    return (
        f"text encoder {options.clip_steps} steps of 192, autoencoder {options.autoencoder_steps} of 32 crops, "
        f"denoiser {options.coarse_steps} of 64 on 16x16 latents and {options.steps} of 32 at full size, "
        f"on {options.device}"
    )


if __name__ == "__main__":
    main()
