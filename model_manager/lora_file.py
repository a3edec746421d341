"""LoRA files as all trainers write them (kohya, LyCORIS, OneTrainer, diffusers, PEFT), read into pairs by layer.

The names in a file decide which layer a weight is of; a layer's strength, alpha / rank (Hu et al. 2021, section 4.1),
is multiplied into its weights, so that every layer may have a rank and an alpha of its own.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import ModelUnavailable
from model_manager.networks import text_encoders_of

if TYPE_CHECKING:
    import torch

PEFT_PREFIX = "base_model.model."
PEFT_CONFIG = "adapter_config.json"
# Beginnings of names in files, by component. kohya counts the text encoders where there are two.
PREFIXES = {
    "unet": ("lora_unet_", "unet.", "diffusion_model.", "lycoris_", ""),
    "text_encoder": ("lora_te_", "lora_te1_", "text_encoder.", "lycoris_", ""),
    "text_encoder_2": ("lora_te2_", "text_encoder_2."),
}
# Endings of names, by what the weight is. The old processors of diffusers name the layer within the ending.
PARTS = {
    "down": r"\.(?:lora_down|lora\.down|lora_A|lora_A\.\w+|lora_linear_layer\.down)\.weight",
    "up": r"\.(?:lora_up|lora\.up|lora_B|lora_B\.\w+|lora_linear_layer\.up)\.weight",
    "mid": r"\.lora_mid\.weight",
    "alpha": r"\.alpha",
}
_OLD_PROCESSOR = re.compile(r"(.*)\.processor\.(to_[qkv]|to_out)_lora\.(down|up)\.weight")
_PART = re.compile("(.+?)(?:" + "|".join(f"(?P<{part}>{ending})" for part, ending in PARTS.items()) + ")")
_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3"}
_RESNET |= {"time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
_ENDS = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
_ENDS |= {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
_ENDS |= {"conv_in": "input_blocks.0.0", "conv_out": "out.2"}


@dataclass(frozen=True)
class Layer:
    """Layer of a component: its name there."""

    component: str
    path: str


@dataclass(frozen=True)
class SortedNames:
    """Names of a file's weights by layer and part ("down", "up", "mid", "alpha"), and those that are of no layer here:
    ``foreign`` low-rank weights of other layers, ``beside`` weights of another kind."""

    layers: Mapping[Layer, Mapping[str, str]] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def sort_names(names: Iterable[str], components: Mapping[str, Any]) -> SortedNames:
    """Sort the names of a file's weights by the layers of a checkpoint's components."""
    known = dict(_known_layers(components))
    layers: dict[Layer, dict[str, str]] = {}
    foreign, beside = [], []
    for name in names:
        base, part = _split(name)
        layer = known.get(base.removeprefix(PEFT_PREFIX))
        if layer is not None and part:
            layers.setdefault(layer, {})[part] = name
        elif part and not name.startswith("bundle_emb"):
            foreign.append(base)
        else:
            beside.append(name)
    return SortedNames(layers, tuple(dict.fromkeys(foreign)), tuple(beside))


def _split(name: str) -> tuple[str, str]:
    """The layer and the part that a weight's name names; the part is empty where it is none of a LoRA's."""
    if old := _OLD_PROCESSOR.fullmatch(name):
        return f"{old[1]}.{old[2]}", old[3]
    found = _PART.fullmatch(name)
    return (found[1], str(found.lastgroup)) if found else (name, "")


def _known_layers(components: Mapping[str, Any]) -> Iterator[tuple[str, Layer]]:
    """All names that files have for the layers of the UNet and the text encoders."""
    for component in ("unet", *(names.encoder for names in text_encoders_of(components))):
        network = components[component]
        weighted = {path: module for path, module in network.named_modules() if _can_have_lora(module)}
        spelled = _spelled_unet(network, list(weighted)) if component == "unet" else _spelled_encoder(list(weighted))
        for path, spellings in spelled.items():
            for spelling in {each for name in spellings for each in (name, name.replace(".", "_"))}:
                yield from ((f"{prefix}{spelling}", Layer(component, path)) for prefix in PREFIXES[component])


def _can_have_lora(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return weight is not None and weight.ndim in (2, 4) and not hasattr(module, "num_embeddings")


def _spelled_encoder(paths: list[str]) -> dict[str, list[str]]:
    """Names of a text encoder's layers: transformers has wrapped them in ``text_model`` and unwrapped them again."""
    return {path: [path, f"text_model.{path.removeprefix('text_model.')}"] for path in paths}


def _spelled_unet(unet: Any, paths: list[str]) -> dict[str, list[str]]:
    """Names of a UNet's layers: diffusers', and those of Stable Diffusion's authors."""
    per_block = unet.config.layers_per_block
    attends = {match[1] for path in paths if (match := re.match(r"up_blocks\.(\d+)\.attentions", path))}
    spelled = {}
    for path in paths:
        blocks = per_block if isinstance(per_block, int) else per_block[0]
        spelled[path] = [path, path.removesuffix(".0")] if path.endswith("to_out.0") else [path]
        spelled[path] += [authors] if (authors := authors_name(path, blocks, attends)) else []
    return spelled


