"""Text to video with a checkpoint that was trained on videos: a 3D UNet in latent space (Video Diffusion Models, arXiv
2204.03458; ModelScope, arXiv 2308.06571), which draws all frames together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from pipelines.arguments import check_count, check_finite, check_one
from pipelines.denoising import Sampler, denoise
from pipelines.noise import VideoNoise, one_generator
from pipelines.predictors import video_predictor
from pipelines.text_to_video import TextToVideoMixin
from pipelines.video import RunOptions, VideoPipelineOutput


class Passage(nn.Module):
    """Stands for the temporal transformer at a 3D UNet's entry where that changes nothing.

    Its 8 heads at full size cost as much as all the other layers together (a step of the toy world's video model on two
    cores: 0.82 s with it, 0.27 s without).
    """

    def forward(self, sample: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        return (sample,)


def skip_silent_entry(video_unet: Any) -> None:
    """Put a ``Passage`` where the entry's last layer is zero."""
    entry = video_unet.transformer_in
    if not isinstance(entry, Passage) and not any(value.any() for value in entry.proj_out.parameters()):
        video_unet.transformer_in = Passage()


class TrainedVideoPipeline(TextToVideoMixin, StableDiffusionPipeline):
    """A Stable Diffusion pipeline with a ``UNet3DConditionModel``, as diffusers' ``TextToVideoSDPipeline`` has.

    With the same noise its latents are that pipeline's. Frames are drawn together, so there are no chunks; motion comes
    from training, so there is no motion field, anchor or first frame.
    """

    draws_together = True
    saved_as = "TextToVideoSDPipeline"

    @torch.no_grad()
    def __call__(  # noqa: PLR0913 - what every text-to-video pipeline here is called with
        self,
        prompt: str | list[str],
        video_length: int = 16,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str | None = "np",
        return_dict: bool = True,
        *,
        first_frame: np.ndarray | None = None,
        frame_prompts: Sequence[str] | None = None,
        options: RunOptions | None = None,
    ) -> VideoPipelineOutput | tuple:
        """Make a video.

        Args:
            prompt, negative_prompt, video_length, height, width, num_inference_steps, guidance_scale, eta, generator,
                output_type: as in ``TextToVideoPipeline``.
            first_frame, frame_prompts: must be None.
            options: see ``RunOptions``; its chunk size and attention have no meaning here.

        Raises:
            ValueError: for arguments out of bounds, before anything is computed.
            Cancelled, FloatingPointError: as ``TextToVideoPipeline``.
        """
        check_one(prompt)
        check_count(video_length=video_length, num_inference_steps=num_inference_steps)
        check_finite(guidance_scale=guidance_scale, eta=eta)
        if first_frame is not None or frame_prompts is not None:
            raise ValueError("a model that was trained on videos takes no first_frame and no frame_prompts")
        own_width, own_height = self.own_size_px()
        height, width = height or own_height, width or own_width
        self.check_inputs(prompt, height, width, 1)
        options = options or RunOptions()
        skip_silent_entry(self.unet)

        device = self._execution_device
        embeddings = self.encode_branches(prompt, negative_prompt, guidance_scale, weighted=options.weighted_prompts)
        noise = VideoNoise(self.latent_shape(height, width), one_generator(generator), None, device)
        generators = noise.frame_generators(video_length)
        sampler = Sampler(self.scheduler, num_inference_steps, device, generators, eta)
        sampler.join(0)
        start = noise.start(video_length) * sampler.init_noise_sigma
        predict = video_predictor(self.unet, embeddings, self.guidance(guidance_scale))
        with self.loop(branches=len(embeddings), sampler=sampler, options=options, chunked=False) as plan:
            video = denoise(predict, sampler, start, range(len(sampler.timesteps)), plan)
        output = self.finish(video, sampler, options.watch, output_type)
        return output if return_dict else (output.images, output.nsfw_content_detected)
