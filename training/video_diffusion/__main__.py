"""Train a video model on captioned clips: ``python -m training.video_diffusion --data FOLDER --out FOLDER``.

The folder holds GIFs or MP4s with captions: a ``.txt`` beside each, or a ``.tsv`` of ``file<TAB>caption``. The model is
a latent 3D UNet (Video Diffusion Models, arXiv 2204.03458) that begins as the image model ``--base``, so that only
motion is left to learn. Everything is kept in ``--work``: a killed run goes on where it stood, on the same course. The
result is a diffusers folder. ``accelerate launch -m training.video_diffusion ...`` uses several GPUs.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from diffusers import DDIMScheduler, DDPMScheduler, DiffusionPipeline, TextToVideoSDPipeline, UNet2DConditionModel
from torch import nn

from errors import UserError, first_line
from generation.prompts import file_name
from media.video_io import write_video
from training.command_line import above_zero, positive, seed, zero_or_above
from training.toyworld.autoencoder import fingerprint
from training.toyworld.denoiser import with_zero_terminal_snr
from training.video_diffusion.dataset import LatentClips, Shape, load_latents
from training.video_diffusion.network import (
    build_video_unet,
    ready_to_train,
    silence_temporal_layers,
    start_from_image,
    whole_again,
)
from training.video_diffusion.samples import GUIDANCE_SCALE, export, sample, write_loss, write_samples
from training.video_diffusion.text_encoders import load_text_encoder
from training.video_diffusion.trainer import CaptionedVideoNetwork, LossCurve, Teacher, VideoCourse, course_key, learn
from utils import choose_device, fit_threads, local_or_hub

logger = logging.getLogger("training.video_diffusion")
LONGEST_WAIT = timedelta(days=1)  # of one process for the others


@dataclass(frozen=True)
class Job:
    """All that a training run was asked for."""

    data: Path
    out: Path
    work: Path
    base: str
    shape: Shape
    course: VideoCourse
    device: str
    from_scratch: bool
    tune_text: bool
    zero_terminal_snr: bool
    text_encoder: str | None
    prompts: tuple[str, ...]
    review_minutes: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; returns the exit code, 2 with one line for what the user can mend."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        train(read_job(arguments))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def read_job(arguments: Sequence[str] | None = None) -> Job:
    """What the command line asks for; raises UserError where the device is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of captioned GIFs or MP4s")
    parser.add_argument("--out", type=Path, required=True, help="the finished model, a diffusers folder")
    parser.add_argument("--work", type=Path, default=Path(".training/video"), help="state, latents, samples, loss plot")
    parser.add_argument(
        "--base", default="checkpoints/toyworld", help="image or video model to begin with: folder or id"
    )
    parser.add_argument("--from-scratch", action="store_true", help="leave the base UNet's weights out")
    parser.add_argument("--tune-text", action="store_true", help="let the text encoder learn along, for new words")
    parser.add_argument(
        "--zero-terminal-snr", action="store_true", help="stretch the schedule until it ends in noise alone"
    )
    parser.add_argument("--text-encoder", help="a BERT or CLIP by id or folder; the base's own where left out")
    parser.add_argument("--steps", type=positive, default=6000)
    parser.add_argument("--batch", type=positive, default=4, help="clips at once")
    parser.add_argument("--accumulate", type=positive, default=1, help="batches that make one step")
    parser.add_argument(
        "--learning-rate", type=above_zero, default=1e-3, help="of temporal layers and words, at its peak"
    )
    parser.add_argument("--known-share", type=zero_or_above, default=0.3, help="share of that rate for the rest")
    parser.add_argument(
        "--moving-weight", type=zero_or_above, default=2.0, help="how much more moving places count in the loss"
    )
    parser.add_argument("--frames", type=positive, default=8)
    parser.add_argument("--size", type=positive, default=128, help="side of the square clips, in pixels")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--device", help="cuda, mps or cpu; the best there is")
    parser.add_argument("--prompt", action="append", default=[], help="what to sample now and then; may be repeated")
    parser.add_argument("--review-minutes", type=zero_or_above, default=10.0, help="time between two samples")
    given = parser.parse_args(arguments)
    course = VideoCourse(
        given.steps,
        given.batch,
        given.accumulate,
        given.learning_rate,
        given.known_share,
        given.moving_weight,
        given.seed,
    )
    shape, device = Shape(given.frames, given.size), choose_device(given.device)
    changes = (given.from_scratch, given.tune_text, given.zero_terminal_snr, given.text_encoder)
    prompts, minutes = tuple(given.prompt), given.review_minutes
    return Job(given.data, given.out, given.work, given.base, shape, course, device, *changes, prompts, minutes)


