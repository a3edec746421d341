"""Noise predictors: from latents of some frames to guided noise. Each is a closure the loop calls.

The number of guidance branches is a property of the predictor; nothing is read off a batch size.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, repeat

from pipelines.denoising import Predictor


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (Ho & Salimans 2022).

    ``scale``: how far to go beyond the unconditional noise; unused with one branch.
    ``rescale``: see ``guided``.
    ``embedding``: the scale as a UNet that was distilled with guidance takes it, (1, channels).
    """

    scale: float
    rescale: float = 0.0
    embedding: torch.Tensor | None = None

    def condition(self, dtype: torch.dtype) -> torch.Tensor | None:
        """The embedding, where there is one, in a network's precision."""
        return None if self.embedding is None else self.embedding.to(dtype)


def text_predictor(
    unet: Any, embeddings: torch.Tensor, guidance: Guidance, added: Mapping[str, torch.Tensor] | None = None
) -> Predictor:
    """Noise of a UNet for one text, by classifier-free guidance.

    Args:
        unet: a UNet2DConditionModel under ``cross_frame_attention`` with as many branches as ``embeddings``.
        embeddings: (branches, text tokens, channels); without and with the text, or the text alone. Or, where frames
            have their own texts, (branches, frames, text tokens, channels).
        guidance: its scale and what goes with it.
        added: conditions of Stable Diffusion XL's UNet besides the text, by name, (branches, channels) each, or
            (branches, frames, channels).
    """
    branches = embeddings.shape[0]
    text = embeddings.to(unet.dtype)  # one tensor for the whole run, so that its keys and values are kept
    condition = guidance.condition(unet.dtype)

    def predict(latents: torch.Tensor, timestep: torch.Tensor, frames: slice) -> torch.Tensor:
        batch = repeat(latents.to(unet.dtype), "f c h w -> (b f) c h w", b=branches)
        conditions = {name: expand_condition(value, frames, len(latents)) for name, value in (added or {}).items()}
        noise = unet(
            batch,
            timestep,
            encoder_hidden_states=text_of(text, frames),
            timestep_cond=condition,
            added_cond_kwargs=conditions or None,
            return_dict=False,
        )[0]
        return guided(noise.float(), branches, guidance.scale, guidance.rescale)

    return predict


def video_predictor(unet: Any, embeddings: torch.Tensor, guidance: Guidance) -> Predictor:
    """Noise of a UNet that was trained on videos and sees all frames together.

    Args:
        unet: a UNet3DConditionModel.
        embeddings, guidance: as for ``text_predictor``.
    """
    branches = embeddings.shape[0]
    text = embeddings.to(unet.dtype)
    condition = guidance.condition(unet.dtype)

    def predict(latents: torch.Tensor, timestep: torch.Tensor, frames: slice) -> torch.Tensor:
        batch = repeat(latents.to(unet.dtype), "f c h w -> b c f h w", b=branches)
        noise = unet(batch, timestep, encoder_hidden_states=text, timestep_cond=condition, return_dict=False)[0]
        return guided(rearrange(noise, "b c f h w -> (b f) c h w").float(), branches, guidance.scale)

    return predict


def text_of(text: torch.Tensor, frames: slice) -> torch.Tensor:
    """The text of some frames: the very same tensor (branches, tokens, channels) where all have one, else that of those
    frames, (branches frames, tokens, channels)."""
    return text if text.ndim == 3 else rearrange(text[:, frames], "b f n c -> (b f) n c")


def expand_condition(value: torch.Tensor, frames: slice, count: int) -> torch.Tensor:
    """Expand a condition beside the text to ``count`` frames: (branches, channels) or (branches, all frames, channels)
    to (branches frames, channels)."""
    return repeat(value, "b c -> (b f) c", f=count) if value.ndim == 2 else value[:, frames].flatten(0, 1)


@dataclass(frozen=True)
class Control:
    """One ControlNet at work: ``network``; ``pictures``, one for each frame, uint8 (frames, 3, height, width);
    ``scale``, what its residuals are multiplied by; ``timesteps``, those at which it is computed at all."""

    network: Any
    pictures: torch.Tensor
    scale: float
    timesteps: Collection[float]


