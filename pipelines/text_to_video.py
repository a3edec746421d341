"""Text2Video-Zero: text to video with an image checkpoint (arXiv 2303.13439, sections 3.2 and 3.3)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import BaseOutput

from pipelines.attention import cross_frame_attention
from pipelines.denoising import Sampler, Watch, denoise, frame_generators, window_to_indices
from pipelines.motion import motion_field as translation
from pipelines.motion import warp
from pipelines.predictors import text_predictor


@dataclass
class TextToVideoPipelineOutput(BaseOutput):
    """``images``: float32 (frames, height, width, 3) in 0..1, or latents (frames, c, h, w) for ``output_type="latent"``;
    ``nsfw_content_detected``: one bool per frame, or None without a safety checker."""

    images: np.ndarray | torch.Tensor
    nsfw_content_detected: list[bool] | None


class TextToVideoPipeline(StableDiffusionPipeline):
    """A Stable Diffusion pipeline whose call makes a video; loads and saves like its parent.

    A drop-in for diffusers' deprecated ``TextToVideoZeroPipeline``: the same arguments, defaults and latents.
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
            output_type: ``"latent"`` for latents, anything else for pictures.
            callback: called as ``callback(step, timestep, latents)`` every ``callback_steps`` steps.
            t0, t1: the motion window as step indices counted from the last step, t0 < t1.
            frame_ids: the place in time of every frame, 0 first; ``range(video_length)`` by default.
            motion_window: the window as training timesteps instead, the same for any scheduler and step count.
            chunk_size: frames computed at once; changes memory, never the picture.
            cross_frame_attention, motion_field: switch either half of the method off.
            watch: called as ``watch(step, frames_done, latents)`` before and after every prediction, and with the
                number of steps as ``step`` while frames are decoded; ``frames_done`` is -1 while the anchor runs
                ahead. Whatever it raises stops the run and leaves nothing behind.

        Raises:
            ValueError: for arguments out of bounds, before anything is computed.
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
        prompt, negative_prompt = _listed(prompt), _listed(negative_prompt)
        self.check_inputs(prompt, height, width, callback_steps, negative_prompt)

        device = self._execution_device
        embeddings = self.encode_branches(prompt, negative_prompt, guidance_scale, device)
        anchor_noise, generators, draw = self.prepare_noise(generator, latents, height, width, video_length, device)
        sampler = Sampler(self.scheduler, num_inference_steps, device, generators, eta)
        predict = text_predictor(self.unet, embeddings, guidance_scale)
        window = (num_inference_steps - t1 - 1, num_inference_steps - t0 - 1)
        if motion_window is not None:
            window = window_to_indices(sampler.timesteps, motion_window)

        with self.progress_bar(total=len(sampler.timesteps)) as progress:

            def observe(step: int, frames_done: int, latents: torch.Tensor) -> None:
                if watch is not None:
                    watch(step, frames_done, latents)
                if frames_done == len(latents):
                    progress.update()
                    if callback is not None and step % callback_steps == 0:
                        callback(step, int(sampler.timesteps[step]), latents)

            with self._patched(len(embeddings), cross_frame_attention) as anchor:
                run = {"anchor": anchor, "chunk_size": chunk_size, "watch": observe}
                if motion_field and video_length > 1:
                    shifts = translation(max(frame_ids) + 1, motion_field_strength_x, motion_field_strength_y)
                    video = self.denoise_with_motion(predict, sampler, anchor_noise, draw, shifts[frame_ids], window, run)
                else:
                    noise = torch.cat([anchor_noise, *(draw() for _ in range(video_length - 1))])
                    sampler.join(0)
                    video = denoise(
                        predict, sampler, noise * sampler.init_noise_sigma, range(len(sampler.timesteps)), **run
                    )

        if not video.isfinite().all():
            raise FloatingPointError("the latents are not finite")
        images, nsfw = video, None
        if output_type != "latent":
            decoding = None if watch is None else lambda frame: watch(len(sampler.timesteps), frame, video)
            images, nsfw = self.decode_frames(video, decoding)
        self.maybe_free_model_hooks()
        if not return_dict:
            return images, nsfw
        return TextToVideoPipelineOutput(images=images, nsfw_content_detected=nsfw)

    def _patched(self, branches: int, enabled: bool):
        return cross_frame_attention(self.unet, branches=branches, enabled=enabled)

    def encode_branches(
        self, prompt: list[str], negative_prompt: list[str] | None, guidance_scale: float, device: Any
    ) -> torch.Tensor:
        """Text embeddings of every guidance branch: (branches, tokens, channels), unconditional first."""
        guided = guidance_scale > 1
        with_text, without = self.encode_prompt(prompt, device, 1, guided, negative_prompt)
        return torch.cat([without, with_text]) if guided else with_text

    def prepare_noise(
        self,
        generator: torch.Generator | None,
        latents: torch.Tensor | None,
        height: int,
        width: int,
        frames: int,
        device: Any,
    ) -> tuple[torch.Tensor, list[torch.Generator], Callable[[], torch.Tensor]]:
        """The anchor's noise, each frame's generator for stochastic schedulers, and a function that draws the
        next frame's noise. All in float32, from one generator: anchor first, then frame by frame."""
        shape = (1, self.unet.config.in_channels, height // self.vae_scale_factor, width // self.vae_scale_factor)
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        if latents is not None and tuple(latents.shape) != shape:
            raise ValueError(f"latents must be {shape}, not {tuple(latents.shape)}")

        def draw() -> torch.Tensor:
            # In the model's precision, then float32: the numbers diffusers draws from the same seed.
            drawn = torch.randn(shape, generator=generator, device=generator.device, dtype=self.unet.dtype)
            return drawn.to(device, torch.float32)

        anchor = draw() if latents is None else latents.to(device, torch.float32)
        return anchor, frame_generators(generator, frames), draw

    def denoise_with_motion(
        self,
        predict: Callable,
        sampler: Sampler,
        anchor_noise: torch.Tensor,
        draw: Callable[[], torch.Tensor],
        shifts: torch.Tensor,
        window: tuple[int, int],
        run: dict[str, Any],
    ) -> torch.Tensor:
        """Algorithm 1 of the paper: latents of all frames, (frames, c, h, w).

        The anchor alone goes from T to T' = window[1]; the other frames are its latents there, moved by
        ``shifts``, and taken back to window[0] with noise of their own. From there on all are denoised together,
        the anchor from its own latents at window[0], so that it is the still picture.
        """
        start, end = window
        last = len(sampler.timesteps)
        silent = run | {"watch": _without_progress(run["watch"])}
        latents = denoise(predict, sampler, anchor_noise * sampler.init_noise_sigma, range(start), **run)
        moved = denoise(predict, sampler.ahead(), latents, range(start, end), **silent)
        others = warp(moved.expand(len(shifts) - 1, -1, -1, -1), shifts[1:])
        noise = torch.cat([draw() for _ in range(len(others))])
        sampler.join(start)
        together = torch.cat([latents, sampler.renoise(others, noise, start, end)])
        return denoise(predict, sampler, together, range(start, last), **run)

    @torch.no_grad()
    def decode_frames(
        self, latents: torch.Tensor, before_each: Callable[[int], None] | None = None
    ) -> tuple[np.ndarray, list[bool] | None]:
        """Pictures of latents, one frame at a time: float32 (frames, height, width, 3) in 0..1; and, with a safety
        checker, which frames it blacked out. Where the autoencoder overflows in half precision, it is lifted to
        float32 for good. ``before_each`` is called with each frame's number."""
        images, nsfw = [], []
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
            images.append(picture)
        return np.concatenate(images), nsfw if self.safety_checker is not None else None

    def decode_frame(self, latents: torch.Tensor) -> torch.Tensor:
        """One frame's latents (c, h, w) to pixels, float32 (1, 3, height, width) in about -1..1."""
        scaled = latents[None].to(self.vae.dtype) / self.vae.config.scaling_factor
        return self.vae.decode(scaled, return_dict=False)[0].float()


def _listed(text: str | list[str] | None) -> list[str] | None:
    return [text] if isinstance(text, str) else text


def _without_progress(watch: Watch) -> Watch:
    """The same watch, never told that a step is done: for work that is repeated later."""
    return lambda step, _, latents: watch(step, -1, latents)
