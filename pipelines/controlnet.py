"""Controlled video: a ControlNet steers every frame, all look at the first (arXiv 2303.13439, section 3.4)."""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import StableDiffusionControlNetPipeline

from pipelines.denoising import Sampler, denoise, window_to_indices
from pipelines.motion import motion_field
from pipelines.noise import VideoNoise, one_generator
from pipelines.predictors import Control, control_predictor
from pipelines.video import (
    Motion,
    RunOptions,
    VideoPipelineMixin,
    VideoPipelineOutput,
    check_video,
    denoise_with_motion,
)


class ControlledVideoPipeline(VideoPipelineMixin, StableDiffusionControlNetPipeline):
    """A Stable Diffusion pipeline with a ControlNet whose call makes a video that follows a control video.

    Without motion or a first frame its latents are those of ``StableDiffusionControlNetPipeline`` with diffusers'
    ``CrossFrameAttnProcessor`` on both networks and the first frame's noise for every frame.
    """

    @torch.no_grad()
    def __call__(  # noqa: PLR0913 - the arguments of the class it stands for
        self,
        prompt: str | list[str],
        image: np.ndarray,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str | None = "np",
        return_dict: bool = True,
        controlnet_conditioning_scale: float = 1.0,
        control_guidance_start: float = 0.0,
        control_guidance_end: float = 1.0,
        *,
        motion_field_strength_x: float = 0.0,
        motion_field_strength_y: float = 0.0,
        motion_window: tuple[int, int] | None = None,
        first_frame: np.ndarray | None = None,
        frame_prompts: Sequence[str] | None = None,
        options: RunOptions | None = None,
    ) -> VideoPipelineOutput | tuple:
        """Make a video.

        Args:
            prompt, negative_prompt: one text each (or a list of one).
            image: the control video, uint8 (frames, height, width, 3), sides multiples of 8.
            num_inference_steps, guidance_scale, eta: as in Stable Diffusion; guidance is off at 1 and below.
            generator: one generator, best on the CPU; it draws the one noise that every frame starts from (with a
                motion window: the anchor's, then each other frame's).
            latents: that noise instead, (1, c, height / factor, width / factor).
            output_type: as in ``TextToVideoPipeline``.
            controlnet_conditioning_scale: how strongly the control steers.
            control_guidance_start, control_guidance_end: between which shares of the steps it steers.
            motion_window: motion in the latents on top, between these training timesteps, by the two strengths (512ths
                of the frame per frame, of the camera, as in ``TextToVideoPipeline``); none by default.
            first_frame: what frame 0 is, uint8 (height, width, 3); wants a ``motion_window``, at whose end the
                others begin as this picture, noised that far.
            frame_prompts: a text for each frame instead of ``prompt``, as in ``TextToVideoPipeline``.
            options: see ``RunOptions``.

        Raises:
            ValueError: for arguments out of bounds, before anything is computed.
            Cancelled, FloatingPointError: as ``TextToVideoPipeline``.
        """
        frames, height, width = check_video(prompt, image)
        if not 0 <= control_guidance_start <= control_guidance_end <= 1:
            raise ValueError("need 0 <= control_guidance_start <= control_guidance_end <= 1")
        if first_frame is not None and motion_window is None:
            raise ValueError("first_frame wants a motion_window")
        if frame_prompts is not None and len(frame_prompts) != frames:
            raise ValueError(f"{len(frame_prompts)} frame_prompts for {frames} frames")
        options = options or RunOptions()

        device = self._execution_device
        embeddings = self.encode_frames(prompt, frame_prompts, negative_prompt, guidance_scale)
        noise = VideoNoise(self.latent_shape(height, width), one_generator(generator), latents, device)
        # With motion the frames begin apart, and their steps must not repeat the noise that set them apart.
        alike = motion_window is None or frames == 1
        sampler = Sampler(self.scheduler, num_inference_steps, device, noise.frame_generators(frames, alike=alike), eta)
        control = Control(
            torch.from_numpy(np.ascontiguousarray(image)).permute(0, 3, 1, 2),
            controlnet_conditioning_scale,
            steered(sampler.timesteps, control_guidance_start, control_guidance_end),
        )
        predict = control_predictor(self.unet, self.controlnet, embeddings, self.guidance(guidance_scale), control)
        if first_frame is not None:
            sampler.pin(self.encode_first_frame(first_frame, height, width), noise.anchor)

        networks = (self.unet, self.controlnet)
        with self.loop(*networks, branches=len(embeddings), sampler=sampler, options=options) as plan:
            if motion_window is not None and frames > 1:
                shifts = motion_field(frames, motion_field_strength_x, motion_field_strength_y)
                motion = Motion(shifts, *window_to_indices(sampler.timesteps, motion_window))
                video = denoise_with_motion(predict, sampler, noise, motion, plan)
            else:
                start = noise.start(frames, shared=True) * sampler.init_noise_sigma
                sampler.join(0)
                video = denoise(predict, sampler, start, range(len(sampler.timesteps)), plan)
        output = self.finish(video, sampler, options.watch, output_type)
        return output if return_dict else (output.images, output.nsfw_content_detected)


def steered(timesteps: torch.Tensor, start: float, end: float) -> frozenset[float]:
    """The timesteps of those steps that lie wholly between two shares of all steps, as diffusers counts them. (Karras'
    spacing can repeat a timestep in late steps; such twins are steered alike.)"""
    count = len(timesteps)
    return frozenset(
        float(timestep)
        for index, timestep in enumerate(timesteps)
        if not (index / count < start or (index + 1) / count > end)
    )
