"""The storybook's course on a graphics card: nothing waits for anything.

Scenes and their words come from processes beside it, pictures from sprites on the card itself, latents are encoded
there and stay there, captions travel as tokens. The whole course is minutes long, most of it the denoiser.
"""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from storybook.captions import caption
from storybook.drawings import FILE, load_drawings
from storybook.scene import STAGES, Scene, Variety, random_scene
from toyworld.splits import SIZE_PX
from training.storybook.autoencoder import CROP_PX, build_autoencoder, standardise_latents
from training.storybook.course import SHARPENED, SHARPENING, Networks, Phase, Plan, Teach, learned_words, train_phases
from training.storybook.data import scene_at
from training.storybook.denoiser import build_unet
from training.storybook.sprites import Sprites, load_places, make_sprites, put_together
from training.storybook.text import PAIRS, Pictures
from training.toyworld.autoencoder import Reconstruction, learn_to_reconstruct
from training.toyworld.checkpoint import text_half
from training.toyworld.denoiser import EMPTY_CAPTION_SHARE, Course, Examples, learn_velocity
from training.toyworld.text import ClipCourse, tokenize
from utils import granted_cores

logger = logging.getLogger(__name__)
ON_CARD = Plan(
    pictures=0,
    autoencoder=Reconstruction(2500, learning_rate=1e-3, divergence=1e-4, mosaic=True, guided=500),
    clip=ClipCourse(600, watched=("thing", "second thing", "background", "position", "colour", "count")),
    phases=(
        Phase("card-fixed", STAGES[1], 80_000, 700, 1024, learning_rate=2e-3, floor=0.7, warmup=100),
        Phase("card-sides", STAGES[2], 60_000, 300, 1024, learning_rate=1.5e-3, floor=0.8, warmup=20),
        Phase("card-words", STAGES[3], 80_000, 400, 1024, learning_rate=1.2e-3, floor=0.8, warmup=20),
        Phase("card-company", STAGES[-1], 120_000, 700, 1024, learning_rate=1e-3, floor=0.0, warmup=20),
    ),
)
AUTOENCODER_BATCH = 64
AUTOENCODER_SCENES = 12_000
CHUNK = 500  # scenes that a process describes at a time
WORDINGS = 6  # captions of each scene
PUT_TOGETHER = 250  # pictures at once


@dataclass(frozen=True)
class CardPool:
    """Encoded scenes on the card: ``latents`` float16 (n, 4, 32, 32), ``masks`` uint8 (n, 32, 32), ``tokens`` int16 (n,
    WORDINGS, tokens); ``empty`` are the tokens of no text."""

    latents: torch.Tensor
    masks: torch.Tensor
    tokens: torch.Tensor
    empty: torch.Tensor

    def __len__(self) -> int:
        return len(self.latents)


