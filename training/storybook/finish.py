"""Write the storybook's checkpoint, and its card from what was measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

from storybook.scene import PLACES, STAGES
from storybook.things import all_things
from training.storybook.card import model_card
from training.storybook.course import KNOWN, Networks
from training.storybook.data import HELD_OUT_SEED, draw, scene_at
from training.toyworld.autoencoder import psnr
from training.toyworld.checkpoint import assemble, export
from training.toyworld.denoiser import build_scheduler, with_zero_terminal_snr
from training.toyworld.text import as_pixels

SHARD = "9MB"  # every file stays below 10 MB


def pipeline_of(networks: Networks, unet: UNet2DConditionModel) -> StableDiffusionPipeline:
    """The whole checkpoint as a pipeline."""
    scheduler = with_zero_terminal_snr(build_scheduler())
    return assemble(networks.autoencoder, networks.text_encoder, networks.tokenizer, unet, scheduler=scheduler)


def write(
    networks: Networks, unet: UNet2DConditionModel, folder: Path, things: int, phases: Sequence[str] = ()
) -> None:
    """Write the checkpoint, with the names of the things that it knows and of the phases that it has been through."""
    export(pipeline_of(networks, unet), networks.clip, folder, max_shard_size=SHARD)
    names = [thing.name for thing in all_things()[:things]]
    known = {"things": names, "phases": list(phases)}
    (folder / KNOWN).write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def reconstruction_psnr(autoencoder: AutoencoderKL, count: int = 60) -> float:
    """Mean PSNR in dB of the autoencoder on scenes that training never saw."""
    values = []
    for start in range(0, count, 10):
        scenes = [scene_at(index, STAGES[-1], HELD_OUT_SEED) for index in range(start, start + 10)]
        pixels = as_pixels(np.stack([draw(scene)[0] for scene in scenes])).to(autoencoder.device, autoencoder.dtype)
        decoded = autoencoder.decode(autoencoder.encode(pixels).latent_dist.mean).sample
        values.append(psnr(pixels.float(), decoded.float()))
    return float(torch.cat(values).mean())


def report(folder: Path, fidelity: Mapping[str, float], course: str) -> None:
    """Write ``fidelity.json`` and the card of the checkpoint in ``folder``; ``fidelity`` is what evaluation.storybook
    prints of it."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    parts = {"unet": pipeline.unet, "vae": pipeline.vae, "text_encoder": pipeline.text_encoder}
    result = {
        "course": course,
        "things": json.loads((folder / KNOWN).read_text(encoding="utf-8"))["things"],
        "places": list(PLACES),
        "fidelity": dict(fidelity),
        "autoencoder_psnr_db": reconstruction_psnr(pipeline.vae),
        "parts": [
            {"name": name, "class": type(part).__name__, "parameters": sum(p.numel() for p in part.parameters())}
            for name, part in parts.items()
        ],
    }
    (folder / "fidelity.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(result), encoding="utf-8")