def train(job: Job) -> None:
    """The whole run: read, encode, learn, review, export. Raises UserError."""
    fit_threads()
    accelerator = share_among_processes(job.device)
    device = str(accelerator.device) if accelerator.num_processes > 1 else job.device
    parts = load_base(job.base)
    if job.text_encoder is not None:
        encoder, tokenizer = load_text_encoder(job.text_encoder)
        parts.register_modules(text_encoder=encoder, tokenizer=tokenizer)
    if job.zero_terminal_snr:
        parts.register_modules(scheduler=ending_in_noise(parts.scheduler))
    network = build_network(parts, job, device)
    parts.vae.to(device)
    with accelerator.main_process_first():
        clips = load_latents(job.work, job.data, job.shape, parts.vae)
    scheduler = DDPMScheduler.from_config(parts.scheduler.config)
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(f"the base predicts {scheduler.config.prediction_type}: choose one of noise or velocity")
    teacher = Teacher(clips, partial(token_ids, parts.tokenizer), scheduler, job.course, device)
    review = partial(write_review, job, parts, review_prompts(job, clips))
    state = job.work / f"video-{state_key(job, network, clips)}.pt"
    say_where_it_begins_anew(state)
    trained = learn(state, network.to(device), teacher, accelerator, review, review_every_s=60 * job.review_minutes)
    if accelerator.is_main_process:
        finish(job, parts, trained, review_prompts(job, clips))


def share_among_processes(device: str) -> Accelerator:
    """What ``accelerate launch`` started, be it one process. Precision is the loss's own affair, whatever a user's
    configuration says; the other processes wait as long as the first takes to read and encode."""
    patience = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    return Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=[patience])


def load_base(source: str) -> Any:
    """The parts of an image or a video pipeline in diffusers' format, in float32; raises UserError."""

    def read(**options: Any) -> Any:
        return DiffusionPipeline.from_pretrained(source, **options).to(dtype=torch.float32)

    try:
        parts = local_or_hub(source, read)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--base {source} is no diffusers folder or id that can be loaded: {first_line(error)}"
        ) from None
    needed = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    if any(getattr(parts, name, None) is None for name in needed) or hasattr(parts, "text_encoder_2"):
        raise UserError(f"--base {source} is no Stable Diffusion 1.x or 2.x and no text-to-video model of its kind")
    return parts


def ending_in_noise(scheduler: Any) -> DDIMScheduler:
    """The schedule with zero terminal SNR; raises UserError for a base that predicts noise."""
    if scheduler.config.prediction_type != "v_prediction":
        raise UserError("--zero-terminal-snr wants a base that predicts velocity: from noise alone, noise says nothing")
    return with_zero_terminal_snr(scheduler)


def build_network(parts: Any, job: Job, device: str) -> CaptionedVideoNetwork:
    """The network to train: the base's UNet with temporal layers, or a video base's own, and its text encoder."""
    cells, text_width = cells_of(parts, job.shape), parts.text_encoder.config.hidden_size
    torch.manual_seed(job.course.seed)
    if isinstance(parts.unet, UNet2DConditionModel):
        unet = build_video_unet(parts.unet, cells, text_width)
        if job.from_scratch:
            silence_temporal_layers(unet)
        else:
            start_from_image(unet, parts.unet)
    else:
        unet = parts.unet
        if unet.config.cross_attention_dim != text_width:
            raise UserError(
                f"--text-encoder gives {text_width} numbers per word and --base reads "
                f"{unet.config.cross_attention_dim}: begin with an image model, or with this one's own encoder"
            )
        unet.register_to_config(sample_size=cells)
    parts.text_encoder.requires_grad_(job.tune_text)
    if isinstance(pooler := getattr(parts.text_encoder, "pooler", None), nn.Module):
        pooler.requires_grad_(False)  # nothing reads a BERT's, and several processes would wait for its gradient
    return CaptionedVideoNetwork(ready_to_train(unet, device).train(), parts.text_encoder)


