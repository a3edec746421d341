"""Fidelity of a checkpoint to its captions: per attribute, with confusions and a contact sheet."""

import json
import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from evaluation.sheets import contact_sheet
from media.pictures import write_picture
from toyworld.detector import detect
from toyworld.render import render
from toyworld.scene import HELD_OUT_PAIRS, Scene
from toyworld.splits import HELD_OUT_SEED, captions_of, held_out_scenes, scene_at
from training.toyworld.autoencoder import psnr
from training.toyworld.card import model_card
from training.toyworld.text import as_pixels

logger = logging.getLogger(__name__)
ATTRIBUTES = ("colour", "shape", "background", "position")


@dataclass
class Fidelity:
    """Counts of pictures that show what was asked for, per attribute of ATTRIBUTES.

    ``overlaps`` are intersections over union of the found outlines with the ideal ones; ``confusions`` count
    (attribute, asked, found).
    """

    asked: int = 0
    right: Counter[str] = field(default_factory=Counter)
    confusions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    overlaps: list[float] = field(default_factory=list)

    def add(self, scene: Scene, image: np.ndarray) -> bool:
        """Count one picture of a scene with one object; return True if everything was right."""
        thing = scene.objects[0]
        wanted = {name: getattr(thing, name) for name in ("colour", "shape", "position")}
        wanted["background"] = scene.background
        detection = detect(image)
        found = {"background": detection.background}
        if detection.things:
            largest = detection.things[0]
            found |= {name: getattr(largest, name) for name in ("colour", "shape", "position")}
            self.overlaps.append(largest.overlap)
        self.asked += 1
        for name, value in wanted.items():
            if found.get(name) == value:
                self.right[name] += 1
            else:
                self.confusions[name, value, found.get(name, "nothing")] += 1
        return all(found.get(name) == value for name, value in wanted.items())

    def shares(self) -> dict[str, float]:
        """Return the share of right pictures per attribute, and the mean overlap."""
        shares = {name: self.right[name] / self.asked for name in ATTRIBUTES}
        return shares | {"overlap": float(np.mean(self.overlaps)) if self.overlaps else 0.0}

    def __str__(self) -> str:
        return ", ".join(f"{name} {share:.1%}" for name, share in self.shares().items())


def draw(
    pipeline: StableDiffusionPipeline,
    captions: list[str],
    *,
    steps: int,
    guidance: float,
    size_px: int | None = None,
    batch: int = 8,
) -> np.ndarray:
    """Draw one still picture per caption, seeded by its number: uint8 (captions, height, width, 3)."""
    images = []
    for start in range(0, len(captions), batch):
        texts = captions[start : start + batch]
        generators = [torch.Generator().manual_seed(start + offset) for offset in range(len(texts))]
        result = pipeline(
            texts,
            height=size_px,
            width=size_px,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generators,
            output_type="np",
        )
        images.append(np.rint(result.images * 255).astype(np.uint8))
    return np.concatenate(images)


def measure(
    pipeline: StableDiffusionPipeline,
    scenes: list[Scene],
    *,
    steps: int = 50,
    guidance: float = 7.5,
    size_px: int | None = None,
) -> tuple[Fidelity, np.ndarray, list[bool]]:
    """Return the fidelity over ``scenes``, the pictures, and for each True if it is right in everything."""
    images = draw(pipeline, captions_of(scenes), steps=steps, guidance=guidance, size_px=size_px)
    fidelity = Fidelity()
    right = [fidelity.add(scene, image) for scene, image in zip(scenes, images, strict=True)]
    return fidelity, images, right


def detector_accuracy(count: int = 500) -> Fidelity:
    """Return the fidelity of true renderings, which is the accuracy of the detector itself."""
    fidelity = Fidelity()
    for scene in held_out_scenes(count):
        fidelity.add(scene, render(scene).image)
    return fidelity


@torch.no_grad()
def reconstruction_psnr(autoencoder: AutoencoderKL, count: int = 200) -> float:
    """Return the mean PSNR in dB of the autoencoder on held-out scenes."""
    images = np.stack([render(scene_at(index, HELD_OUT_SEED)).image for index in range(count)])
    values = []
    for start in range(0, count, 20):
        pixels = as_pixels(images[start : start + 20]).to(autoencoder.device, autoencoder.dtype)
        decoded = autoencoder.decode(autoencoder.encode(pixels).latent_dist.mean).sample
        values.append(psnr(pixels.float(), decoded.float()))
    return float(torch.cat(values).mean())


def report(
    pipeline: StableDiffusionPipeline, folder: Path, training: dict, count: int = 200, unseen_count: int = 100
) -> dict:
    """Measure everything the model card states; write the card, ``fidelity.json`` and the contact sheet.

    ``training`` describes the training: ``pictures`` (a number) and ``course`` (a phrase).
    """
    fidelity, images, right = measure(pipeline, held_out_scenes(count))
    unseen, _, _ = measure(pipeline, held_out_scenes(unseen_count, unseen_pairs=True))
    parts = {"unet": pipeline.unet, "vae": pipeline.vae, "text_encoder": pipeline.text_encoder}
    result = {
        "training": training,
        "captions": count,
        "steps": 50,
        "guidance_scale": 7.5,
        "fidelity": fidelity.shares(),
        "unseen_pairs": {"captions": unseen_count, "pairs": [" ".join(pair) for pair in HELD_OUT_PAIRS]}
        | unseen.shares(),
        "detector_on_renderings": detector_accuracy().shares(),
        "autoencoder_psnr_db": reconstruction_psnr(pipeline.vae),
        "confusions": [
            {"attribute": name, "asked": asked, "found": found, "times": times}
            for (name, asked, found), times in fidelity.confusions.most_common()
        ],
        "parts": [
            {"name": name, "class": type(part).__name__, "parameters": sum(p.numel() for p in part.parameters())}
            for name, part in parts.items()
        ],
    }
    (folder / "fidelity.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(result), encoding="utf-8")
    write_picture(folder / "sheet.jpg", contact_sheet(images[:100], right[:100]))
    return result