def control_predictor(
    unet: Any, embeddings: torch.Tensor, guidance: Guidance, controls: Sequence[Control]
) -> Predictor:
    """Noise of a UNet steered by ControlNets (Zhang et al. 2023, arXiv 2302.05543), with classifier-free guidance.

    Args:
        unet: with all ControlNets under one ``cross_frame_attention``.
        embeddings, guidance: as for ``text_predictor``.
        controls: the residuals of several ControlNets are added up.
    """
    branches = embeddings.shape[0]
    text = embeddings.to(unet.dtype)
    condition = guidance.condition(unet.dtype)

    def predict(latents: torch.Tensor, timestep: torch.Tensor, frames: slice) -> torch.Tensor:
        batch = repeat(latents.to(unet.dtype), "f c h w -> (b f) c h w", b=branches)
        own_text = text_of(text, frames)
        residuals = control_residuals(controls, batch, timestep, frames, text=own_text)
        noise = unet(
            batch, timestep, encoder_hidden_states=own_text, timestep_cond=condition, return_dict=False, **residuals
        )[0]
        return guided(noise.float(), branches, guidance.scale)

    return predict


def control_residuals(
    controls: Sequence[Control], batch: torch.Tensor, timestep: torch.Tensor, frames: slice, *, text: torch.Tensor
) -> dict[str, Any]:
    """Residuals of ControlNets, summed, as arguments of the UNet; none where none steers at this timestep.

    Args:
        batch: scaled latents of these frames, (branches frames, c, h, w), in the networks' precision.
        text: as ``text_of`` gives it.
    """
    added: list[torch.Tensor] = []
    for control in controls:
        if float(timestep) not in control.timesteps:
            continue
        pictures = control.pictures[frames].to(batch.device, batch.dtype) / 255
        down, middle = control.network(
            batch,
            timestep,
            encoder_hidden_states=text,
            controlnet_cond=repeat(pictures, "f c h w -> (b f) c h w", b=len(batch) // len(pictures)),
            conditioning_scale=control.scale,
            return_dict=False,
        )
        residuals = [*down, middle]
        added = [before + now for before, now in zip(added, residuals, strict=True)] if added else residuals
    if not added:
        return {}
    return {"down_block_additional_residuals": added[:-1], "mid_block_additional_residual": added[-1]}


def guided(noise: torch.Tensor, branches: int, scale: float, rescale: float = 0.0) -> torch.Tensor:
    """Classifier-free guidance: noise (branches frames, c, h, w), without and with the text, to (frames, c, h, w).

    ``rescale``, 0 to 1, takes its contrast back to that of the noise with the text (Lin et al. 2023, arXiv 2305.08891,
    equations 14 to 16).
    """
    if branches == 1:
        return noise
    without, with_text = rearrange(noise, "(b f) c h w -> b f c h w", b=branches)
    far = without + scale * (with_text - without)
    if rescale == 0:
        return far
    contrast = with_text.std(dim=(1, 2, 3), keepdim=True) / far.std(dim=(1, 2, 3), keepdim=True)
    return far * (1 - rescale + rescale * contrast)


def edit_predictor(
    unet: Any,
    embeddings: torch.Tensor,
    pictures: torch.Tensor,
    *,
    guidance_scale: float,
    image_guidance_scale: float,
) -> Predictor:
    """Noise of an InstructPix2Pix UNet (Brooks et al. 2022, arXiv 2211.09800, equation 3).

    Args:
        unet: takes the noisy latents and those of the picture to edit, one after the other, as channels.
        embeddings: (3, text tokens, channels): the instruction, nothing, nothing; or (1, ...) without guidance.
        pictures: latents of every frame of the source, (frames, c, h, w), not scaled.
        guidance_scale, image_guidance_scale: how far to go towards the instruction and towards the source.
    """
    branches = embeddings.shape[0]
    text = embeddings.to(unet.dtype)

    def predict(latents: torch.Tensor, timestep: torch.Tensor, frames: slice) -> torch.Tensor:
        shown = pictures[frames].to(latents.device)
        with_picture = [shown, shown, torch.zeros_like(shown)][:branches]
        noisy = repeat(latents, "f c h w -> (b f) c h w", b=branches)
        batch = torch.cat([noisy, torch.cat(with_picture)], dim=1).to(unet.dtype)
        noise = unet(batch, timestep, encoder_hidden_states=text, return_dict=False)[0].float()
        if branches == 1:
            return noise
        both, picture, nothing = rearrange(noise, "(b f) c h w -> b f c h w", b=branches)
        return nothing + guidance_scale * (both - picture) + image_guidance_scale * (picture - nothing)

    return predict
