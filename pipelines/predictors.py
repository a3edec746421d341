"""Noise predictors: from latents of some frames to guided noise. Each is a closure the loop calls.

The number of guidance branches is a property of the predictor; nothing is read off a batch size.
"""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange, repeat


def text_predictor(
    unet: Any, embeddings: torch.Tensor, guidance_scale: float
) -> Callable[[torch.Tensor, torch.Tensor, slice], torch.Tensor]:
    """Noise of a UNet for one text, by classifier-free guidance (Ho & Salimans 2022).

    Args:
        unet: a UNet2DConditionModel under ``cross_frame_attention`` with as many branches as ``embeddings``.
        embeddings: (branches, text tokens, channels); without and with the text, or the text alone.
        guidance_scale: how far to go beyond the unconditional noise; unused with one branch.

    Returns:
        ``predict(latents, timestep, frames)``: latents (frames, c, h, w), scaled for the model, to noise of the
        same shape in float32. ``frames`` says which frames of the video they are; all share one text here.
    """
    branches = embeddings.shape[0]
    text = embeddings.to(unet.dtype)  # one tensor for the whole run, so that its keys and values are kept

    def predict(latents: torch.Tensor, timestep: torch.Tensor, frames: slice) -> torch.Tensor:
        batch = repeat(latents.to(unet.dtype), "f c h w -> (b f) c h w", b=branches)
        noise = unet(batch, timestep, encoder_hidden_states=text, return_dict=False)[0].float()
        if branches == 1:
            return noise
        without, with_text = rearrange(noise, "(b f) c h w -> b f c h w", b=branches)
        return without + guidance_scale * (with_text - without)

    return predict
