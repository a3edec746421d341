"""A video network made of an image network: diffusers' 3D UNet whose spatial layers are a checkpoint's 2D UNet.

Its temporal layers begin as the identity, so that it draws, frame by frame, exactly what the image network draws
(Make-A-Video, arXiv 2209.14792, section 3.2, and AnimateDiff, arXiv 2307.04725, begin so too): only motion is left to
learn.
"""

import logging
from typing import Any

import torch
from diffusers import UNet2DConditionModel, UNet3DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import nn

from errors import UserError
from pipelines.trained_video import skip_silent_entry

logger = logging.getLogger(__name__)
BLOCKS = {f"{name}2D": f"{name}3D" for name in ("DownBlock", "CrossAttnDownBlock", "UpBlock", "CrossAttnUpBlock")}
TEMPORAL = (".temp_convs.", ".temp_attentions.")
TEXT_READERS = (".attn2.to_k.weight", ".attn2.to_v.weight")
# What a UNet3DConditionModel has no setting for, and the only value that its layers compute alike.
FIXED: dict[str, Any] = {
    **{"addition_embed_type": None, "class_embed_type": None, "num_class_embeds": None, "encoder_hid_dim_type": None},
    **{"time_embedding_dim": None, "num_attention_heads": None},
    **{"conv_in_kernel": 3, "conv_out_kernel": 3, "center_input_sample": False, "flip_sin_to_cos": True},
    **{"freq_shift": 0, "resnet_time_scale_shift": "default", "mid_block_type": "UNetMidBlock2DCrossAttn"},
    **{"only_cross_attention": False, "dual_cross_attention": False, "transformer_layers_per_block": 1},
}


def build_video_unet(
    image_unet: UNet2DConditionModel, sample_size: int, text_width: int | None = None
) -> UNet3DConditionModel:
    """Build an untrained 3D UNet of the widths of ``image_unet`` for latents of ``sample_size`` cells.

    ``text_width`` is that of the text encoder, by default the image network's.

    Raises UserError where the image network has parts that the 3D UNet lacks, as Stable Diffusion XL's.
    """
    config = image_unet.config
    other = [name for name, value in FIXED.items() if config.get(name, value) != value]
    kinds = (*config.down_block_types, *config.up_block_types)
    if other or not set(kinds) <= set(BLOCKS) or not isinstance(config.layers_per_block, int):
        raise UserError(
            f"the base's UNet has no counterpart in 3D ({', '.join(other) or 'its blocks'}): choose another"
        )
    down, up = (tuple(BLOCKS[kind] for kind in side) for side in (config.down_block_types, config.up_block_types))
    return UNet3DConditionModel(
        sample_size=sample_size,
        down_block_types=down,
        up_block_types=up,
        attention_head_dim=head_channels(image_unet),
        **{name: config[name] for name in ("in_channels", "out_channels", "block_out_channels", "layers_per_block")},
        **{name: config[name] for name in ("norm_num_groups", "norm_eps", "act_fn")},
        cross_attention_dim=text_width or config.cross_attention_dim,
        **{name: config[name] for name in ("downsample_padding", "mid_block_scale_factor")},
    )


def head_channels(image_unet: UNet2DConditionModel) -> int:
    """Return the channels of one attention head, for which a 3D UNet has one number.

    It is called ``attention_head_dim`` there; in a 2D UNet that name means the number of heads, by a historical
    accident.
    """
    config = image_unet.config
    heads = config.attention_head_dim
    heads = (heads,) * len(config.block_out_channels) if isinstance(heads, int) else heads
    kinds = zip(config.down_block_types, reversed(config.up_block_types), strict=True)
    widths = [
        channels // count
        for kind, channels, count in zip(kinds, config.block_out_channels, heads, strict=True)
        if any("CrossAttn" in name for name in kind)
    ]
    widths.append(config.block_out_channels[-1] // heads[-1])  # the middle block's
    if len(set(widths)) > 1:
        logger.warning(
            "the base has attention heads of %s channels, a UNet3DConditionModel has one width: %d is used, and "
            "what it draws before training differs from the base",
            " and ".join(map(str, sorted(set(widths)))),
            widths[0],
        )
    return widths[0]


def start_from_image(video_unet: UNet3DConditionModel, image_unet: UNet2DConditionModel) -> None:
    """Give ``video_unet`` the spatial weights of ``image_unet``, and temporal layers that change nothing yet.

    Projections of the text stay untrained where the two have text encoders of different widths.
    """
    same_text = video_unet.config.cross_attention_dim == image_unet.config.cross_attention_dim
    untrained = () if same_text else TEXT_READERS
    wanted = video_unet.state_dict()
    spatial = {name: value for name, value in image_unet.state_dict().items() if not name.endswith(untrained)}
    # Where the image network projects by a convolution of one pixel, the video network has the same as a matrix.
    missing, unexpected = video_unet.load_state_dict(
        {name: value.reshape(wanted[name].shape) for name, value in spatial.items() if name in wanted}, strict=False
    )
    unexpected = [name for name in spatial if name not in wanted] + unexpected
    forgotten = [name for name in missing if not is_temporal(name) and not name.endswith(untrained)]
    if unexpected or forgotten:
        raise ValueError(f"not the same layout: {[*unexpected, *forgotten][:3]}")
    silence_temporal_layers(video_unet)


def is_temporal(name: str) -> bool:
    """Return True for the name of a parameter that a video network has beyond an image network."""
    return any(part in f".{name}" for part in TEMPORAL) or name.startswith("transformer_in.")


def silence_temporal_layers(video_unet: UNet3DConditionModel) -> None:
    """Make every temporal layer the identity; the temporal convolutions are born so."""
    for module in video_unet.modules():
        if isinstance(module, TransformerTemporalModel):
            nn.init.zeros_(module.proj_out.weight)
            nn.init.zeros_(module.proj_out.bias)


def ready_to_train(video_unet: UNet3DConditionModel, device: str) -> UNet3DConditionModel:
    """Prepare the network for training, in place.

    It loses an entry that does nothing (twice as fast), and dropout, whose chance would depend on what ran before; on a
    CPU it gets plain attention where keys are few, as in ``training.toyworld.denoiser``.
    """
    skip_silent_entry(video_unet)
    for module in video_unet.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if device == "cpu":
        last = f"up_blocks.{len(video_unet.up_blocks) - 1}.attentions."
        plain = {
            name: processor if name.startswith(last) and ".attn1." in name else AttnProcessor()
            for name, processor in video_unet.attn_processors.items()
        }
        video_unet.set_attn_processor(plain)
    return video_unet


def restore_full_unet(trained: UNet3DConditionModel, weights: dict[str, torch.Tensor]) -> UNet3DConditionModel:
    """Build a complete network, entry included, with ``weights`` of one trained without it, in evaluation mode."""
    whole = UNet3DConditionModel.from_config(trained.config)
    silence_temporal_layers(whole)
    _, unexpected = whole.load_state_dict(weights, strict=False)
    if unexpected:
        raise ValueError(f"not this network's weights: {unexpected[:3]}")
    return whole.eval()