def authors_name(path: str, per_block: int, attends: set[str]) -> str:
    """The name of a UNet's layer in the layout of Stable Diffusion's authors; empty where there is none."""
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", path)
    if match is None:
        middle = re.fullmatch(r"mid_block\.(\w+)\.(\d+)\.(.+)", path)
        if middle is None:
            return _ENDS.get(path, "")
        place = 1 if middle[1] == "attentions" else 2 * int(middle[2])
        return f"middle_block.{place}.{_RESNET.get(middle[3], middle[3])}"
    side, block, kind, index, rest = match.groups()
    width = per_block + 1
    if side == "down":
        place = 1 + int(block) * width + (per_block if kind == "downsamplers" else int(index))
        inside = "0.op" if kind == "downsamplers" else "1" if kind == "attentions" else "0"
    else:
        place = int(block) * width + (per_block if kind == "upsamplers" else int(index))
        inside = (
            f"{2 if block in attends else 1}.conv" if kind == "upsamplers" else "1" if kind == "attentions" else "0"
        )
    rest = "" if kind.endswith("samplers") else f".{_RESNET.get(rest, rest)}"
    return f"{'input' if side == 'down' else 'output'}_blocks.{place}.{inside}{rest}"


def low_rank_pair(
    layer: Layer, weights: Mapping[str, "torch.Tensor"], wanted: tuple[int, ...], strength: float | None
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return the down and up weights of a layer, in float32, with its strength in the latter.

    Args:
        layer: for messages.
        weights: of the file, by part.
        wanted: shape of the layer's own weight.
        strength: where the file has no alpha; None for 1.

    Raises:
        ModelUnavailable: a part is missing, or the shapes are another layer's; the end of a sentence.
    """
    import torch

    if not {"down", "up"} <= weights.keys():
        raise ModelUnavailable(f"it holds only half of the layer {layer.path}")
    down, up = weights["down"].float(), weights["up"].float()
    rank = down.shape[0]
    if "mid" in weights:  # CP decomposition: 1x1 down, the kernel between rank and rank, 1x1 up
        down = torch.einsum("rjhw,ji->rihw", weights["mid"].float(), down.reshape(rank, -1))
    kernel = wanted[2:] if down.ndim == 2 or down.shape[2:] == wanted[2:] else down.shape[2:]
    fits = up.shape[0] == wanted[0] and up.shape[1] == down.shape[0] and down[0].numel() == math.prod(wanted[1:])
    if not fits or (kernel != wanted[2:] and wanted[2:]):
        made_for = "x".join(map(str, (up.shape[0], *down.shape[1:])))
        raise ModelUnavailable(
            f"it was made for another kind, where {layer.path} is {made_for}, not {'x'.join(map(str, wanted))}"
        )
    if "alpha" in weights:
        strength = float(weights["alpha"]) / rank
    down, up = down.reshape(down.shape[0], *wanted[1:]), up.reshape(*up.shape[:2], *[1] * len(wanted[2:]))
    return down, up * (1.0 if strength is None else strength)


@dataclass(frozen=True)
class Strengths:
    """Strengths that stand beside the weights: in PEFT's configuration, or the metadata that diffusers writes."""

    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by component, "" for all

    def of(self, layer: Layer, rank: int) -> float | None:
        """Return alpha / rank of a layer, alpha / sqrt(rank) where the file asks for that, None if nothing is said."""
        config = self.configs.get(layer.component, self.configs.get("", {}))
        alpha = config.get("lora_alpha")
        for name, own in (config.get("alpha_pattern") or {}).items():
            if layer.path == name or layer.path.endswith(f".{name}"):
                alpha = own
        if not isinstance(alpha, int | float):
            return None
        return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def read_strengths(path: Path, names: Iterable[str], metadata: Mapping[str, str]) -> Strengths:
    """Read the strengths beside a file's weights; raises ModelUnavailable, the end of a sentence, where PEFT's
    configuration is missing or asks for what is no LoRA."""
    if any(name.startswith(PEFT_PREFIX) for name in names):
        try:
            config = json.loads((path.parent / PEFT_CONFIG).read_text("utf-8-sig"))
            assert isinstance(config, dict)
        except (OSError, ValueError, AssertionError):
            raise ModelUnavailable(f"{PEFT_CONFIG}, which says how strongly it works, is not beside it") from None
        if config.get("use_dora"):
            raise ModelUnavailable("it is a DoRA, which this program cannot apply")
        return Strengths({"": config})
    try:
        flat = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        flat = {}
    configs: dict[str, dict[str, Any]] = {}
    for name, value in flat.items() if isinstance(flat, dict) else ():
        component, _, key = name.partition(".")
        configs.setdefault(component, {})[key] = value
    return Strengths(configs)
