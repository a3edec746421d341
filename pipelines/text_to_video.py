"""Text2Video-Zero: text to video with an image checkpoint (arXiv 2303.13439, sections 3.2 and 3.3)."""

import threading
from collections.abc import Callable

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from pipelines.denoising import Sampler, Watch, denoise, window_to_indices
from pipelines.motion import motion_field as translation
from pipelines.predictors import text_predictor
from pipelines.video import (
    Motion,
    RunOptions,
    VideoNoise,
    VideoPipelineMixin,
    VideoPipelineOutput,
    denoise_with_motion,
    one_generator,
)


class TextToVideoPipeline(VideoPipelineMixin, StableDiffusionPipeline):
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
        first_frame: np.ndarray | None = None,
        cancel: threading.Event | None = None,
        watch: Watch | None = None,
        options: RunOptions | None = None,
    ) -> VideoPipelineOutput | tuple:
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
            motion_field, cross_frame_attention: switch either half of the method off.
            first_frame: what frame 0 is, uint8 (height, width, 3); the others begin at the end of the motion window as
                this picture, noised that far, and follow it.
            chunk_size, cancel, watch: see ``RunOptions``.
            options: these and ``cross_frame_attention`` and ``callback`` in one.

        Raises:
            ValueError: for arguments out of bounds, before anything is computed.
            Cancelled: after ``cancel``.
            FloatingPointError: where latents or pictures are not finite, also after a second try in float32.
        """
        if motion_window is not None and not 0 < motion_window[0] < motion_window[1]:
            raise ValueError(f"motion_window must be (from, to) with 0 < from < to, not {motion_window}")
        moving = (motion_field or first_frame is not None) and video_length > 1
        if moving and motion_window is None and not 0 <= t0 < t1 < num_inference_steps:
            raise ValueError(f"need 0 <= t0 < t1 < num_inference_steps, not t0={t0}, t1={t1}")
        if video_length < 1:
            raise ValueError(f"video_length must be at least 1, not {video_length}")
        if num_videos_per_prompt != 1 or (isinstance(prompt, list) and len(prompt) != 1):
            raise ValueError("one prompt and one video at a time")
        frame_ids = list(range(video_length)) if frame_ids is None else frame_ids
        if len(frame_ids) != video_length:
            raise ValueError(f"{len(frame_ids)} frame_ids for {video_length} frames")
        options = options or RunOptions(chunk_size, cross_frame_attention, cancel, watch, callback, callback_steps)
        height = height or self.unet.config.sample_size * self.vae_scale_factor
        width = width or self.unet.config.sample_size * self.vae_scale_factor
        self.check_inputs(prompt, height, width, callback_steps)

        device = self._execution_device
        embeddings = self.encode_branches(prompt, negative_prompt, guidance_scale, device)
        noise = VideoNoise(self.latent_shape(height, width), one_generator(generator), latents, device)
        sampler = Sampler(self.scheduler, num_inference_steps, device, noise.frame_generators(video_length), eta)
        predict = text_predictor(self.unet, embeddings, guidance_scale)
        window = (len(sampler.timesteps) - t1 - 1, len(sampler.timesteps) - t0 - 1)
        if motion_window is not None:
            window = window_to_indices(sampler.timesteps, motion_window)

        if first_frame is not None:
            sampler.pin(self.encode_first_frame(first_frame, height, width), noise.anchor)
        shifts = translation(max(frame_ids) + 1, motion_field_strength_x, motion_field_strength_y)[frame_ids]

        with self.loop(self.unet, branches=len(embeddings), sampler=sampler, options=options) as plan:
            if moving:
                motion = Motion(shifts if motion_field else torch.zeros_like(shifts), *window)
                video = denoise_with_motion(predict, sampler, noise, motion, plan)
            else:
                start = torch.cat([noise.anchor, noise.draw(video_length - 1)]) * sampler.init_noise_sigma
                sampler.join(0)
                video = denoise(predict, sampler, start, range(len(sampler.timesteps)), plan)

        output = self.finish(video, sampler, options.watch, output_type)
        return output if return_dict else (output.images, output.nsfw_content_detected)
