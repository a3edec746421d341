"""Text2Video-Zero with a Stable Diffusion XL checkpoint (Podell et al. 2023, arXiv 2307.01952)."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from pipelines.arguments import check_finite, check_one
from pipelines.attention import CrossFrame
from pipelines.denoising import Watch
from pipelines.predictors import text_predictor
from pipelines.prompt_weights import as_weighted, weigh_branches
from pipelines.text_to_video import TextToVideoMixin, VideoRequest
from pipelines.video import RunOptions, VideoPipelineOutput, blended, listed


class TextToVideoXLPipeline(TextToVideoMixin, StableDiffusionXLPipeline):
    """A Stable Diffusion XL pipeline whose call makes a video; loads and saves like its parent.

    A drop-in for diffusers' deprecated ``TextToVideoZeroSDXLPipeline``: the same arguments and defaults, and equal
    latents from the same CPU generator, with guidance on, DDIM and eta 0. Frame 0 is what ``StableDiffusionXLPipeline``
    draws. Theirs takes ``guidance_rescale`` and forgets it, here it works; theirs leaves its attention and a copy of
    its scheduler behind when latents are asked for; and with guidance off its frames attend to a wrong one.
    """

    heeds_force_upcast = True
    usual_sample_size = 128
    safety_checker = None  # there is none for this family

    @torch.no_grad()
    def __call__(  # noqa: PLR0913 - the arguments of the class it replaces
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        video_length: int = 8,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        denoising_end: float | None = None,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        negative_prompt_2: str | list[str] | None = None,
        num_videos_per_prompt: int = 1,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        frame_ids: list[int] | None = None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        pooled_prompt_embeds: torch.Tensor | None = None,
        negative_pooled_prompt_embeds: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        motion_field_strength_x: float = 12,
        motion_field_strength_y: float = 12,
        output_type: str | None = "tensor",
        return_dict: bool = True,
        callback: Callable[[int, int, torch.Tensor], None] | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guidance_rescale: float = 0.0,
        original_size: tuple[int, int] | None = None,
        crops_coords_top_left: tuple[int, int] = (0, 0),
        target_size: tuple[int, int] | None = None,
        t0: int = 44,
        t1: int = 47,
        *,
        motion_window: tuple[int, int] | None = None,
        chunk_size: int | None = None,
        cross_frame_attention: bool = True,
        motion_field: bool = True,
        first_frame: np.ndarray | None = None,
        frame_prompts: Sequence[str] | None = None,
        shared_noise: bool = False,
        cancel: threading.Event | None = None,
        watch: Watch | None = None,
        options: RunOptions | None = None,
    ) -> VideoPipelineOutput | tuple:
        """Make a video. What is not named here is as in ``TextToVideoPipeline``.

        Args:
            prompt_2, negative_prompt_2: what the second text encoder reads; the same as the first by default.
            prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds, negative_pooled_prompt_embeds: embeddings
                instead of texts, as ``encode_prompt`` gives them.
            denoising_end: a share between 0 and 1 of the noise, after which the rest is left in the latents, for a
                second model that goes on there.
            guidance_rescale: 0 to 1; takes the contrast that guidance adds away again.
            original_size, target_size, crops_coords_top_left: (height, width) in pixels that the training picture had,
                has, and where it was cut; the size of the video, uncut, by default.
            cross_attention_kwargs: must be None; the weights of adapters are set by ``set_adapters``.

        Raises:
            ValueError: for arguments out of bounds, before anything is denoised.
            Cancelled, FloatingPointError: as ``TextToVideoPipeline``.
        """
        check_one(prompt, num_videos_per_prompt)
        check_finite(guidance_scale=guidance_scale, guidance_rescale=guidance_rescale)
        if cross_attention_kwargs:
            raise ValueError("cross_attention_kwargs has no effect here; give adapters their weight by set_adapters()")
        request = VideoRequest(
            video_length=video_length,
            height=height or self.own_size_px()[1],
            width=width or self.own_size_px()[0],
            num_inference_steps=num_inference_steps,
            eta=eta,
            generator=generator,
            latents=latents,
            motion_field_strength_x=motion_field_strength_x,
            motion_field_strength_y=motion_field_strength_y,
            output_type=output_type,
            return_dict=return_dict,
            t0=t0,
            t1=t1,
            frame_ids=frame_ids,
            motion_window=motion_window,
            motion_field=motion_field,
            first_frame=first_frame,
            denoising_end=denoising_end,
            frame_prompts=frame_prompts,
            shared_noise=shared_noise,
        )
        options = options or RunOptions(
            chunk_size, CrossFrame(enabled=cross_frame_attention), cancel, watch, callback, callback_steps
        )
        size = request.height, request.width
        texts = {
            "prompt": listed(prompt),
            "prompt_2": listed(prompt_2),
            "negative_prompt": listed(negative_prompt),
            "negative_prompt_2": listed(negative_prompt_2),
            "prompt_embeds": prompt_embeds,
            "negative_prompt_embeds": negative_prompt_embeds,
            "pooled_prompt_embeds": pooled_prompt_embeds,
            "negative_pooled_prompt_embeds": negative_pooled_prompt_embeds,
        }
        self.check_inputs(height=size[0], width=size[1], callback_steps=callback_steps, **texts)

        guided = self.is_guided(guidance_scale)
        weighted = options.weighted_prompts
        embeddings, pooled = self.encode_texts(texts, guided=guided, weighted=weighted)
        if frame_prompts is not None:
            both = {
                text: self.encode_texts(texts | {"prompt": [text], "prompt_2": None}, guided=guided, weighted=weighted)
                for text in {text for text in frame_prompts if text}
            }
            embeddings = blended(frame_prompts, {text: each[0] for text, each in both.items()})
            pooled = blended(frame_prompts, {text: each[1] for text, each in both.items()})
        sizes = self.size_conditions(original_size or size, crops_coords_top_left, target_size or size, pooled)
        added = {"text_embeds": pooled, "time_ids": sizes}
        predict = text_predictor(self.unet, embeddings, self.guidance(guidance_scale, guidance_rescale), added)
        return self.paint(predict, len(embeddings), request, options)

    def as_tuple(self, output: VideoPipelineOutput) -> tuple:
        """The pictures alone: this family has no safety checker."""
        return (output.images,)

    def encode_texts(
        self, texts: dict[str, Any], *, guided: bool, weighted: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (branches, tokens, channels) and pooled embeddings (branches, channels) of what
        ``encode_prompt`` takes, unconditional first; the pooled ones have no weights."""
        device = self._execution_device
        read = [as_weighted((texts[name] or [None])[0], weighted=weighted) for name in ("negative_prompt", "prompt")]
        given = {name: listed(each.text) for name, each in zip(("negative_prompt", "prompt"), read, strict=True)}
        texts = {**texts, **given}
        encoded = self.encode_prompt(device=device, do_classifier_free_guidance=guided, **texts)
        with_text, without, pooled_with, pooled_without = encoded
        if not guided:
            return weigh_branches(with_text, read[1:], self.tokenizer).to(device), pooled_with.to(device)
        both = weigh_branches(torch.cat([without, with_text]), read, self.tokenizer)
        return both.to(device), torch.cat([pooled_without, pooled_with]).to(device)

    def size_conditions(
        self, original: tuple[int, int], corner: tuple[int, int], target: tuple[int, int], pooled: torch.Tensor
    ) -> torch.Tensor:
        """Size conditions of the UNet (section 2.2 of the paper), the same for every branch: (branches, 6)."""
        sizes = self._get_add_time_ids(tuple(original), tuple(corner), tuple(target), pooled.dtype, pooled.shape[-1])
        return sizes.to(pooled.device).repeat(len(pooled), 1)

    def decode_frame(self, latents: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """As its parent's, with the invisible watermark of this family where the package for it is installed."""
        decoded = super().decode_frame(latents, generator)
        if self.watermark is None or not decoded.isfinite().all():
            return decoded
        return self.watermark.apply_watermark(decoded)
