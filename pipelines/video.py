"""Parts that the pipelines of all modes share: watching a run, guidance, prompts by frame, motion and the output."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL.Image import Image

from errors import Cancelled
from pipelines.arguments import check_count
from pipelines.attention import CrossFrame, cross_frame_attention
from pipelines.autoencoding import FrameAutoencodingMixin
from pipelines.denoising import Plan, Predictor, Sampler, Watch, denoise
from pipelines.motion import warp
from pipelines.noise import VideoNoise
from pipelines.predictors import Guidance
from pipelines.prompt_blending import blend_prompts
from pipelines.prompt_weights import as_weighted, weigh_branches


@dataclass
class VideoPipelineOutput(BaseOutput):
    """``images``: pictures (frames, height, width, 3), float32 in 0..1 or uint8, a tensor (frames, 3, height, width) or
    a list of them; or latents (frames, c, h, w). ``nsfw_content_detected``: one bool per frame, or None without a
    safety checker."""

    images: np.ndarray | torch.Tensor | list[Image]
    nsfw_content_detected: list[bool] | None

    @property
    def frames(self) -> np.ndarray | torch.Tensor | list[Image]:
        """The pictures, under the name that diffusers' video pipelines give them."""
        return self.images


@dataclass(frozen=True)
class RunOptions:
    """Options of carrying out and watching a run; the picture depends on ``attention`` and ``weighted_prompts`` alone.

    ``chunk_size``: frames computed at once (all by default); changes memory, never the picture.
    ``attention``: how frames attend to each other.
    ``weighted_prompts``: texts have weights as A1111 writes them (prompt_weights.py); else a bracket is a bracket.
    ``cancel``: set it to stop before the next prediction, with ``Cancelled``.
    ``watch``: called as ``watch(step, frames_done, latents)`` before and after every prediction, and with the number
    of steps as ``step`` while frames are decoded; ``frames_done`` is -1 while a source is encoded and while the anchor
    runs ahead. Whatever it raises stops the run and leaves nothing behind.
    ``callback``: called as ``callback(step, timestep, latents)`` every ``callback_steps`` steps.
    """

    chunk_size: int | None = None
    attention: CrossFrame = field(default_factory=CrossFrame)
    cancel: threading.Event | None = None
    watch: Watch | None = None
    callback: Callable[[int, int, torch.Tensor], None] | None = None
    callback_steps: int = 1
    weighted_prompts: bool = False

    def __post_init__(self) -> None:
        check_count(callback_steps=self.callback_steps)
        if self.chunk_size is not None:
            check_count(chunk_size=self.chunk_size)

    def look(self) -> None:
        """See before the first step whether to go on."""
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled
        if self.watch is not None:
            self.watch(0, -1, torch.empty(0))


