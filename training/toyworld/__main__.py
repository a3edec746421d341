"""Train the toy world's checkpoint from nothing: ``python -m training.toyworld``.

Draws the pictures, then trains text encoder, autoencoder and denoiser, and exports them in Stable Diffusion's
format. Every stage keeps its state in ``--work`` and resumes there after a kill; other options want another folder.
On two CPU cores it takes about two hours, most of it the denoiser; with CUDA it uses that. ``--further`` goes on from
a finished checkpoint: the one that ships is the first with 5,400 further steps.
"""

import argparse
import json
import logging
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from evaluation.sheets import contact_sheet, save_picture
from toyworld.splits import SIZE_PX, held_out_scenes
from training.export import declare_float32, save_in_half_precision
from training.toyworld.autoencoder import encode_pool, train_autoencoder
from training.toyworld.data import MASK_CELLS, load_pool
from training.toyworld.denoiser import Course, build_scheduler, text_states, train_denoiser
from training.toyworld.measure import measure, report
from training.toyworld.text import train_clip

logger = logging.getLogger("training.toyworld")


def text_half(clip: CLIPModel) -> CLIPTextModel:
    """Return the text encoder of a CLIP in the class that Stable Diffusion expects."""
    encoder = CLIPTextModel(clip.config.text_config)
    encoder.load_state_dict(clip.text_model.state_dict())
    return encoder.eval()


def assemble(
    autoencoder: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, unet: UNet2DConditionModel
) -> StableDiffusionPipeline:
    """Build a plain Stable Diffusion pipeline of the four parts."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def export(pipeline: StableDiffusionPipeline, clip: CLIPModel, folder: Path) -> None:
    """Write the pipeline, and the CLIP of its text encoder into ``clip`` beside it, in fp16 safetensors."""
    save_in_half_precision(pipeline, folder)
    clip.half().save_pretrained(folder / "clip")
    declare_float32(folder / "clip")


def main() -> None:
    """Draw, train, export and measure, each stage resuming from the work folder."""
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
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    work, device = options.work, options.device

    pool = load_pool(work, options.pictures)
    if options.further is None:
        tokenizer, clip = train_clip(work, pool, options.clip_steps, device)
        autoencoder = train_autoencoder(work, pool, options.autoencoder_steps, device)
        text_encoder = text_half(clip).to(device)
    else:
        parts = StableDiffusionPipeline.from_pretrained(options.further, safety_checker=None).to(device)
        tokenizer, text_encoder, autoencoder = parts.tokenizer, parts.text_encoder, parts.vae
        clip = CLIPModel.from_pretrained(options.further / "clip")
    latents = encode_pool(work, pool, autoencoder, device)

    def review(unet: UNet2DConditionModel) -> None:
        pipeline = assemble(autoencoder, text_encoder, tokenizer, unet)
        size_px = SIZE_PX * cells // MASK_CELLS
        with torch.autocast(device, torch.bfloat16):
            fidelity, images, right = measure(pipeline, held_out_scenes(64), steps=20, guidance=5.0, size_px=size_px)
        logger.info("at %d cells, 64 captions: %s", cells, fidelity)
        save_picture(contact_sheet(images, right, columns=16), work / f"review-{cells}.png")

    encode_text = text_states(tokenizer, text_encoder)
    if options.further is None:
        cells, name = 16, "denoiser-32"
        course = Course(options.coarse_steps, floor=0.4, batch=64, device=device, review=review)
        unet = train_denoiser(work / "denoiser-16.pt", pool, latents, encode_text, course, cells=cells)
    else:
        unet, name = parts.unet, "denoiser-further"
    cells = MASK_CELLS
    seed = 6 if options.further is None else 7
    course = Course(options.steps, options.learning_rate, device=device, seed=seed, review=review)
    unet = train_denoiser(work / f"{name}.pt", pool, latents, encode_text, course, start=unet.state_dict())
    export(assemble(autoencoder, text_encoder, tokenizer, unet), clip, options.out)
    finished = StableDiffusionPipeline.from_pretrained(options.out, safety_checker=None).to(device)
    finished.set_progress_bar_config(disable=True)
    result = report(finished, options.out, {"pictures": options.pictures, "course": course_of(options)})
    logger.info("%s", result["fidelity"])


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
