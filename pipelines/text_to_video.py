"""Text2Video-Zero: text to video with an image checkpoint (arXiv 2303.13439, sections 3.2 and 3.3)."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import BaseOutput

from errors import Cancelled
from pipelines.attention import cross_frame_attention as frames_attending
from pipelines.denoising import Plan, Predictor, Sampler, Watch, denoise, window_to_indices
from pipelines.motion import motion_field as translation
from pipelines.motion import warp
from pipelines.predictors import text_predictor


@dataclass
class TextToVideoPipelineOutput(BaseOutput):
    """``images``: pictures (frames, height, width, 3), float32 in 0..1 or uint8, or latents (frames, c, h, w);
    ``nsfw_content_detected``: one bool per frame, or None without a safety checker."""

    images: np.ndarray | torch.Tensor
    nsfw_content_detected: list[bool] | None


class TextToVideoPipeline(StableDiffusionPipeline):
    """A Stable Diffusion pipeline whose call makes a video; loads and saves like its parent.

    A drop-in for diffusers' deprecated ``TextToVideoZeroPipeline``: the same arguments and defaults, and equal latents
    from the same CPU generator, with eta 0 and guidance on. (Noise is drawn frame by frame here, which is the
    same as all at once where a frame's latents are a multiple of 16 numbers, as for sides in multiples of 16 pixels.)
    Frame 0 is what ``StableDiffusionPipeline`` draws with the same seed.
    """

    @torch.no_grad()
    def __call__(  # noqa: PLR0913 - the arguments of the class it replaces
        self,
        prompt: str | list[str],
        video_length: int = 8,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_videos_per_prompt: int = 1,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        motion_field_strength_x: float = 12,
        motion_field_strength_y: float = 12,
        output_type: str | None = "tensor",
        return_dict: bool = True,
        callback: Callable[[int, int, torch.Tensor], None] | None = None,
        callback_steps: int = 1,
        t0: int = 44,
        t1: int = 47,
        frame_ids: list[int] | None = None,
        *,
        motion_window: tuple[int, int] | None = None,
        chunk_size: int | None = None,
        cross_frame_attention: bool = True,
        motion_field: bool = True,
        cancel: threading.Event | None = None,
        watch: Watch | None = None,
    ) -> TextToVideoPipelineOutput | tuple:
        """Make a video.

        Args:
            prompt, negative_prompt: one text each (or a list of one).
            video_length: frames.
            height, width: pixels, multiples of 8; the checkpoint's own by default.
            num_inference_steps, guidance_scale, eta: as in Stable Diffusion; guidance is off at 1 and below.
            generator: one generator, best on the CPU. It draws the first frame's noise, then each other frame's.
            latents: the first frame's noise instead, (1, c, height / factor, width / factor).
            motion_field_strength_x, motion_field_strength_y: how far the camera moves to the right and down, in
                512ths of the frame per frame; what is seen moves the other way.
            output_type: ``"latent"`` for latents, ``"uint8"`` for pictures in a quarter of the memory, anything else
                for pictures in 0..1.
            callback: called as ``callback(step, timestep, latents)`` every ``callback_steps`` steps.
            t0, t1: the motion window as step indices counted from the last step, t0 < t1.
            frame_ids: the place in time of every frame, 0 first; ``range(video_length)`` by default.
            motion_window: the window as training timesteps instead, the same for any scheduler and step count.
            chunk_size: frames computed at once; changes memory, never the picture.
            cross_frame_attention, motion_field: switch either half of the method off.
            cancel: set it to stop before the next prediction, with ``Cancelled``.
            watch: called as ``watch(step, frames_done, latents)`` before and after every prediction, and with the
                number of steps as ``step`` while frames are decoded; ``frames_done`` is -1 while the anchor runs
                ahead. Whatever it raises stops the run and leaves nothing behind.

        Raises:
            ValueError: for arguments out of bounds, before anything is computed.
            Cancelled: after ``cancel``.
            FloatingPointError: where latents or pictures are not finite, also after a second try in float32.
        """
        if motion_window is not None and not 0 < motion_window[0] < motion_window[1]:
            raise ValueError(f"motion_window must be (from, to) with 0 < from < to, not {motion_window}")
        if motion_window is None and not 0 <= t0 < t1 < num_inference_steps and motion_field and video_length > 1:
            raise ValueError(f"need 0 <= t0 < t1 < num_inference_steps, not t0={t0}, t1={t1}")
        if video_length < 1 or (chunk_size is not None and chunk_size < 1):
            raise ValueError(f"video_length and chunk_size must be at least 1, not {video_length}, {chunk_size}")
        if num_videos_per_prompt != 1 or (isinstance(prompt, list) and len(prompt) != 1):
            raise ValueError("one prompt and one video at a time")
        frame_ids = list(range(video_length)) if frame_ids is None else frame_ids
        if len(frame_ids) != video_length:
            raise ValueError(f"{len(frame_ids)} frame_ids for {video_length} frames")
        if isinstance(generator, list):
            if len(generator) != 1:
                raise ValueError("one generator per video")
            generator = generator[0]
        height = height or self.unet.config.sample_size * self.vae_scale_factor
        width = width or self.unet.config.sample_size * self.vae_scale_factor
        self.check_inputs(prompt, height, width, callback_steps)

        device = self._execution_device
        embeddings = self.encode_branches(prompt, negative_prompt, guidance_scale, device)
        shape = (1, self.unet.config.in_channels, height // self.vae_scale_factor, width // self.vae_scale_factor)
        noise = VideoNoise(shape, generator, latents, device)
        sampler = Sampler(self.scheduler, num_inference_steps, device, noise.frame_generators(video_length), eta)
        predict = text_predictor(self.unet, embeddings, guidance_scale)
        window = (len(sampler.timesteps) - t1 - 1, len(sampler.timesteps) - t0 - 1)
        if motion_window is not None:
            window = window_to_indices(sampler.timesteps, motion_window)

        with (
            self.progress_bar(total=len(sampler.timesteps)) as progress,
            frames_attending(self.unet, branches=len(embeddings), enabled=cross_frame_attention) as anchor,
        ):

            def observe(step: int, frames_done: int, latents: torch.Tensor) -> None:
                if cancel is not None and cancel.is_set():
                    raise Cancelled
                if watch is not None:
                    watch(step, frames_done, latents)
                if frames_done == len(latents):
                    progress.update()
                    if callback is not None and step % callback_steps == 0:
                        callback(step, int(sampler.timesteps[step]), latents)

            plan = Plan(anchor, chunk_size, observe)
            if motion_field and video_length > 1:
                shifts = translation(max(frame_ids) + 1, motion_field_strength_x, motion_field_strength_y)[frame_ids]
                video = denoise_with_motion(predict, sampler, noise, Motion(shifts, *window), plan)
            else:
                start = torch.cat([noise.anchor, noise.draw(video_length - 1)]) * sampler.init_noise_sigma
                sampler.join(0)
                video = denoise(predict, sampler, start, range(len(sampler.timesteps)), plan)

        if not video.isfinite().all():
            raise FloatingPointError("the latents are not finite")
        images: np.ndarray | torch.Tensor = video
        nsfw = None
        if output_type != "latent":
            decoding = None if watch is None else lambda frame: watch(len(sampler.timesteps), frame, video)
            images, nsfw = self.decode_frames(video, decoding, as_uint8=output_type == "uint8")
        self.maybe_free_model_hooks()
        if not return_dict:
            return images, nsfw
        return TextToVideoPipelineOutput(images=images, nsfw_content_detected=nsfw)

    def encode_branches(
        self, prompt: str | list[str], negative_prompt: str | list[str] | None, guidance_scale: float, device: Any
    ) -> torch.Tensor:
        """Text embeddings of every guidance branch: (branches, tokens, channels), unconditional first."""
        guided = guidance_scale > 1
        with_text, without = self.encode_prompt(_listed(prompt), device, 1, guided, _listed(negative_prompt))
        return torch.cat([without, with_text]) if guided else with_text

    @torch.no_grad()
    def decode_frames(
        self,
        latents: torch.Tensor,
        before_each: Callable[[int], None] | None = None,
        *,
        as_uint8: bool = False,
    ) -> tuple[np.ndarray, list[bool] | None]:
        """Pictures of latents, one frame at a time: (frames, height, width, 3), float32 in 0..1 or uint8; and, with a
        safety checker, which frames it blacked out. Where the autoencoder overflows in half precision, the rest is
        decoded in float32. ``before_each`` is called with each frame's number."""
        images: list[np.ndarray] = []
        nsfw: list[bool] = []
        dtype = self.vae.dtype
        try:
            for index, frame in enumerate(latents):
                if before_each is not None:
                    before_each(index)
                decoded = self.decode_frame(frame)
                if not decoded.isfinite().all():
                    self.vae.float()
                    decoded = self.decode_frame(frame)
                if not decoded.isfinite().all():
                    raise FloatingPointError("the decoded pictures are not finite")
                picture = self.image_processor.postprocess(decoded, output_type="np")
                if self.safety_checker is not None:
                    picture, flags = self.run_safety_checker(picture, self._execution_device, self.unet.dtype)
                    nsfw += flags
                images.append(np.rint(picture * 255).astype(np.uint8) if as_uint8 else picture)
        finally:
            self.vae.to(dtype)
        return np.concatenate(images), nsfw if self.safety_checker is not None else None

    def decode_frame(self, latents: torch.Tensor) -> torch.Tensor:
        """One frame's latents (c, h, w) to pixels, float32 (1, 3, height, width) in about -1..1."""
        scaled = latents[None].to(self.vae.dtype) / self.vae.config.scaling_factor
        return self.vae.decode(scaled, return_dict=False)[0].float()


class VideoNoise:
    """The noise of one video, all from one generator: the anchor's first, then each other frame's in their order.

    In float32 whatever the model's precision, so that a seed means the same picture on every device.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        generator: torch.Generator | None,
        anchor: torch.Tensor | None,
        device: Any,
    ) -> None:
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        if anchor is not None and tuple(anchor.shape) != shape:
            raise ValueError(f"latents must be {shape}, not {tuple(anchor.shape)}")
        self.shape, self.generator, self.device = shape, generator, device
        self.anchor = self.draw(1) if anchor is None else anchor.to(device, torch.float32)
        self.after_anchor = generator.get_state()

    def draw(self, frames: int) -> torch.Tensor:
        """The noise of the next frames: float32 (frames, c, h, w)."""
        drawn = [torch.randn(self.shape, generator=self.generator, device=self.generator.device) for _ in range(frames)]
        return torch.cat(drawn or [torch.empty(0, *self.shape[1:])]).to(self.device)

    def frame_generators(self, frames: int) -> list[torch.Generator]:
        """A generator for each frame's random steps: the anchor's goes on where its noise ended, as for a still
        image; the others are seeded by that state and their number, so none depends on how many follow."""
        generators = [torch.Generator(self.generator.device) for _ in range(frames)]
        generators[0].set_state(self.after_anchor)
        state = self.after_anchor.numpy().tobytes()
        for frame, generator in enumerate(generators[1:], 1):
            digest = hashlib.blake2b(state + frame.to_bytes(4, "little"), digest_size=8).digest()
            generator.manual_seed(int.from_bytes(digest, "little") >> 1)
        return generators


@dataclass(frozen=True)
class Motion:
    """Where each frame looks, (frames, 2) as ``motion.motion_field`` gives it, and between which steps of the
    sampler the frames after the anchor come into being: T at ``start`` and T' at ``end``."""

    shifts: torch.Tensor
    start: int
    end: int


def denoise_with_motion(
    predict: Predictor, sampler: Sampler, noise: VideoNoise, motion: Motion, plan: Plan
) -> torch.Tensor:
    """Algorithm 1 of the paper: latents of all frames, (frames, c, h, w).

    The anchor alone goes from pure noise to T and on to T'; the other frames are its latents there, moved, and taken
    back to T with noise of their own. From there on all are denoised together, the anchor from its own latents at
    T, so that it is the still picture.
    """
    start, end, last = motion.start, motion.end, len(sampler.timesteps)
    silent = replace(plan, watch=lambda step, _, latents: plan.watch(step, -1, latents))  # this work is done twice
    latents = denoise(predict, sampler, noise.anchor * sampler.init_noise_sigma, range(start), plan)
    ahead = denoise(predict, sampler.ahead(), latents, range(start, end), silent)
    others = warp(ahead.expand(len(motion.shifts) - 1, -1, -1, -1), motion.shifts[1:])
    sampler.join(start)
    together = torch.cat([latents, sampler.renoise(others, noise.draw(len(others)), start, end)])
    return denoise(predict, sampler, together, range(start, last), plan)


def _listed(text: str | list[str] | None) -> list[str] | None:
    return [text] if isinstance(text, str) else text