class VideoPipelineMixin(FrameAutoencodingMixin):
    """For a diffusers pipeline with a ``unet`` and a ``vae``: the loop's surroundings.

    ``draws_together`` says that the network sees all frames at once, whatever the chunk size; ``usual_sample_size`` is
    the side of the latents where the UNet does not say it; ``saved_as`` is the class of diffusers that folders are
    written for, where that is not the ancestor.
    """

    draws_together: ClassVar[bool] = False
    usual_sample_size: ClassVar[int] = 64
    saved_as: ClassVar[str | None] = None
    scheduler: Any

    def to_json_string(self) -> str:
        """Return the index of a folder, which names the class of diffusers that this one extends: whatever reads its
        folders reads these."""
        index = json.loads(super().to_json_string())  # type: ignore[misc]
        ancestors = (kind.__name__ for kind in type(self).__mro__ if kind.__module__.startswith("diffusers."))
        index["_class_name"] = self.saved_as or next(ancestors)
        return json.dumps(index, indent=2, sort_keys=True) + "\n"

    def own_size_px(self) -> tuple[int, int]:
        """Width and height of the pictures that the checkpoint was trained on."""
        sample_size = self.unet.config.sample_size or self.usual_sample_size
        height, width = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
        return width * self.vae_scale_factor, height * self.vae_scale_factor  # type: ignore[attr-defined]

    def own_side_px(self) -> int:
        """The shorter side of the pictures that the checkpoint was trained on."""
        return min(self.own_size_px())

    @contextmanager
    def loop(
        self,
        *networks: Any,
        branches: int,
        sampler: Sampler,
        options: RunOptions,
        text_branch: int = -1,
        chunked: bool = True,
    ) -> Iterator[Plan]:
        """Inside: frames attend to the anchor in all ``networks``, a progress bar runs, and the plan can be used. Of
        the guidance branches ``text_branch`` has the text; not ``chunked`` computes all frames at once."""
        with (
            self.progress_bar(total=len(sampler.timesteps)) as progress,  # type: ignore[attr-defined]
            cross_frame_attention(
                *networks, branches=branches, options=options.attention, text_branch=text_branch
            ) as anchor,
        ):

            def observe(step: int, frames_done: int, latents: torch.Tensor) -> None:
                if options.cancel is not None and options.cancel.is_set():
                    raise Cancelled
                if options.watch is not None:
                    options.watch(step, frames_done, latents)
                if frames_done == len(latents):
                    progress.update()
                    if options.callback is not None and step % options.callback_steps == 0:
                        options.callback(step, int(sampler.timesteps[step]), latents)

            yield Plan(anchor, options.chunk_size if chunked else None, observe)

    def finish(
        self, video: torch.Tensor, sampler: Sampler, watch: Watch | None, output_type: str | None
    ) -> VideoPipelineOutput:
        """Latents (frames, c, h, w) as they were asked for; raises FloatingPointError where they are not finite."""
        if not video.isfinite().all():
            raise FloatingPointError("the latents are not finite")
        images: np.ndarray | torch.Tensor | list[Image] = video
        nsfw = None
        if output_type != "latent":
            decoding = None if watch is None else lambda frame: watch(len(sampler.timesteps), frame, video)
            pictures, nsfw = self.decode_frames(
                video, decoding, as_uint8=output_type == "uint8", generators=sampler.generators
            )
            images = self.as_output_type(pictures, output_type)
        self.maybe_free_model_hooks()  # type: ignore[attr-defined]
        return VideoPipelineOutput(images=images, nsfw_content_detected=nsfw)

    def as_output_type(self, pictures: np.ndarray, output_type: str | None) -> np.ndarray | torch.Tensor | list[Image]:
        """Pictures (frames, height, width, 3) as diffusers gives them: ``"pil"`` a list of pictures, ``"pt"`` a tensor
        (frames, 3, height, width), anything else as they are."""
        if output_type == "pil":
            return self.image_processor.numpy_to_pil(pictures)
        return self.image_processor.numpy_to_pt(pictures) if output_type == "pt" else pictures

    def is_guided(self, guidance_scale: float) -> bool:
        """Return whether classifier-free guidance runs; not at 1 and below, nor with a UNet that was distilled with it
        and takes the scale as an embedding (Meng et al. 2023, arXiv 2210.03142; latent consistency models)."""
        return guidance_scale > 1 and self.unet.config.time_cond_proj_dim is None

    def guidance(self, guidance_scale: float, guidance_rescale: float = 0.0) -> Guidance:
        """Guidance as the UNet takes it."""
        channels = self.unet.config.time_cond_proj_dim
        if channels is None:
            return Guidance(guidance_scale, guidance_rescale)
        scale = torch.tensor([guidance_scale - 1])  # as latent consistency models count it: 0 is none
        embedding = self.get_guidance_scale_embedding(scale, embedding_dim=channels)  # type: ignore[attr-defined]
        return Guidance(guidance_scale, guidance_rescale, embedding.to(self._execution_device))

    def encode_branches(
        self,
        prompt: str | list[str],
        negative_prompt: str | list[str] | None,
        guidance_scale: float,
        *,
        weighted: bool = False,
    ) -> torch.Tensor:
        """Text embeddings of every guidance branch: (branches, tokens, channels), unconditional first."""
        guided = self.is_guided(guidance_scale)
        text, negative = (as_weighted(each, weighted=weighted) for each in (prompt, negative_prompt))
        with_text, without = self.encode_prompt(  # type: ignore[attr-defined]
            listed(text.text), self._execution_device, 1, guided, listed(negative.text)
        )
        both = torch.cat([without, with_text]) if guided else with_text
        return weigh_branches(both, [negative, text] if guided else [text], self.tokenizer)  # type: ignore[attr-defined]

    def encode_frames(
        self,
        prompt: str | list[str],
        frame_prompts: Sequence[str] | None,
        negative_prompt: str | list[str] | None,
        guidance_scale: float,
        *,
        weighted: bool = False,
    ) -> torch.Tensor:
        """Text embeddings of every guidance branch, unconditional first: (branches, tokens, channels) of the prompt, or
        (branches, frames, tokens, channels) of each frame's own, blended where there is none."""

        def encode(text: str | list[str]) -> torch.Tensor:
            return self.encode_branches(text, negative_prompt, guidance_scale, weighted=weighted)

        if frame_prompts is None:
            return encode(prompt)
        return blended(frame_prompts, {text: encode(text) for text in {text for text in frame_prompts if text}})


@dataclass(frozen=True)
class Motion:
    """Motion of a video: ``shifts`` (frames, 2) as ``motion.motion_field`` gives them, and the steps of the sampler
    between which the frames after the anchor come into being, T at ``start`` and T' at ``end``."""

    shifts: torch.Tensor
    start: int
    end: int


def denoise_with_motion(
    predict: Predictor, sampler: Sampler, noise: VideoNoise, motion: Motion, plan: Plan
) -> torch.Tensor:
    """Algorithm 1 of the paper: latents of all frames, (frames, c, h, w).

    The anchor alone goes from pure noise to T and on to T'; the other frames are its latents there, moved, and taken
    back to T with noise of their own. From there on all are denoised together, the anchor from its own latents at
    T, so that it is the still picture. A pinned anchor needs no going: it is known at every step.
    """
    start, end, last = motion.start, motion.end, len(sampler.timesteps)
    if sampler.pinned is not None:
        latents, ahead, apart = sampler.pinned(start), sampler.pinned(end), None
    else:
        silent = replace(plan, watch=lambda step, _, latents: plan.watch(step, -1, latents))  # this work is done twice
        latents = denoise(predict, sampler, noise.anchor * sampler.init_noise_sigma, range(start), plan)
        anchor_ahead = sampler.ahead()
        ahead = denoise(predict, anchor_ahead, latents, range(start, end), silent)
        apart = sampler.generators if anchor_ahead.drew_since(noise.after_anchor) else None
    others = warp(ahead.expand(len(motion.shifts) - 1, -1, -1, -1), motion.shifts[1:])
    sampler.join(start)
    together = torch.cat([latents, sampler.renoise(others, noise.draw(len(others), apart), start, end)])
    return denoise(predict, sampler, together, range(start, last), plan)


def blended(frame_prompts: Sequence[str], encoded: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Blend what is encoded of each text, (branches, ...), for each frame: (branches, frames, ...)."""
    frames = []
    for moment in blend_prompts(frame_prompts):
        before, after = (encoded[frame_prompts[frame]] for frame in (moment.before, moment.after))
        frames.append(before.lerp(after, moment.share))
    return torch.stack(frames, 1)


def listed(text: str | list[str] | None) -> list[str] | None:
    """One text as a list of one."""
    return [text] if isinstance(text, str) else text