def describe(start: int, variety: Variety, tokenizer_folder: Path) -> tuple[list[Scene], np.ndarray]:
    """CHUNK scenes from number ``start`` on, and the tokens of WORDINGS captions of each, int16."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    random = np.random.default_rng([21, start])
    scenes = [scene_at(start + offset, variety) for offset in range(CHUNK)]
    texts = [caption(scene, random) for scene in scenes for _ in range(WORDINGS)]
    tokens = tokenize(CLIPTokenizer.from_pretrained(tokenizer_folder), texts).numpy().astype(np.int16)
    return scenes, tokens.reshape(CHUNK, WORDINGS, -1)


def described(
    variety: Variety, first: int, count: int, tokenizer_folder: Path, workers: int
) -> Iterator[tuple[list[Scene], np.ndarray]]:
    """Chunks of scenes with their captions, in order, made by so many processes."""
    work = partial(describe, variety=variety, tokenizer_folder=tokenizer_folder)
    with get_context("spawn").Pool(workers) as processes:
        yield from processes.imap(work, range(first, first + count, CHUNK))


@torch.no_grad()
def pool_on_card(
    sprites: Sprites,
    autoencoder: AutoencoderKL,
    chunks: Iterator[tuple[list[Scene], np.ndarray]],
    tokenizer: CLIPTokenizer,
) -> CardPool:
    """Put the scenes of all chunks together and encode them."""
    device = sprites.pixels.device
    latents, masks, tokens = [], [], []
    for scenes, words in chunks:
        tokens.append(torch.from_numpy(words).to(device))
        for start in range(0, len(scenes), PUT_TOGETHER):
            images, covered = put_together(scenes[start : start + PUT_TOGETHER], sprites)
            with torch.autocast(device.type, torch.bfloat16):
                mean = autoencoder.encode(images / 127.5 - 1).latent_dist.mean
            latents.append((mean * autoencoder.config.scaling_factor).half())
            masks.append(covered)
    empty = tokenize(tokenizer, [""])[0].to(device)
    return CardPool(torch.cat(latents), torch.cat(masks), torch.cat(tokens), empty)


def pictures_on_card(sprites: Sprites, variety: Variety) -> Pictures:
    """PAIRS fresh pictures at a time, shrunk."""

    def draw(random: np.random.Generator) -> tuple[torch.Tensor, list[Scene]]:
        scenes = [random_scene(random, variety) for _ in range(PAIRS)]
        images, _ = put_together(scenes, sprites)
        return functional.adaptive_avg_pool2d(images, SIZE_PX).permute(0, 2, 3, 1), scenes

    return draw


def crops_on_card(
    sprites: Sprites, scenes: list[Scene], batch: int, crop_px: int = CROP_PX
) -> Callable[[np.random.Generator], torch.Tensor]:
    """Return a source of random crops, uint8 (batch, crop, crop, 3), of the scenes' pictures, which stay on the card.

    Two in three are around something.
    """
    pictures, masks = [], []
    for start in range(0, len(scenes), PUT_TOGETHER):
        images, covered = put_together(scenes[start : start + PUT_TOGETHER], sprites)
        pictures.append(images.to(torch.uint8))
        masks.append(covered.cpu().numpy() > 0)
    images, cells = torch.cat(pictures), np.concatenate(masks)
    cell, room = images.shape[2] // cells.shape[1], images.shape[2] - crop_px
    middles = [np.argwhere(covered) * cell for covered in cells]

    def crops(random: np.random.Generator) -> torch.Tensor:
        chosen = random.integers(len(images), size=batch)
        corners = random.integers(0, room + 1, (batch, 2))
        for slot, index in enumerate(chosen):
            if random.random() < 0.67 and len(middles[index]):
                middle = middles[index][random.integers(len(middles[index]))]
                corners[slot] = np.clip(middle + random.integers(-crop_px, crop_px, 2) // 2 - crop_px // 2, 0, room)
        return torch.stack(
            [
                images[index, :, top : top + crop_px, left : left + crop_px]
                for index, (top, left) in zip(chosen.tolist(), corners.tolist(), strict=True)
            ]
        ).permute(0, 2, 3, 1)

    return crops


def train_on_card(
    path: Path,
    pool: CardPool,
    text_encoder: CLIPTextModel,
    course: Course,
    *,
    start: dict[str, torch.Tensor] | None = None,
) -> UNet2DConditionModel:
    """The UNet with averaged weights, in evaluation mode; resumes from ``path``."""
    torch.manual_seed(0)
    model = build_unet()
    if start is not None:
        model.load_state_dict(start)
    device = pool.latents.device

    def examples(random: np.random.Generator) -> Examples:
        chosen = torch.from_numpy(random.integers(len(pool), size=course.batch)).to(device)
        wording = torch.from_numpy(random.integers(pool.tokens.shape[1], size=course.batch)).to(device)
        tokens = pool.tokens[chosen, wording].long()
        tokens[torch.from_numpy(random.random(course.batch) < EMPTY_CAPTION_SHARE).to(device)] = pool.empty
        masks = pool.masks[chosen][:, None].float() / 255
        return Examples(pool.latents[chosen].float(), masks, tokens)

    return learn_velocity(path, model, examples, lambda tokens: text_encoder(tokens).last_hidden_state, course)


def sharpened_autoencoder(work: Path, sprites: Sprites, variety: Variety, course: Reconstruction) -> AutoencoderKL:
    """The autoencoder of ``work`` after this course of its own, kept as SHARPENED; raises OutOfTime."""
    finished = work / SHARPENED
    if not (finished / "config.json").exists():
        torch.manual_seed(0)
        begun = (work / "vae" / "config.json").exists()
        model = AutoencoderKL.from_pretrained(work / "vae") if begun else build_autoencoder()
        course = replace(course, guided=0 if begun else course.guided)
        model.to(course.device)
        scenes = [scene_at(index, variety) for index in range(AUTOENCODER_SCENES)]
        crops = crops_on_card(sprites, scenes, AUTOENCODER_BATCH)
        learn_to_reconstruct(work / f"{SHARPENING}.pt", model, crops, course)
        images, _ = put_together(scenes[:PUT_TOGETHER], sprites)
        standardise_latents(model, images.permute(0, 2, 3, 1).to(torch.uint8))
        model.save_pretrained(finished)
    return AutoencoderKL.from_pretrained(finished).eval().to(course.device)


def on_card(work: Path, sprites: Sprites, networks: Networks, workers: int) -> Teach:
    """Teaching from pools that are drawn, encoded and kept on the card."""

    def teach(path: Path, phase: Phase, course: Course, start: Any) -> UNet2DConditionModel:
        chunks = described(phase.variety, 0, phase.scenes, work / "tokenizer", workers)
        pool = pool_on_card(sprites, networks.autoencoder, chunks, networks.tokenizer)
        logger.info("%s: %d scenes on the card", phase.name, len(pool))
        return train_on_card(path, pool, networks.text_encoder, course, start=start)

    return teach


def run_on_card(work: Path, packed: Path, plan: Plan, course: Course) -> tuple[Networks, UNet2DConditionModel]:
    """Do the plan's course with the drawings and places that ``packed`` holds; raises OutOfTime."""
    workers = max(1, (granted_cores() or os.cpu_count() or 1) - 2)
    drawings = load_drawings(packed / FILE)
    things = max(phase.variety.things for phase in plan.phases)
    sprites = make_sprites(drawings, load_places(packed / "places.npz"), things, course.device, workers=workers)
    logger.info("%d sprites", len(sprites.rows))
    pictures = pictures_on_card(sprites, plan.phases[-1].variety)
    tokenizer, clip = learned_words(work, plan, course, pictures)
    own = replace(plan.autoencoder, device=course.device, deadline=course.deadline)
    autoencoder = sharpened_autoencoder(work, sprites, plan.phases[-1].variety, own)
    networks = Networks(tokenizer, clip, text_half(clip).to(course.device), autoencoder)
    return networks, train_phases(work, plan, on_card(work, sprites, networks, workers), course)
