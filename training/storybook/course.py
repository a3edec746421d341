"""The whole course, from nothing to a finished checkpoint, in parts that can be stopped anywhere and taken up again.

The denoiser learns in phases: first a world in which everything unnamed is fixed, on latents averaged to 16x16 and
then at full size; then a world that widens in small steps, by words.
"""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from storybook.scene import STAGES, Variety
from storybook.things import FIRST
from training.loop import save_atomically
from training.storybook.autoencoder import train_autoencoder
from training.storybook.data import load_pictures
from training.storybook.denoiser import train_denoiser
from training.storybook.latents import LatentPool, load_latents
from training.storybook.text import train_clip
from training.toyworld.autoencoder import Reconstruction
from training.toyworld.checkpoint import text_half
from training.toyworld.data import MASK_CELLS
from training.toyworld.denoiser import Course, text_states
from training.toyworld.text import ClipCourse, save_tokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phase:
    """A stretch of the denoiser's course: a world that varies so much, ``scenes`` of it, ``steps`` of ``batch`` at
    ``cells``, the learning rate falling from ``learning_rate`` to ``floor`` of it; the rest as in Course."""

    name: str
    variety: Variety
    scenes: int
    steps: int
    batch: int = 32
    cells: int = MASK_CELLS
    learning_rate: float = 1e-3
    floor: float = 0.5
    centre: float = 0.66
    warmup: int = 200


@dataclass(frozen=True)
class Plan:
    """A course for one kind of machine."""

    pictures: int
    autoencoder: Reconstruction
    clip: ClipCourse
    phases: tuple[Phase, ...] = field(default=())


def few(stage: int, **changes: float) -> Variety:
    """A stage of the world with its first things alone."""
    return replace(STAGES[stage], things=FIRST, **changes)


# What captions ask for most; the other drawing and the other way wait for a machine with more time.
WORDS = few(4, place_variation=0.4, size=0.12, side=0.12, facing=0.0, colour=0.12, other_drawing=0.0)
WATCHED = ("thing", "second thing", "background", "position", "colour", "size", "count", "mirrored")

ON_PROCESSOR = Plan(
    pictures=6000,
    autoencoder=Reconstruction(1500, learning_rate=1e-3, divergence=1e-4, mosaic=True, guided=500),
    clip=ClipCourse(400, watched=WATCHED),
    phases=(
        Phase("coarse", few(0), 6000, 320, 64, 16, learning_rate=1.2e-3, floor=0.6, centre=0.55, warmup=60),
        Phase("fixed", few(0), 6000, 2400),
        Phase("sides", few(2, size=0.15, side=0.15), 5000, 700, learning_rate=8e-4, floor=0.7, warmup=50),
        Phase("words", WORDS, 6000, 1200, learning_rate=6e-4, floor=0.0, warmup=50),
    ),
)


@dataclass(frozen=True)
class Networks:
    """Finished and frozen networks that the denoiser is trained with."""

    tokenizer: CLIPTokenizer
    clip: CLIPModel
    text_encoder: CLIPTextModel
    autoencoder: AutoencoderKL


def learned_words(work: Path, plan: Plan, device: str) -> tuple[CLIPTokenizer, CLIPModel]:
    """The tokenizer and the CLIP of ``work``, trained now where they are not finished."""
    if not (work / "clip" / "config.json").exists():
        course = replace(plan.clip, device=device)
        tokenizer, clip = train_clip(work, load_pictures(work / "pictures", plan.pictures), course)
        save_tokenizer(tokenizer, work / "tokenizer")
        clip.save_pretrained(work / "clip")
    return CLIPTokenizer.from_pretrained(work / "tokenizer"), CLIPModel.from_pretrained(work / "clip").eval()


def learned_pixels(work: Path, plan: Plan, device: str) -> AutoencoderKL:
    """The autoencoder of ``work``, trained now where it is not finished."""
    if not (work / "vae" / "config.json").exists():
        course = replace(plan.autoencoder, device=device)
        train_autoencoder(work, load_pictures(work / "pictures", plan.pictures), course).save_pretrained(work / "vae")
    return AutoencoderKL.from_pretrained(work / "vae").eval()


def learned_networks(work: Path, plan: Plan, device: str) -> Networks:
    """Everything but the denoiser, on the device."""
    tokenizer, clip = learned_words(work, plan, device)
    autoencoder = learned_pixels(work, plan, device).to(device)
    return Networks(tokenizer, clip, text_half(clip).to(device), autoencoder)


def pool_of(work: Path, phase: Phase, networks: Networks) -> LatentPool:
    """The encoded scenes that a phase learns from, drawn now where they are missing."""
    autoencoder = networks.autoencoder.to(memory_format=torch.channels_last)
    return load_latents(work / "pools", autoencoder, phase.variety, phase.scenes)


def train_phases(
    work: Path, plan: Plan, networks: Networks, course: Course, start: dict[str, torch.Tensor] | None = None
) -> UNet2DConditionModel:
    """The denoiser after all phases of the plan; a finished phase is kept as ``unet-<name>.pt`` in ``work``. ``course``
    says what all phases share."""
    encode_text = text_states(networks.tokenizer, networks.text_encoder)
    unet = None
    for number, phase in enumerate(plan.phases):
        finished = work / f"unet-{phase.name}.pt"
        if not finished.exists():
            pool = pool_of(work, phase, networks)
            own = replace(
                course,
                steps=phase.steps,
                batch=phase.batch,
                learning_rate=phase.learning_rate,
                floor=phase.floor,
                centre=phase.centre,
                warmup=phase.warmup,
                compiled=course.compiled and phase.cells == MASK_CELLS,  # a short phase is over before it is compiled
                seed=course.seed + number,
            )
            path = work / f"denoiser-{phase.name}.pt"
            unet = train_denoiser(path, pool, encode_text, own, cells=phase.cells, start=start)
            save_atomically(unet.state_dict(), finished)
        start = torch.load(finished, map_location="cpu", weights_only=True)
    return unet
