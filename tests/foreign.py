"""Tiny random text-to-video pipelines of diffusers' own classes, as the folders that ``save_pretrained`` writes.

Sizes are those of diffusers' own tests (its tests/pipelines), or smaller.
"""

import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import T5Config, T5EncoderModel, T5TokenizerFast, UMT5Config, UMT5EncoderModel

from comparison.engine_specs import ENGINES, DiffusersPipeline

SMALL = {"height": 16, "width": 16, "num_inference_steps": 2, "guidance_scale": 3.0}
WAN = DiffusersPipeline("", float32_parts=("vae",), call={**SMALL, "max_sequence_length": 16}, frames=(4, 1))
LTX = DiffusersPipeline("", call={**SMALL, "height": 32, "width": 32, "max_sequence_length": 16}, frames=(8, 1))
COGVIDEOX = DiffusersPipeline("", call=SMALL, frames=(8, 1), longest=9)
IMAGES = {**SMALL, "height": 64, "width": 64}
WORDS = ["▁a", "▁red", "▁circle", *string.ascii_lowercase]


def text_parts(config: Any, encoder: Any) -> dict[str, Any]:
    """A T5 tokenizer of a few words and letters, and an encoder of one layer for it."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((word, -3.0) for word in WORDS)]
    tokenizer = T5TokenizerFast(vocab=vocabulary, extra_ids=0)
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return {"tokenizer": tokenizer, "text_encoder": encoder(config(vocab_size=len(tokenizer), **sizes)).eval()}


def write_animatediff(folder: Path, components: dict[str, Any]) -> tuple[str, str]:
    """A Stable Diffusion checkpoint of these parts, and a motion adapter beside it: two folders."""
    torch.manual_seed(0)
    adapter = diffusers.MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_norm_num_groups=4,
        motion_num_attention_heads=2,
    )
    # The output layers of a new one are zero, and so would all motion be.
    for weight in adapter.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    diffusers.StableDiffusionPipeline(**components).save_pretrained(folder / "checkpoint")
    adapter.save_pretrained(folder / "motion")
    return str(folder / "checkpoint"), str(folder / "motion")


def write_wan(folder: Path) -> str:
    """Wan: four frames for every latent one but the first."""
    text = text_parts(UMT5Config, UMT5EncoderModel)
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    transformer = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=32,
        ffn_dim=32,
        num_layers=1,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    diffusers.WanPipeline(transformer=transformer, vae=vae, scheduler=scheduler, **text).save_pretrained(folder)
    return str(folder)


def write_ltx(folder: Path) -> str:
    """LTX-Video: here, four frames for every latent one but the first."""
    torch.manual_seed(0)
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        patch_size=1,
        patch_size_t=1,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )
    vae = diffusers.AutoencoderKLLTXVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False, False, False, False, False),
        upsample_residual=(False, False, False, False),
        upsample_factor=(1, 1, 1, 1),
        timestep_conditioning=False,
        patch_size=1,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    text = text_parts(T5Config, T5EncoderModel)
    diffusers.LTXPipeline(transformer=transformer, vae=vae, scheduler=scheduler, **text).save_pretrained(folder)
    return str(folder)


def write_cogvideox(folder: Path) -> str:
    """CogVideoX: four frames for every latent one, and of an odd number of those one for the first."""
    torch.manual_seed(0)
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=226,
    )
    vae = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    text = text_parts(T5Config, T5EncoderModel)
    scheduler = diffusers.CogVideoXDDIMScheduler()
    diffusers.CogVideoXPipeline(transformer=transformer, vae=vae, scheduler=scheduler, **text).save_pretrained(folder)
    return str(folder)


def modelscope_parts(components: dict[str, Any], cells: int) -> dict[str, Any]:
    """These parts with a 3D UNet for latents of so many cells, which has no silent layer."""
    torch.manual_seed(6)
    unet = diffusers.UNet3DConditionModel(
        sample_size=cells,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=16,
        norm_num_groups=4,
    ).eval()
    names = ("vae", "text_encoder", "tokenizer", "scheduler")
    return {**{name: components[name] for name in names}, "unet": unet}


def write_modelscope(folder: Path, components: dict[str, Any]) -> str:
    """diffusers' pipeline for ModelScope, which has the older kind of callback."""
    diffusers.TextToVideoSDPipeline(**modelscope_parts(components, 8)).save_pretrained(folder)
    return str(folder)


def write_rows(folder: Path, components: dict[str, Any]) -> dict[str, DiffusersPipeline]:
    """A specification for each real class, of a folder with tiny random weights."""
    checkpoint, motion = write_animatediff(folder, components)
    animatediff = ENGINES["animatediff"].pipeline
    assert animatediff is not None
    return {
        "animatediff": replace(
            animatediff, source=checkpoint, parts={"motion_adapter": ("MotionAdapter", motion)}, call=IMAGES
        ),
        "wan": replace(WAN, source=write_wan(folder / "wan")),
        "ltx": replace(LTX, source=write_ltx(folder / "ltx")),
        "cogvideox": replace(COGVIDEOX, source=write_cogvideox(folder / "cogvideox")),
        "modelscope": DiffusersPipeline(
            write_modelscope(folder / "modelscope", components), call=IMAGES, frames=(1, 0)
        ),
    }
