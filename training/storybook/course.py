"""The whole course, from nothing to a finished checkpoint, in parts that can be stopped anywhere and taken up again.

The denoiser learns in phases: first a world in which everything unnamed is fixed, on latents averaged to 16x16 and
then at full size; then a world that widens in small steps, by words.
"""

import json
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from storybook.scene import STAGES, Variety
from storybook.things import FIRST
from training.loop import OutOfTime, save_atomically
from training.storybook.autoencoder import train_autoencoder
from training.storybook.data import load_pictures
from training.storybook.denoiser import build_unet, train_denoiser
from training.storybook.latents import LatentPool, load_latents
from training.storybook.text import Pictures, pictures_of, train_clip
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
SHARPENED, SHARPENING = "vae-card", "autoencoder-card"  # an autoencoder after more of its course on a card
BASE = "unet-base.pt"  # weights of another course to begin with
KNOWN = "storybook.json"  # in a finished checkpoint: the things it knows, the phases it has been through
WATCHED = ("thing", "second thing", "background", "position", "colour", "size", "count", "mirrored")

ON_PROCESSOR = Plan(
    pictures=6000,
    autoencoder=Reconstruction(1500, learning_rate=1e-3, divergence=1e-4, mosaic=True, guided=500),
    clip=ClipCourse(400, watched=WATCHED),
    phases=(
        Phase("coarse", few(0), 6000, 320, 64, 16, learning_rate=1.2e-3, floor=0.6, centre=0.55, warmup=60),
        Phase("fixed", few(0), 6000, 1900, floor=0.0, warmup=100),
        # 80,000 pictures are not enough for outlines at full size, as a sheet showed after "fixed".
        Phase("outlines", few(0), 6000, 4000, floor=0.2, warmup=50),
        Phase("sides", few(2, size=0.15, side=0.15), 5000, 500, learning_rate=8e-4, floor=0.7, warmup=50),
        Phase("words", WORDS, 6000, 1000, learning_rate=6e-4, floor=0.0, warmup=50),
    ),
)


@dataclass(frozen=True)
class Networks:
    """Finished and frozen networks that the denoiser is trained with."""

    tokenizer: CLIPTokenizer
    clip: CLIPModel
    text_encoder: CLIPTextModel
    autoencoder: AutoencoderKL


def take_up(work: Path, base: Path, plan: Plan) -> None:
    """Put the networks of a finished checkpoint into ``work`` where nothing of theirs is there yet: words and pixels as
    they are, and its denoiser as what the phase it had come to would begin with."""
    if (work / "clip.pt").exists() or (work / "clip").exists() or not (base / "clip").exists():
        return
    for part in ("clip", "tokenizer", "vae"):
        shutil.copytree(base / part, work / part, dirs_exist_ok=True)
    reached = json.loads((base / KNOWN).read_text(encoding="utf-8")).get("phases", [])
    finished = [phase.name for phase in plan.phases if phase.name in reached]
    unet = UNet2DConditionModel.from_pretrained(base / "unet").state_dict()
    for path in [work / f"unet-{name}.pt" for name in finished] or [work / BASE]:
        save_atomically(unet, path)
    logger.info("%s: taken up from %s, after %s", work, base, ", ".join(finished) or "another course")


def learned_words(
    work: Path, plan: Plan, shared: Course, pictures: Pictures | None = None
) -> tuple[CLIPTokenizer, CLIPModel]:
    """The tokenizer and the CLIP of ``work``, trained now where they are not finished, by default on a drawn pool."""
    if not (work / "clip" / "config.json").exists():
        course = replace(plan.clip, device=shared.device, deadline=shared.deadline)
        pictures = pictures or pictures_of(load_pictures(work / "pictures", plan.pictures))
        tokenizer, clip = train_clip(work, pictures, course)
        save_tokenizer(tokenizer, work / "tokenizer")
        clip.save_pretrained(work / "clip")
    return CLIPTokenizer.from_pretrained(work / "tokenizer"), CLIPModel.from_pretrained(work / "clip").eval()


