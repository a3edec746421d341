"""Teach a video network: noisy clips and their captions in, the noise or the velocity out (arXiv 2204.03458).

It knows latents and captions, and nothing of files, checkpoints or the command line.
"""

import copy
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from torch import nn
from torch.nn import functional

from errors import UserError
from training.loop import ExponentialAverage, Stateful, run_steps
from training.toyworld.denoiser import cosine, draw_timesteps
from training.video_diffusion.dataset import LatentClips, as_network_input
from training.video_diffusion.network import is_temporal

EMPTY_CAPTION_SHARE = 0.1  # classifier-free guidance (Ho & Salimans 2022) needs captions left out in training
NOISE_CENTRE = 0.75  # frames that are nearly alike outvote their noise, so outlines are decided later than in a picture
# At the last timestep the usual schedule leaves a fifteenth of the clip in the noise: enough to read the mean colour of
# eight frames from, and where a thing goes. A network that has learned to read it does not ask the text, and in
# sampling there is nothing to read. So the noise has an offset per clip and channel, and is coarse too in every frame.
OFFSET_NOISE, COARSE_NOISE = 0.3, 0.5  # standard deviations
COARSE_CELLS = 8  # latents to a cell of the coarse noise: about as large as a thing
MIN_SNR_GAMMA = 5.0  # arXiv 2303.09556, section 3.4
MOVING_STD = 0.5  # of a scaled latent over time, from which on a place counts as moving


@dataclass(frozen=True)
class VideoCourse:
    """Hyperparameters of a video network's training.

    Args:
        steps: optimizer steps.
        batch: clips at once; ``accumulate`` of these make one step.
        learning_rate: of the temporal layers and the text encoder at its peak; what the base's UNet knew already learns
            at ``known_share`` of it.
        moving_weight: how much more a place counts in the loss where something moves.
        seed: decides the order of the data, the captions and the noise.
    """

    steps: int
    batch: int = 4
    accumulate: int = 1
    learning_rate: float = 1e-3
    known_share: float = 0.3
    moving_weight: float = 2.0
    seed: int = 0


class LossCurve:
    """The loss of every step so far; kept with the state, so that a killed run goes on drawing the same curve."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def state_dict(self) -> dict[str, list[float]]:
        """Return the losses under ``values``."""
        return {"values": list(self.values)}

    def load_state_dict(self, state_dict: dict[str, list[float]]) -> None:
        """Continue a curve that was kept."""
        self.values = list(state_dict["values"])


class CaptionedVideoNetwork(nn.Module):
    """A 3D UNet and its text encoder, which is trained along where its weights require gradients."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """Predict from latents (b, c, f, h, w), timesteps (b,) and token ids (b, tokens), in the latents' shape."""
        states = self.text_encoder(token_ids)[0]
        return self.unet(noisy, timesteps, states).sample


@dataclass(frozen=True)
class Batch:
    """Clips to learn from: ``clean`` scaled latents (b, c, f, h, w) and their ``captions``."""

    clean: torch.Tensor
    captions: list[str]


def draw_batch(clips: LatentClips, count: int, random: np.random.Generator) -> Batch:
    """Draw some clips, each with one of its captions or an empty one."""
    chosen = np.sort(random.choice(len(clips), count, replace=len(clips) < count))
    captions = [
        "" if random.random() < EMPTY_CAPTION_SHARE else str(random.choice(clips.captions[number])) for number in chosen
    ]
    return Batch(as_network_input(torch.from_numpy(clips.latents[chosen]).float()), captions)


def draw_noise(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Draw white noise (b, c, f, h, w) plus offset noise and multi-resolution noise.

    That is an offset per clip and channel, and coarse noise in every frame.
    """
    batch, channels, frames, height, width = shape
    cells = (max(1, height // COARSE_CELLS), max(1, width // COARSE_CELLS))
    offset = torch.randn((batch, channels, 1, 1, 1), generator=generator)
    coarse = torch.randn((batch, channels * frames, *cells), generator=generator)
    coarse = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    white = torch.randn(tuple(shape), generator=generator)
    return white + OFFSET_NOISE * offset + COARSE_NOISE * coarse.reshape(tuple(shape))


def moving_places(clean: torch.Tensor) -> torch.Tensor:
    """Return the amount of change over time at each place, 0 to 1: latents (b, c, f, h, w) to (b, 1, 1, h, w)."""
    change = clean.std(dim=2, correction=0).amax(dim=1, keepdim=True) / MOVING_STD
    return functional.max_pool2d(change.clamp(max=1), 3, stride=1, padding=1)[:, :, None]


def target_and_weight(
    scheduler: DDPMScheduler, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the prediction target of the scheduler's type, of the latents' shape, and each clip's weight, (b,).

    Predicted noise is weighted by min(SNR, 5) / SNR (arXiv 2303.09556, equation 6); velocity needs no weight.
    """
    if scheduler.config.prediction_type == "v_prediction":
        return scheduler.get_velocity(clean, noise, timesteps), torch.ones(len(clean))
    if scheduler.config.prediction_type != "epsilon":
        raise ValueError(f"prediction of {scheduler.config.prediction_type} is not supported")
    kept = scheduler.alphas_cumprod[timesteps]
    ratio = kept / (1 - kept)
    return noise, ratio.clamp(max=MIN_SNR_GAMMA) / ratio


def optimizer_for(network: CaptionedVideoNetwork, course: VideoCourse) -> torch.optim.AdamW:
    """Return AdamW over all trained weights: temporal layers and text at the full rate, the base's UNet at a share."""
    new: list[torch.nn.Parameter] = []
    known: list[torch.nn.Parameter] = []
    for name, value in network.named_parameters():
        if value.requires_grad:
            is_new = name.startswith("text_encoder.") or is_temporal(name.removeprefix("unet."))
            (new if is_new else known).append(value)
    groups = [
        {"params": new, "lr": course.learning_rate},
        {"params": known, "lr": course.learning_rate * course.known_share},
    ]
    return torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.99), fused=True)


