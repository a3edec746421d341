"""Settings of one training run and the command line that gives them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.command_line import above_zero, positive, seed, zero_or_above
from training.video_diffusion.dataset import Shape
from training.video_diffusion.trainer import VideoCourse
from utils import choose_device


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training run.

    Args:
        data: folder of captioned clips.
        out: folder of the finished model, in diffusers' format.
        work: folder of the state, the latents and the samples.
        base: folder or Hub id of the image or video model that training starts from.
        shape: frames and size of the clips.
        course: hyperparameters.
        device: cuda, mps or cpu.
        from_scratch: leave the base UNet's weights out.
        tune_text: train the text encoder too.
        zero_terminal_snr: stretch the noise schedule until it ends in noise alone.
        text_encoder: folder or Hub id of another text encoder; None for the base's own.
        prompts: prompts to sample; empty for captions of the clips.
        review_minutes: time between two samples.
    """

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


def read_config(arguments: Sequence[str] | None = None, *, description: str | None = None) -> TrainingConfig:
    """Read the command line, or ``arguments``; raises UserError where the device is absent."""
    given = build_parser(description).parse_args(arguments)
    return TrainingConfig(
        data=given.data,
        out=given.out,
        work=given.work,
        base=given.base,
        shape=Shape(frames=given.frames, size_px=given.size),
        course=VideoCourse(
            steps=given.steps,
            batch=given.batch,
            accumulate=given.accumulate,
            learning_rate=given.learning_rate,
            known_share=given.known_share,
            moving_weight=given.moving_weight,
            seed=given.seed,
        ),
        device=choose_device(given.device),
        from_scratch=given.from_scratch,
        tune_text=given.tune_text,
        zero_terminal_snr=given.zero_terminal_snr,
        text_encoder=given.text_encoder,
        prompts=tuple(given.prompt),
        review_minutes=given.review_minutes,
    )


def build_parser(description: str | None) -> argparse.ArgumentParser:
    """Declare the options with their types, defaults and help."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    return parser
