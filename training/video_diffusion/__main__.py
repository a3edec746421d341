"""Train a video model on captioned clips: ``python -m training.video_diffusion --data FOLDER --out FOLDER``.

The folder holds GIFs or MP4s with captions: a ``.txt`` beside each, or a ``.tsv`` of ``file<TAB>caption``. The model is
a latent 3D UNet (Video Diffusion Models, arXiv 2204.03458) that begins as the image model ``--base``, so that only
motion is left to learn. Everything is kept in ``--work``: a killed run goes on where it stood, on the same course. The
result is a diffusers folder. ``accelerate launch -m training.video_diffusion ...`` uses several GPUs.
"""

import logging
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from accelerate import Accelerator, InitProcessGroupKwargs
from diffusers import DDPMScheduler, DiffusionPipeline

from errors import UserError
from generation.prompts import file_name
from media.video_io import write_video
from training.toyworld.autoencoder import fingerprint
from training.video_diffusion.base import build_network, check_prediction, prepare_base, token_ids
from training.video_diffusion.config import TrainingConfig, read_config
from training.video_diffusion.dataset import LatentClips, load_latents
from training.video_diffusion.network import restore_full_unet
from training.video_diffusion.samples import FPS, assemble, export, sample, write_card, write_loss, write_samples
from training.video_diffusion.trainer import CaptionedVideoNetwork, LossCurve, Teacher, course_key, learn
from utils import fit_threads

logger = logging.getLogger("training.video_diffusion")
LONGEST_WAIT = timedelta(days=1)  # of one process for the others


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; return the exit code, 2 with one line for a mistake of the user's."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        train(read_config(arguments, description=__doc__))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def train(config: TrainingConfig) -> None:
    """Load the base, encode the clips, train, sample and export. Raises UserError."""
    fit_threads()
    accelerator = share_among_processes(config.device)
    device = str(accelerator.device) if accelerator.num_processes > 1 else config.device
    base = prepare_base(config)
    network = build_network(base, config, device)
    base.vae.to(device)
    with accelerator.main_process_first():
        clips = load_latents(config.work, config.data, config.shape, base.vae)
    check_prediction(base.scheduler)
    scheduler = DDPMScheduler.from_config(base.scheduler.config)
    state = config.work / f"video-{state_key(config, network, clips)}.pt"
    log_new_run(state)
    prompts = review_prompts(config, clips)
    trained = learn(
        state,
        network.to(device),
        teacher=Teacher(clips, partial(token_ids, base.tokenizer), scheduler, config.course, device),
        accelerator=accelerator,
        review=partial(write_review, config, base, prompts),
        review_every_s=60 * config.review_minutes,
    )
    if accelerator.is_main_process:
        finish(config, base, prompts, trained)


def share_among_processes(device: str) -> Accelerator:
    """Join the processes of ``accelerate launch``, or be the only one.

    The loss decides about precision itself, whatever a user's configuration says; the other processes wait while the
    first reads and encodes.
    """
    patience = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    return Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=[patience])


def review_prompts(config: TrainingConfig, clips: LatentClips) -> list[str]:
    """Return the prompts to sample: those asked for, or the captions of four clips."""
    places = [number * len(clips) // 4 for number in range(4)]
    return list(config.prompts) or list(dict.fromkeys(clips.captions[place][0] for place in places))


def state_key(config: TrainingConfig, network: CaptionedVideoNetwork, clips: LatentClips) -> str:
    """Return a short name of this very run; other data, options or weights have another state beside it."""
    flags = (str(config.tune_text), str(config.zero_terminal_snr))
    return course_key(config.course, *flags, clips.name, fingerprint(network))


def log_new_run(state: Path) -> None:
    """Log that training begins anew although the folder holds states, which are of other runs."""
    others = len(list(state.parent.glob("video-*.pt")))
    if others and not state.exists():
        logger.info("%s: begins anew; the %d states beside it are of other data, options or bases", state.stem, others)


def write_review(
    config: TrainingConfig,
    base: DiffusionPipeline,
    prompts: list[str],
    network: CaptionedVideoNetwork,
    curve: LossCurve,
) -> None:
    """Write the loss plot and a GIF of the prompts side by side into the work folder."""
    write_loss(config.work, curve.values)
    clips = sample(assemble(base, network), prompts, frames=config.shape.frames)
    write_samples(config.work / "samples" / f"step-{len(curve.values):06d}.gif", clips)
    logger.info("samples of step %d: %s", len(curve.values), " | ".join(prompts))


def finish(config: TrainingConfig, base: DiffusionPipeline, prompts: list[str], trained: CaptionedVideoNetwork) -> None:
    """Write the diffusers folder with a GIF named after each prompt and a model card."""
    clips = sample(assemble(base, trained), prompts, frames=config.shape.frames)
    trained.unet = restore_full_unet(trained.unet, trained.unet.state_dict())
    pipeline = assemble(base, trained)
    export(pipeline, config.out)
    for prompt, frames in zip(prompts, clips, strict=True):
        write_video(config.out / file_name(prompt, ".gif"), frames, FPS, {"prompt": prompt})
    write_card(pipeline, config.out, config)
    logger.info("written to %s", config.out)


if __name__ == "__main__":
    sys.exit(main())
