"""Stable Diffusion 1.5's public configuration, and all of it at full size with random weights, built locally."""

from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from training.toyworld.text import build_tokenizer

UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}
AUTOENCODER = {
    "sample_size": 512,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
PROMPT = "a red circle on green grass"


def build_text(layers: int = 12) -> dict[str, Any]:
    """Build a tokenizer of a few words, and a text encoder of CLIP ViT-L/14's width that reads 77 tokens."""
    tokenizer = build_tokenizer([PROMPT])
    tokenizer.model_max_length = 77
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=layers,
        num_attention_heads=12,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return {"tokenizer": tokenizer, "text_encoder": CLIPTextModel(config).eval()}


def build_components(dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Build the parts of a Stable Diffusion pipeline, with a UNet of 860 M parameters; no safety checker."""
    torch.manual_seed(0)
    text = build_text()
    with torch.device("meta"):
        networks = {"unet": UNet2DConditionModel(**UNET), "vae": AutoencoderKL(**AUTOENCODER)}
    for network in networks.values():
        draw_weights(network.to(dtype).to_empty(device=device).eval())
    with torch.no_grad():
        networks["unet"].conv_out.weight.mul_(0.1)  # little noise to take away: latents stay in half precision's range
    text["text_encoder"].to(device, dtype)
    rest = {"scheduler": DDIMScheduler(**SCHEDULER), "safety_checker": None, "feature_extractor": None}
    return {**text, **networks, **rest}


@torch.no_grad()
def draw_weights(network: nn.Module) -> None:
    """Draw weights under which activations stay about as large as they are; norms are the identity."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias":
                parameter.zero_()
            elif parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            else:
                parameter.fill_(1)
