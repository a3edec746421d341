"""Teach a finished toy-world checkpoint control and editing: ``python -m training.toyworld.control``.

ControlNets (Zhang et al. 2023) for edges, depth and pose learn beside the frozen UNet; an InstructPix2Pix UNet (Brooks
et al. 2022) learns from pairs of scenes that differ in what the instruction names. All of it on scenes drawn here,
of which the truth is known. Every part keeps its state in ``--work`` and resumes there after a kill.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline, UNet2DConditionModel
from torch.nn import functional

from toyworld.captions import caption
from toyworld.control_scenes import CONTROLS, EDIT, edited_at, hidden, scene_at
from toyworld.scene import Scene
from toyworld.splits import SIZE_PX
from training.toyworld.autoencoder import encode_pool, fingerprint
from training.toyworld.control_data import ControlPool, control_pictures, load_pool
from training.toyworld.data import MASK_CELLS, Pool
from training.toyworld.denoiser import Course, Examples, attend_plainly, learn_velocity, text_states

logger = logging.getLogger("training.toyworld.control")
EMPTY_TEXT_SHARE = 0.15  # the first ControlNets learned with 0.3, and often draw another background than the text says
# InstructPix2Pix, section 3.2.1: the text, the picture, or both are left out in 5 % of the examples each.
LEFT_OUT_SHARE = 0.05
# Half the base's batch: what is learned is little, and more steps of it teach more than larger ones.
BATCH, LEARNING_RATE = 16, 7e-4
# At the last timestep a twentieth of the picture is left in the noise, enough to read the background's colour from its
# mean. In sampling there is none, so a network that learned to read it there draws any colour but the wanted one.
OFFSET_NOISE = 0.3
# Where one thing hides another only the control tells which is in front, and it is a hundredth of the picture.
HIDDEN_WEIGHT = 4.0
STEPS = {"canny": 1200, "depth": 800, "pose": 1200, EDIT: 2400}


def as_condition(pictures: np.ndarray) -> torch.Tensor:
    """Convert control pictures uint8 (n, height, width, 3) for a ControlNet: (n, 3, height, width) in 0..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def train_controlnet(
    path: Path,
    kind: str,
    *,
    parts: StableDiffusionPipeline,
    pool: ControlPool,
    latents: np.ndarray,
    course: Course,
    start: Path | None = None,
) -> ControlNetModel:
    """Train a ControlNet for the frozen UNet of ``parts``, resuming from ``path``; return it in evaluation mode.

    It begins as the one in the folder ``start``, or as the UNet.
    """
    torch.manual_seed(0)
    unet = parts.unet.requires_grad_(False)
    # Two halvings, because this autoencoder makes a cell of 4x4 pixels where Stable Diffusion's makes one of 8x8.
    model = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 96))
    if start is not None:
        model.load_state_dict(ControlNetModel.from_pretrained(start).state_dict())
    model.train()
    if course.device == "cpu":
        attend_plainly(unet)
        attend_plainly(model)

    def examples(random: np.random.Generator) -> Examples:
        chosen = np.sort(random.choice(len(pool), course.batch, replace=False))
        texts = [
            "" if random.random() < EMPTY_TEXT_SHARE else caption(scene_at(kind, int(number)), random)
            for number in chosen
        ]
        control = as_condition(control_pictures(kind, pool, chosen, random))
        masks = masks_of(pool, chosen) + HIDDEN_WEIGHT * hidden_cells(
            [scene_at(kind, int(number)) for number in chosen]
        )
        return Examples(torch.from_numpy(latents[chosen]).float(), masks, texts, control)

    def velocity(
        controlnet: ControlNetModel,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        states: torch.Tensor,
        picture: torch.Tensor | None,
    ) -> torch.Tensor:
        down, middle = controlnet(noisy, timesteps, states, controlnet_cond=picture, return_dict=False)
        return unet(
            noisy,
            timesteps,
            states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample

    encode_text = text_states(parts.tokenizer, parts.text_encoder)
    return learn_velocity(path, model, examples, encode_text, course, velocity)


def train_editor(
    path: Path,
    *,
    parts: StableDiffusionPipeline,
    pool: ControlPool,
    latents: tuple[np.ndarray, np.ndarray],
    course: Course,
    start: Path | None = None,
) -> UNet2DConditionModel:
    """Train an InstructPix2Pix UNet, resuming from ``path``; ``latents`` are those before and after the edits.

    It begins as the one in the folder ``start``, or as the UNet of ``parts``.
    """
    torch.manual_seed(0)
    before, after = latents
    channels = parts.vae.config.latent_channels
    model = UNet2DConditionModel.from_config(parts.unet.config, in_channels=2 * channels)
    weights = parts.unet.state_dict()
    weights["conv_in.weight"] = torch.cat([weights["conv_in.weight"], torch.zeros_like(weights["conv_in.weight"])], 1)
    model.load_state_dict(weights if start is None else UNet2DConditionModel.from_pretrained(start).state_dict())
    model.train()
    if course.device == "cpu":
        attend_plainly(model)
    scaling = parts.vae.config.scaling_factor

    def examples(random: np.random.Generator) -> Examples:
        chosen = np.sort(random.choice(len(pool), course.batch, replace=False))
        left_out = random.random((2, len(chosen)))  # the text where the first is small, the picture where the second is
        texts = [
            "" if share < 2 * LEFT_OUT_SHARE else edited_at(int(number))[2]
            for number, share in zip(chosen, left_out[0], strict=True)
        ]
        shown = torch.from_numpy(before[chosen]).float() / scaling  # the encoder's own scale, as InstructPix2Pix has it
        hidden = np.where(left_out[0] < 2 * LEFT_OUT_SHARE, left_out[1] < 0.5, left_out[1] < LEFT_OUT_SHARE)
        shown[torch.from_numpy(hidden)] = 0
        return Examples(torch.from_numpy(after[chosen]).float(), masks_of(pool, chosen), texts, shown)

    def velocity(
        unet: UNet2DConditionModel,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        states: torch.Tensor,
        picture: torch.Tensor | None,
    ) -> torch.Tensor:
        if picture is None:
            raise ValueError("an editor needs the picture before the edit")
        return unet(torch.cat([noisy, picture], dim=1), timesteps, states).sample

    encode_text = text_states(parts.tokenizer, parts.text_encoder)
    return learn_velocity(path, model, examples, encode_text, course, velocity)


def masks_of(pool: Pool, chosen: np.ndarray) -> torch.Tensor:
    """Return the coverage by things in the chosen pictures: (n, 1, 32, 32) in 0..1."""
    return torch.from_numpy(pool.masks[chosen])[:, None].float() / 255


def hidden_cells(scenes: list[Scene]) -> torch.Tensor:
    """Return the mask of cells in which one thing hides another: (n, 1, 32, 32), 0 or 1."""
    places = torch.from_numpy(np.stack([hidden(scene) for scene in scenes]))
    return functional.max_pool2d(places[:, None].float(), SIZE_PX // MASK_CELLS)


def main() -> None:
    """Train the kinds that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join((*CONTROLS, EDIT))}; all by default")
    parser.add_argument("--base", type=Path, default=Path("checkpoints/toyworld"), help="the checkpoint to control")
    parser.add_argument("--work", type=Path, default=Path(".training/control"), help="state and drawn pictures")
    parser.add_argument("--out", type=Path, default=Path("checkpoints"), help="one folder for each kind comes here")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pictures", type=int, default=24_000, help="how many scenes to draw for each kind")
    parser.add_argument("--steps", type=int, help="for each kind; by default what each needs")
    parser.add_argument("--seed", type=int, default=20, help="another one for another order of examples and noise")
    parser.add_argument("--further", action="store_true", help="go on from the networks that --out holds")
    options = parser.parse_args()
    if unknown := set(options.kinds) - {*CONTROLS, EDIT}:
        parser.error(f"unknown kind: {', '.join(sorted(unknown))}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for kind in options.kinds or (*CONTROLS, EDIT):
        train(kind, options)


def train(kind: str, options: argparse.Namespace) -> None:
    """Train one kind and write it as fp16 safetensors to ``<out>/toyworld-<kind>``."""
    parts = StableDiffusionPipeline.from_pretrained(options.base, safety_checker=None).to(options.device)
    folder = options.work / kind
    pool = load_pool(folder, kind, options.pictures)
    latents = encode_pool(folder, pool, parts.vae, options.device)
    steps = options.steps or STEPS[kind]
    seed = options.seed + (*CONTROLS, EDIT).index(kind) + 10 * options.further
    course = Course(steps, LEARNING_RATE, batch=BATCH, device=options.device, seed=seed, offset_noise=OFFSET_NOISE)
    # A state belongs to the networks that it was trained beside and to a course of so many steps.
    course_name = f"{steps}-{seed}-further" if options.further else f"{steps}-{seed}"
    path = folder / f"state-{fingerprint(parts.unet)}-{fingerprint(parts.text_encoder)}-{course_name}.pt"
    start = starting_point(kind, options.out, further=options.further)
    model: ControlNetModel | UNet2DConditionModel
    if kind == EDIT:
        before = encode_pool(folder / "before", Pool(pool.control, pool.masks), parts.vae, options.device)
        model = train_editor(path, parts=parts, pool=pool, latents=(before, latents), course=course, start=start)
    else:
        model = train_controlnet(path, kind, parts=parts, pool=pool, latents=latents, course=course, start=start)
    model.half().save_pretrained(options.out / f"toyworld-{kind}")
    logger.info("%s: written to %s", kind, options.out / f"toyworld-{kind}")


def starting_point(kind: str, out: Path, *, further: bool) -> Path | None:
    """Return the folder of the network to begin with, or None.

    To go ``further``, it is that of this kind in ``out``; else for a ControlNet the first kind's, since every kind
    steers the UNet in the same manner.
    """
    folder = out / f"toyworld-{kind if further else CONTROLS[0]}"
    wanted = further or kind not in (CONTROLS[0], EDIT)
    return folder if wanted and folder.is_dir() else None


if __name__ == "__main__":
    main()
