"""Video Instruct-Pix2Pix: an instruction edits every frame, all look at the first (arXiv 2303.13439, section 3.5)."""

import numpy as np
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline

from pipelines.arguments import check_count, check_finite, check_one, check_video
from pipelines.denoising import Sampler, denoise
from pipelines.noise import VideoNoise, one_generator
from pipelines.predictors import edit_predictor
from pipelines.prompt_weights import as_weighted, weigh_branches
from pipelines.video import (
    RunOptions,
    VideoPipelineMixin,
    VideoPipelineOutput,
    listed,
)


class EditedVideoPipeline(VideoPipelineMixin, StableDiffusionInstructPix2PixPipeline):
    """An InstructPix2Pix pipeline whose call edits a video.

    Its latents are those of ``StableDiffusionInstructPix2PixPipeline`` with diffusers' ``CrossFrameAttnProcessor`` for
    three branches, whatever the chunk.
    """

    @torch.no_grad()
    def __call__(  # noqa: PLR0913 - the arguments of the class it stands for
        self,
        prompt: str | list[str],
        image: np.ndarray,
        num_inference_steps: int = 100,
        guidance_scale: float = 7.5,
        image_guidance_scale: float = 1.5,
        negative_prompt: str | list[str] | None = None,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str | None = "np",
        return_dict: bool = True,
        *,
        guide_below_one: bool = False,
        options: RunOptions | None = None,
    ) -> VideoPipelineOutput | tuple:
        """Edit a video.

        Args:
            prompt: the instruction, such as "make it night" (or a list of one).
            image: the video, uint8 (frames, height, width, 3), sides multiples of 8.
            num_inference_steps, eta: as in Stable Diffusion.
            guidance_scale: how far to follow the instruction.
            image_guidance_scale: how far to keep to the video, from 0 on; guidance is on with the former above 1 and
                this at least 1, and off otherwise, as in diffusers.
            guide_below_one: leave guidance on with an ``image_guidance_scale`` below 1, which then keeps less to the
                video than 1 does (equation 3 of arXiv 2211.09800 knows no bound).
            negative_prompt: what the two other branches read instead of nothing.
            generator: one generator, best on the CPU. It draws the first frame's noise, then each other frame's.
            latents: the first frame's noise instead, (1, c, height / factor, width / factor).
            output_type: as in ``TextToVideoPipeline``.
            options: see ``RunOptions``.

        Raises:
            ValueError: for arguments out of bounds, before anything is computed.
            Cancelled, FloatingPointError: as ``TextToVideoPipeline``.
        """
        check_one(prompt)
        check_count(num_inference_steps=num_inference_steps)
        check_finite(guidance_scale=guidance_scale, image_guidance_scale=image_guidance_scale, eta=eta)
        frames, height, width = check_video(image)
        options = options or RunOptions()

        device = self._execution_device
        guided = guidance_scale > 1 and (guide_below_one or image_guidance_scale >= 1)
        # With guidance three: the instruction, and twice what stands for none.
        text, negative = (as_weighted(each, weighted=options.weighted_prompts) for each in (prompt, negative_prompt))
        embeddings = self._encode_prompt(listed(text.text), device, 1, guided, listed(negative.text))
        texts = [text, negative, negative] if guided else [text]
        embeddings = weigh_branches(embeddings, texts, self.tokenizer)
        noise = VideoNoise(self.latent_shape(height, width), one_generator(generator), latents, device)
        sampler = Sampler(self.scheduler, num_inference_steps, device, noise.frame_generators(frames), eta)
        predict = edit_predictor(
            self.unet,
            embeddings,
            self.encode_pictures(image, device, lambda frame: options.look()),
            guidance_scale=guidance_scale,
            image_guidance_scale=image_guidance_scale,
        )
        with self.loop(self.unet, branches=len(embeddings), sampler=sampler, options=options, text_branch=0) as plan:
            start = noise.start(frames) * sampler.init_noise_sigma
            sampler.join(0)
            video = denoise(predict, sampler, start, range(len(sampler.timesteps)), plan)
        output = self.finish(video, sampler, options.watch, output_type)
        return output if return_dict else (output.images, output.nsfw_content_detected)
