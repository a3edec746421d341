"""Controlled video: a ControlNet steers every frame, all look at the first (arXiv 2303.13439, section 3.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionControlNetPipeline

from pipelines.arguments import check_count, check_finite, check_frame_prompts, check_one, check_video
from pipelines.denoising import Sampler, denoise
from pipelines.motion import motion_field
from pipelines.noise import VideoNoise, one_generator
from pipelines.predictors import Control, control_predictor
from pipelines.video import (
    Motion,
    RunOptions,
    VideoPipelineMixin,
    VideoPipelineOutput,
    denoise_with_motion,
)


@dataclass(frozen=True)
class Steering:
    """One ControlNet and what it is asked for: its video uint8 (frames, height, width, 3), how strongly it steers, and
    between which shares of the steps. Raises ValueError for values out of bounds."""

    network: Any
    video: np.ndarray
    scale: float
    start: float
    end: float

    def __post_init__(self) -> None:
        check_video(self.video)
        check_finite(controlnet_conditioning_scale=self.scale)
        if not 0 <= self.start <= self.end <= 1:
            raise ValueError("need 0 <= control_guidance_start <= control_guidance_end <= 1")

    def control(self, timesteps: torch.Tensor) -> Control:
        """As the predictor takes it."""
        pictures = torch.from_numpy(np.ascontiguousarray(self.video)).permute(0, 3, 1, 2)
        return Control(self.network, pictures, self.scale, steered(timesteps, self.start, self.end))


def steering(
    controlnet: Any,
    videos: np.ndarray | Sequence[np.ndarray],
    scale: float | Sequence[float],
    start: float | Sequence[float],
    end: float | Sequence[float],
) -> list[Steering]:
    """Each ControlNet with its video and its values; one value serves all. Raises ValueError where numbers or sizes
    differ."""
    networks = list(getattr(controlnet, "nets", [controlnet]))
    if len({id(network) for network in networks}) < len(networks):
        raise ValueError("one ControlNet cannot steer twice: load it a second time")
    several = len(networks) > 1
    if several and isinstance(videos, np.ndarray):
        raise ValueError(f"{len(networks)} ControlNets want a list of as many videos as image")
    given: list[Any] = [videos if several or isinstance(videos, (list, tuple)) else [videos]]
    given += [value if isinstance(value, (list, tuple)) else [value] * len(networks) for value in (scale, start, end)]
    for name, values in zip(("image", "controlnet_conditioning_scale", "start", "end"), given, strict=True):
        if len(values) != len(networks):
            raise ValueError(f"{name} has {len(values)} values for {len(networks)} ControlNets")
    plans = [Steering(*each) for each in zip(networks, *given, strict=True)]
    if len(shapes := {plan.video.shape for plan in plans}) > 1:
        raise ValueError(f"all control videos must have one shape, not {sorted(shapes)}")
    return plans


class ControlledVideoPipeline(VideoPipelineMixin, StableDiffusionControlNetPipeline):
    """A Stable Diffusion pipeline with a ControlNet whose call makes a video that follows a control video.

    Without motion or a first frame its latents are those of ``StableDiffusionControlNetPipeline`` with diffusers'
    ``CrossFrameAttnProcessor`` on both networks and the first frame's noise for every frame.
    """

    @torch.no_grad()
    def __call__(  # noqa: PLR0913 - the arguments of the class it stands for
        self,
        prompt: str | list[str],
        image: np.ndarray | Sequence[np.ndarray],
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str | None = "np",
        return_dict: bool = True,
        controlnet_conditioning_scale: float | Sequence[float] = 1.0,
        control_guidance_start: float | Sequence[float] = 0.0,
        control_guidance_end: float | Sequence[float] = 1.0,
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
            image: the control video, uint8 (frames, height, width, 3), sides multiples of 8; with several ControlNets
                one for each.
            num_inference_steps, guidance_scale, eta: as in Stable Diffusion; guidance is off at 1 and below.
            generator: one generator, best on the CPU; it draws the one noise that every frame starts from (with a
                motion window: the anchor's, then each other frame's).
            latents: that noise instead, (1, c, height / factor, width / factor).
            output_type: as in ``TextToVideoPipeline``.
            controlnet_conditioning_scale: how strongly the control steers.
            control_guidance_start, control_guidance_end: between which shares of the steps it steers. These three may
                be lists with a value for each ControlNet.
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
        check_one(prompt)
        check_count(num_inference_steps=num_inference_steps)
        check_finite(
            guidance_scale=guidance_scale,
            eta=eta,
            motion_field_strength_x=motion_field_strength_x,
            motion_field_strength_y=motion_field_strength_y,
        )
        plans = steering(
            self.controlnet, image, controlnet_conditioning_scale, control_guidance_start, control_guidance_end
        )
        frames, height, width = plans[0].video.shape[:3]
        if first_frame is not None and motion_window is None:
            raise ValueError("first_frame wants a motion_window")
        check_frame_prompts(frame_prompts, frames)
        options = options or RunOptions()

        device = self._execution_device
        weighted = options.weighted_prompts
        embeddings = self.encode_frames(prompt, frame_prompts, negative_prompt, guidance_scale, weighted=weighted)
        noise = VideoNoise(self.latent_shape(height, width), one_generator(generator), latents, device)
        # With motion the frames begin apart, and their steps must not repeat the noise that set them apart.
        alike = motion_window is None or frames == 1
        sampler = Sampler(self.scheduler, num_inference_steps, device, noise.frame_generators(frames, alike=alike), eta)
        controls = [plan.control(sampler.timesteps) for plan in plans]
        predict = control_predictor(self.unet, embeddings, self.guidance(guidance_scale), controls)
        if first_frame is not None:
            sampler.pin(self.encode_first_frame(first_frame, height, width), noise.anchor)

        networks = (self.unet, *(plan.network for plan in plans))
        with self.loop(*networks, branches=len(embeddings), sampler=sampler, options=options) as plan:
            if motion_window is not None and frames > 1:
                shifts = motion_field(frames, motion_field_strength_x, motion_field_strength_y)
                motion = Motion(shifts, *sampler.window(motion_window))
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
