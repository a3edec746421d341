"""Small random weights in the formats that other programs write: LoRAs, embeddings, VAEs, ControlNets in one file."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from model_manager.lora_file import authors_name


def linears(network: Any, *parts: str) -> dict[str, torch.nn.Linear]:
    """The linear layers whose names hold one of the parts."""
    found = {name: module for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    return {name: module for name, module in found.items() if any(part in name for part in parts)}


def lora_layers(components: dict[str, Any], rank: int = 2) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Down and up weights for attention and feed-forward of both networks, under the names diffusers gives them."""
    generator = torch.Generator().manual_seed(3)
    layers = {f"unet.{name}": layer for name, layer in linears(components["unet"], "attn", "ff.").items()}
    encoder = linears(components["text_encoder"], "layers.")
    layers |= {f"text_encoder.text_model.{name}": layer for name, layer in encoder.items()}
    return {
        name: (
            0.3 * torch.randn(rank, layer.in_features, generator=generator),
            0.3 * torch.randn(layer.out_features, rank, generator=generator),
        )
        for name, layer in layers.items()
    }


def write_kohya_lora(path: Path, components: dict[str, Any], alpha: float = 1.0) -> Path:
    """As kohya's scripts and A1111 have them: names with underscores, an alpha for each layer, half precision."""
    tensors = {}
    for name, (down, up) in lora_layers(components).items():
        part, _, rest = name.partition(".")
        key = f"lora_{'unet' if part == 'unet' else 'te'}_{rest.replace('.', '_')}"
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(alpha)}
    return write(path, {name: tensor.half() for name, tensor in tensors.items()})


def write_diffusers_lora(path: Path, components: dict[str, Any]) -> Path:
    """As diffusers' training scripts save them."""
    tensors = {}
    for name, (down, up) in lora_layers(components).items():
        tensors |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    return write(path, tensors)


def write(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """A file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def cut(path: Path) -> Path:
    """A file that lacks its last byte, as half a download does."""
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - 1)
    return path


def renamed(name: str, *rules: tuple[str, str]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def ldm_vae(vae: Any) -> dict[str, torch.Tensor]:
    """An autoencoder's weights as Stable Diffusion's authors call them."""
    levels = len(vae.config.block_out_channels)
    tensors = {}
    for name, tensor in vae.state_dict().items():
        attention = ".attentions.0." in name
        name = renamed(
            name,
            (r"conv_norm_out", "norm_out"),
            (r"mid_block\.attentions\.0\.", "mid.attn_1."),
            (r"(attn_1)\.group_norm", r"\1.norm"),
            (r"\.to_(q|k|v)\.", r".\1."),
            (r"\.to_out\.0\.", ".proj_out."),
            (r"down_blocks\.(\d+)\.resnets", r"down.\1.block"),
            (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
            (r"conv_shortcut", "nin_shortcut"),
        )
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", name)
        name = re.sub(r"up_blocks\.(\d+)", lambda match: f"up.{levels - 1 - int(match[1])}", name)
        name = renamed(name, (r"(up\.\d+)\.resnets", r"\1.block"), (r"(up\.\d+)\.upsamplers\.0", r"\1.upsample"))
        tensors[name] = tensor[:, :, None, None] if attention and tensor.ndim == 2 else tensor
    return tensors


def ldm_unet(unet: Any) -> dict[str, torch.Tensor]:
    """A UNet's weights as Stable Diffusion's authors call them."""
    per_block = unet.config.layers_per_block
    attends = {match[1] for name in unet.state_dict() if (match := re.match(r"up_blocks\.(\d+)\.attentions", name))}
    tensors = {}
    for name, tensor in unet.state_dict().items():
        path, _, end = name.rpartition(".")
        tensors[f"{authors_name(path, per_block, attends) or path.replace('conv_norm_out', 'out.0')}.{end}"] = tensor
    return {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}


def ldm_checkpoint(components: dict[str, Any]) -> dict[str, torch.Tensor]:
    """A whole checkpoint of Stable Diffusion 1.x as its authors call the weights."""
    encoder = {name.removeprefix("text_model."): each for name, each in components["text_encoder"].state_dict().items()}
    text = {f"cond_stage_model.transformer.text_model.{name}": tensor for name, tensor in encoder.items()}
    vae = {f"first_stage_model.{name}": tensor for name, tensor in ldm_vae(components["vae"]).items()}
    return {**ldm_unet(components["unet"]), **text, **vae}


def ldm_controlnet(controlnet: Any) -> dict[str, torch.Tensor]:
    """A ControlNet's weights as its authors call them."""
    depth = controlnet.config.layers_per_block + 1

    def block(match: re.Match) -> str:
        number = 1 + int(match[1]) * depth + (depth - 1 if match[2] == "downsamplers" else int(match[3]))
        return f"input_blocks.{number}." + {"resnets": "0", "attentions": "1", "downsamplers": "0"}[match[2]]

    tensors = {}
    for name, tensor in controlnet.state_dict().items():
        name = re.sub(r"^down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)", block, name)
        name = re.sub(r"^mid_block\.resnets\.(\d)", lambda match: f"middle_block.{2 * int(match[1])}", name)
        name = re.sub(
            r"^controlnet_cond_embedding\.blocks\.(\d+)", lambda m: f"input_hint_block.{2 * int(m[1]) + 2}", name
        )
        name = renamed(
            name,
            (r"^mid_block\.attentions\.0", "middle_block.1"),
            (r"^conv_in\.", "input_blocks.0.0."),
            (r"^time_embedding\.linear_1", "time_embed.0"),
            (r"^time_embedding\.linear_2", "time_embed.2"),
            (r"^controlnet_down_blocks\.(\d+)", r"zero_convs.\1.0"),
            (r"^controlnet_mid_block", "middle_block_out.0"),
            (r"^controlnet_cond_embedding\.conv_in", "input_hint_block.0"),
            (r"^controlnet_cond_embedding\.conv_out", "input_hint_block.14"),
            (r"\.0\.conv\.(weight|bias)$", r".0.op.\1"),
            (r"(_blocks?\.\d+(\.0)?)\.conv\.(weight|bias)$", r"\1.op.\3"),
            (r"\.norm1\.(weight|bias)$", r".norm1.\1"),
        )
        if ".transformer_blocks." not in name:
            name = renamed(
                name,
                (r"\.norm1\.", ".in_layers.0."),
                (r"\.conv1\.", ".in_layers.2."),
                (r"\.time_emb_proj\.", ".emb_layers.1."),
                (r"\.norm2\.", ".out_layers.0."),
                (r"\.conv2\.", ".out_layers.3."),
                (r"\.conv_shortcut\.", ".skip_connection."),
            )
        tensors[f"control_model.{name}"] = tensor
    return tensors


def same(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    return before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())