def cells_of(parts: Any, shape: Shape) -> int:
    """The side of the latents; raises UserError where the size does not fit the base's networks."""
    factor = 2 ** (len(parts.vae.config.block_out_channels) - 1)
    step = factor * 2 ** (len(parts.unet.config.block_out_channels) - 1)
    if shape.size_px % step:
        raise UserError(f"--size {shape.size_px} does not fit the base: use a multiple of {step}")
    return shape.size_px // factor


def token_ids(tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """Token ids, int64 (texts, tokens), padded as the pipeline pads."""
    length = tokenizer.model_max_length
    return tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids


def review_prompts(job: Job, clips: LatentClips) -> list[str]:
    """The prompts to sample: those asked for, or the captions of four clips."""
    places = [number * len(clips) // 4 for number in range(4)]
    return list(job.prompts) or list(dict.fromkeys(clips.captions[place][0] for place in places))


def state_key(job: Job, network: CaptionedVideoNetwork, clips: LatentClips) -> str:
    """A short name for this very run; other data, options or weights begin anew beside it."""
    return course_key(job.course, str(job.tune_text), str(job.zero_terminal_snr), clips.name, fingerprint(network))


def say_where_it_begins_anew(state: Path) -> None:
    """Whoever thought to go on with one of the other states in the folder learns why that is not so."""
    others = len(list(state.parent.glob("video-*.pt")))
    if others and not state.exists():
        logger.info("%s: begins anew; the %d states beside it are of other data, options or bases", state.stem, others)


def write_review(job: Job, parts: Any, prompts: list[str], network: CaptionedVideoNetwork, curve: LossCurve) -> None:
    """The loss plot and a GIF of the prompts side by side, in the work folder."""
    write_loss(job.work, curve.values)
    clips = sample(assemble(parts, network), prompts, frames=job.shape.frames)
    write_samples(job.work / "samples" / f"step-{len(curve.values):06d}.gif", clips)
    logger.info("samples of step %d: %s", len(curve.values), " | ".join(prompts))


def assemble(parts: Any, network: CaptionedVideoNetwork) -> TextToVideoSDPipeline:
    """diffusers' pipeline around the network; the base's other parts as they are."""
    pipe = TextToVideoSDPipeline(parts.vae, network.text_encoder, parts.tokenizer, network.unet, parts.scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def finish(job: Job, parts: Any, trained: CaptionedVideoNetwork, prompts: list[str]) -> None:
    """Write the diffusers folder with a GIF named after each prompt, the loss plot and a card."""
    clips = sample(assemble(parts, trained), prompts, frames=job.shape.frames)
    trained.unet = whole_again(trained.unet, trained.unet.state_dict())
    pipe = assemble(parts, trained)
    export(pipe, job.out)
    for prompt, frames in zip(prompts, clips, strict=True):
        write_video(job.out / file_name(prompt, ".gif"), frames, 8, {"prompt": prompt})
    write_card(job, pipe)
    logger.info("written to %s", job.out)


def write_card(job: Job, pipe: TextToVideoSDPipeline) -> None:
    """What the folder is and how it came about, in its README."""
    million = sum(value.numel() for value in pipe.unet.parameters()) / 1e6
    course, shape = job.course, job.shape
    (job.out / "README.md").write_text(
        f"# {job.out.name}\n\nA text-to-video model: diffusers' `TextToVideoSDPipeline` with a `UNet3DConditionModel` "
        f"of {million:.1f} million parameters, trained by `python -m training.video_diffusion` from `{job.base}` on "
        f"clips of {shape.frames} frames at {shape.size_px}x{shape.size_px}: {course.steps} steps of "
        f"{course.batch * course.accumulate} clips, learning rate {course.learning_rate:g}.\n\n"
        "```python\nfrom diffusers import DiffusionPipeline\n\n"
        f'pipe = DiffusionPipeline.from_pretrained("{job.out.name}")\n'
        f'frames = pipe("...", num_frames={shape.frames}, num_inference_steps=25, guidance_scale={GUIDANCE_SCALE})'
        ".frames[0]\n```\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(main())
