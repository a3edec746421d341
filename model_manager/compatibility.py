"""Checks that loaded networks fit a job and each other, by their configurations; each raises ModelUnavailable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from errors import ModelUnavailable
from model_manager.discovery import name_of

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

VAE_PROPERTIES = ("number of latent channels", "scale in pixels", "scaling factor")


def refuse_unknown_latents(name: str, components: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose latents no pipeline here denoises: of inpainting, or with another kind of noise."""
    unet, vae = components["unet"].config, components["vae"].config
    if unet.in_channels not in (vae.latent_channels * count for count in (1, 2)):
        raise ModelUnavailable(f"{name} is not a text-to-image checkpoint (inpainting?)")
    if "sigma_data" in components["scheduler"].config:
        raise ModelUnavailable(f"{name} is made for another kind of noise (EDM), which no scheduler here draws")


def refuse_other_task(name: str, components: Mapping[str, Any], *, edits: bool) -> None:
    """Refuse a checkpoint that does not edit, or does not draw; the UNet of an editing one also reads a picture."""
    if (components["unet"].config.in_channels == 2 * components["vae"].config.latent_channels) != edits:
        raise ModelUnavailable(f"{name} is not {'an editing' if edits else 'a text-to-image'} checkpoint")


def refuse_vae(name: str, own: AutoencoderKL, source: str, vae: AutoencoderKL) -> None:
    """Refuse a VAE from ``source`` in place of a checkpoint's own, where the UNet is trained for another."""
    for noun, wanted, given in zip(VAE_PROPERTIES, vae_properties(own), vae_properties(vae), strict=True):
        if wanted != given:
            raise ModelUnavailable(
                f"the VAE {name_of(source)} does not fit {name}: its {noun} is {given}, not {wanted}"
            )


def vae_properties(vae: AutoencoderKL) -> tuple[int, int, float]:
    """Return the properties of a VAE that a UNet is trained for, in the order of VAE_PROPERTIES."""
    return vae.config.latent_channels, 2 ** (len(vae.config.block_out_channels) - 1), vae.config.scaling_factor


def refuse_controlnet(name: str, control: str, unet: UNet2DConditionModel, controlnet: ControlNetModel) -> None:
    """Refuse a ControlNet that reads text of another width, or other latents, than a checkpoint's UNet."""
    ours, theirs = (network.config.cross_attention_dim for network in (unet, controlnet))
    if ours != theirs or unet.config.in_channels != controlnet.config.in_channels:
        raise ModelUnavailable(
            f"the ControlNet for {control} is not made for checkpoints like {name} (text width {theirs}, not {ours}): "
            "choose a Stable Diffusion 1.x checkpoint"
        )