@dataclass(frozen=True)
class Teacher:
    """Loss of one batch, drawn from the seed and the batch's number alone.

    ``tokenize`` turns captions into ids (b, tokens); ``scheduler`` adds the noise and decides the prediction's type.
    """

    clips: LatentClips
    tokenize: Callable[[list[str]], torch.Tensor]
    scheduler: DDPMScheduler
    course: VideoCourse
    device: str

    def loss(self, network: nn.Module, number: int, rank: int = 0) -> torch.Tensor:
        """Return the loss of batch ``number`` in process ``rank``, which alone decide clips, captions and noise."""
        batch = draw_batch(self.clips, self.course.batch, np.random.default_rng([self.course.seed, number, rank]))
        drawn = np.random.SeedSequence([self.course.seed, rank, number]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(drawn[0]))
        noise = draw_noise(batch.clean.shape, generator)
        training_timesteps = self.scheduler.config.num_train_timesteps
        timesteps = draw_timesteps(len(noise), training_timesteps, generator, centre=NOISE_CENTRE)
        target, share = target_and_weight(self.scheduler, batch.clean, noise, timesteps)
        weight = share[:, None, None, None, None] * (1 + self.course.moving_weight * moving_places(batch.clean))
        noisy = self.scheduler.add_noise(batch.clean, noise, timesteps).to(self.device)
        with torch.autocast(self.device.partition(":")[0], torch.bfloat16):
            predicted = network(noisy, timesteps.to(self.device), self.tokenize(batch.captions).to(self.device))
        return (weight.to(self.device) * (predicted.float() - target.to(self.device)).square()).mean()


def learn(
    path: Path,
    network: CaptionedVideoNetwork,
    *,
    teacher: Teacher,
    accelerator: Accelerator,
    review: Callable[[CaptionedVideoNetwork, LossCurve], None],
    review_every_s: float = 600.0,
    save_every_s: float = 60.0,
) -> CaptionedVideoNetwork:
    """Train, resuming from ``path``; return a copy with averaged weights.

    ``accelerator`` shares a step among several processes; ``review`` is called now and then, and at the
    end, with the averaged network so far, in the first process alone. Raises UserError where the loss is not finite
    any more, and leaves the last state as it is.
    """
    course, main = teacher.course, accelerator.is_main_process
    average = ExponentialAverage(network, 0.998)
    optimizer = optimizer_for(network, course)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, cosine(course.steps, 0.02, min(200, course.steps // 10 + 1))
    )
    curve = LossCurve()
    shared = accelerator.prepare(network)
    learning = [value for value in network.parameters() if value.requires_grad]

    def step(index: int) -> dict[str, float]:
        total = 0.0
        for part in range(course.accumulate):
            number = index * course.accumulate + part
            loss = teacher.loss(shared, number, accelerator.process_index) / course.accumulate
            accelerator.backward(loss)
            total += loss.item()
        norm = nn.utils.clip_grad_norm_(learning, 1.0)  # of all processes' mean, so that all of them stop together
        if not math.isfinite(total + float(norm)):
            raise UserError(f"the loss is not finite at step {index + 1}: begin anew with a lower --learning-rate")
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        average.update(network)
        curve.values.append(total)
        return {"loss": total}

    def averaged() -> CaptionedVideoNetwork:
        twin = copy.deepcopy(network)
        average.copy_to(twin)
        return twin.eval()

    parts: dict[str, Stateful] = {"network": network, "average": average, "optimizer": optimizer}
    parts |= {"schedule": schedule, "curve": curve}
    watch = (lambda: review(averaged(), curve)) if main else None
    run_steps(
        path,
        course.steps,
        parts,
        step,
        device=teacher.device,
        review=watch,
        review_every_s=review_every_s,
        save_every_s=save_every_s,
        writes=main,
    )
    if main:
        review(averaged(), curve)
    return averaged()


def course_key(course: VideoCourse, *others: str) -> str:
    """Return a short name of exactly this course with these other facts, to which alone a state belongs."""
    return hashlib.blake2b(repr((asdict(course), others)).encode(), digest_size=4).hexdigest()