def learned_pixels(work: Path, plan: Plan, shared: Course) -> AutoencoderKL:
    """The autoencoder of ``work``, trained now where it is not finished."""
    if not (work / "vae" / "config.json").exists():
        course = replace(plan.autoencoder, device=shared.device, deadline=shared.deadline)
        train_autoencoder(work, load_pictures(work / "pictures", plan.pictures), course).save_pretrained(work / "vae")
    return AutoencoderKL.from_pretrained(work / "vae").eval()


def learned_networks(work: Path, plan: Plan, shared: Course) -> Networks:
    """Everything but the denoiser, on the device of the ``shared`` course; raises OutOfTime."""
    tokenizer, clip = learned_words(work, plan, shared)
    autoencoder = learned_pixels(work, plan, shared).to(shared.device)
    return Networks(tokenizer, clip, text_half(clip).to(shared.device), autoencoder)


def pool_of(work: Path, phase: Phase, networks: Networks) -> LatentPool:
    """The encoded scenes that a phase learns from, drawn now where they are missing."""
    autoencoder = networks.autoencoder.to(memory_format=torch.channels_last)
    return load_latents(work / "pools", autoencoder, phase.variety, phase.scenes)


# What teaches a phase: the path of its state, the phase, its course, weights to start with, to the averaged UNet.
Teach = Callable[[Path, Phase, Course, dict[str, torch.Tensor] | None], UNet2DConditionModel]


def on_processor(work: Path, networks: Networks) -> Teach:
    """Teaching from pools on disk."""
    encode_text = text_states(networks.tokenizer, networks.text_encoder)

    def teach(path: Path, phase: Phase, course: Course, start: Any) -> UNet2DConditionModel:
        # A short phase is over before it is compiled.
        course = replace(course, compiled=course.compiled and phase.cells == MASK_CELLS)
        pool = pool_of(work, phase, networks)
        return train_denoiser(path, pool, encode_text, course, cells=phase.cells, start=start)

    return teach


def train_phases(work: Path, plan: Plan, teach: Teach, course: Course) -> UNet2DConditionModel:
    """The denoiser after all phases of the plan; a finished phase is kept as ``unet-<name>.pt`` in ``work``. ``course``
    says what all phases share. Raises OutOfTime."""
    paths = [work / f"unet-{phase.name}.pt" for phase in plan.phases]
    done = max((number for number, path in enumerate(paths) if path.exists()), default=-1)
    latest = paths[done] if done >= 0 else work / BASE
    for number, phase in enumerate(plan.phases[done + 1 :], done + 1):
        own = replace(
            course,
            steps=phase.steps,
            batch=phase.batch,
            learning_rate=phase.learning_rate,
            floor=phase.floor,
            centre=phase.centre,
            warmup=phase.warmup,
            seed=course.seed + number,
        )
        start = torch.load(latest, map_location="cpu", weights_only=True) if latest.exists() else None
        latest = paths[number]
        save_atomically(teach(work / f"denoiser-{phase.name}.pt", phase, own, start).state_dict(), latest)
    unet = build_unet().eval()
    unet.load_state_dict(torch.load(latest, map_location="cpu", weights_only=True))
    return unet


def minutes_left(plan: Plan, stop: OutOfTime) -> float:
    """An estimate of what remains after a slice that ended in a phase, from that phase's own pace."""
    names = [f"denoiser-{phase.name}" for phase in plan.phases]
    if stop.course not in names:
        return math.nan
    current = plan.phases[names.index(stop.course)]
    each = stop.seconds_per_step / (current.batch * current.cells**2)
    steps_left = {phase.name: phase.steps for phase in plan.phases[names.index(stop.course) :]}
    steps_left[current.name] -= stop.done
    return sum(
        steps_left[phase.name] * phase.batch * phase.cells**2 * each / 60
        for phase in plan.phases
        if phase.name in steps_left
    )
