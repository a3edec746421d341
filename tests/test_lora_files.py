"""LoRAs of every trainer: each layer at the strength that its file says, what is beside it named, and true refusals."""

import json

import pytest
import torch
import weights
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file

from errors import ModelUnavailable
from model_manager.adapters import ADAPTER, left_out, with_loras
from model_manager.builtin_models import Lora
from model_manager.discovery import LORAS, name_of, sources_of

ATTENTION = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
CONVOLUTION = "down_blocks.0.resnets.0.conv1"
LAYERS = (ATTENTION, CONVOLUTION, "mid_block.attentions.0.proj_in", "up_blocks.0.resnets.0.time_emb_proj")
ENCODER = "encoder.layers.0.self_attn.q_proj"
RANKS = {path: rank for rank, path in enumerate((*LAYERS, ENCODER), 1)}


@pytest.fixture(scope="module")
def shapes(components):
    """Shapes of the weights of some layers; the last is the text encoder's."""
    encoder = dict(components["text_encoder"].named_modules())
    own = next(encoder[name] for name in encoder if name.endswith(ENCODER))
    return {path: components["unet"].get_submodule(path).weight.shape for path in LAYERS} | {ENCODER: own.weight.shape}


def pair(shape, rank, seed=0):
    """A down and an up weight for a layer of this shape."""
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, *shape[1:], generator=generator)
    return down, torch.randn(shape[0], rank, *[1] * len(shape[2:]), generator=generator)


def product(down, up):
    """What a pair adds to a weight, at strength 1."""
    return (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def apply(path, components, scale=1.0):
    """What a file adds to each layer of the components, by its name."""
    copies = with_loras(components, [Lora("it", str(path), scale)])
    layers = [(name, module) for network in copies.values() for name, module in network.named_modules()]
    added = {name: layer for name, layer in layers if isinstance(layer, BaseTunerLayer)}
    return {name.removeprefix("text_model."): layer.get_delta_weight(ADAPTER).detach() for name, layer in added.items()}


def assert_added(added, wanted):
    """These layers and no others, to the precision of float32."""
    assert added.keys() == wanted.keys()
    for name, delta in wanted.items():
        assert torch.allclose(added[name], delta.reshape(added[name].shape), atol=1e-5), name


def kohya(shapes, alphas):
    """A file in kohya's layout with a rank and an alpha of its own in every layer, and what it adds."""
    tensors, wanted = {}, {}
    for path, shape in shapes.items():
        down, up = pair(shape, RANKS[path])
        prefix = "lora_te_text_model_" if path == ENCODER else "lora_unet_"
        key = prefix + path.replace(".", "_")
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        if alphas[path] is not None:
            tensors[f"{key}.alpha"] = torch.tensor(alphas[path])
        wanted[path] = product(down, up) * (1.0 if alphas[path] is None else alphas[path] / RANKS[path])
    return tensors, wanted


def test_every_layer_has_the_rank_and_the_alpha_of_its_file(components, shapes, tmp_path):
    """As resized LoRAs have; layers without an alpha work at 1; the scale multiplies all."""
    alphas = {path: None if index == 1 else 0.5 + index for index, path in enumerate(shapes)}
    tensors, wanted = kohya(shapes, alphas)
    path = weights.write(tmp_path / "resized.safetensors", tensors)
    assert_added(apply(path, components), wanted)
    assert_added(apply(path, components, 0.5), {name: delta / 2 for name, delta in wanted.items()})
    assert list(left_out(Lora("it", str(path)), components)) == []


def test_a_kernel_that_is_decomposed_is_multiplied_out(components, shapes, tmp_path):
    """LoCon with CP decomposition: 1x1, 3x3 between rank and rank, 1x1."""
    shape, key = shapes[CONVOLUTION], f"lora_unet_{CONVOLUTION.replace('.', '_')}"
    down, mid, up = torch.randn(3, shape[1], 1, 1), torch.randn(3, 3, 3, 3), torch.randn(shape[0], 3, 1, 1)
    tensors = {f"{key}.lora_{part}.weight": each for part, each in (("down", down), ("mid", mid), ("up", up))}
    path = weights.write(tmp_path / "cp.safetensors", tensors | {f"{key}.alpha": torch.tensor(1.5)})
    wanted = torch.einsum("or,rjhw,ji->oihw", up.flatten(1), mid, down.flatten(1)) / 2
    assert_added(apply(path, components), {CONVOLUTION: wanted})


@pytest.mark.parametrize("config", [{}, {"use_rslora": True}, {"alpha_pattern": {"attn1.to_q": 1}}])
def test_pefts_own_format_works_as_its_configuration_says(components, shapes, tmp_path, config):
    """As a file and as a folder, which gives it its name."""
    down, up = pair(shapes[ATTENTION], 4)
    base = f"base_model.model.{ATTENTION}"
    folder = tmp_path / "style"
    path = folder / "adapter_model.safetensors"
    weights.write(path, {f"{base}.lora_A.weight": down, f"{base}.lora_B.weight": up})
    with pytest.raises(ModelUnavailable, match=r"adapter_config.json, which says how strongly it works"):
        apply(path, components)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8, **config}))
    strength = {"use_rslora": 4.0, "alpha_pattern": 0.25}.get(next(iter(config), ""), 2.0)
    assert_added(apply(path, components), {ATTENTION: product(down, up) * strength})
    assert [name_of(source) for source in sources_of(LORAS, str(folder))] == ["style"]


OTHER_NAMES = {
    "diffusers": "unet.{}.lora_{}.weight",
    "diffusers, older": "unet.{}.lora.{}.weight",
    "authors": "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q.lora_{}.weight",
    "old processors": "mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.{}.weight",
    "adapter of a name": "unet.{}.lora_{}.default.weight",
}


@pytest.mark.parametrize("kind", OTHER_NAMES)
def test_layers_are_found_under_all_their_names(components, shapes, tmp_path, kind):
    """Of diffusers, now and before, and of Stable Diffusion's authors."""
    down, up = pair(shapes[ATTENTION], 2)
    ends = ("A", "B") if kind in ("diffusers", "adapter of a name") else ("down", "up")
    spelled = OTHER_NAMES[kind]
    names = [spelled.format(*([ATTENTION] if spelled.count("{}") == 2 else []), end) for end in ends]
    path = weights.write(tmp_path / "it.safetensors", dict(zip(names, (down, up), strict=True)))
    assert_added(apply(path, components), {ATTENTION: product(down, up)})


def test_the_authors_names_of_every_layer_are_those_of_their_checkpoints(xl_components):
    """No two layers of a UNet share one; blocks, samplers and embeddings all have one."""
    from model_manager.lora_file import _known_layers

    known = dict(_known_layers(xl_components))
    unet = [
        path for path, module in xl_components["unet"].named_modules() if getattr(module, "weight", None) is not None
    ]
    for name, path in (
        ("input_blocks_1_0_in_layers_2", "down_blocks.0.resnets.0.conv1"),
        ("input_blocks_2_0_op", "down_blocks.0.downsamplers.0.conv"),
        ("input_blocks_3_1_transformer_blocks_1_attn2_to_out_0", "down_blocks.1.attentions.0.transformer_blocks.1"),
        ("output_blocks_1_2_conv", "up_blocks.0.upsamplers.0.conv"),
        ("label_emb_0_2", "add_embedding.linear_2"),
        ("middle_block_2_out_layers_3", "mid_block.resnets.1.conv2"),
    ):
        assert known[f"lora_unet_{name}"].path.startswith(path)
        assert known[f"lora_unet_{name}"].path in unet
    assert known["lora_te2_text_model_encoder_layers_0_mlp_fc1"].component == "text_encoder_2"


def test_metadata_of_diffusers_sets_the_strength(components, shapes, tmp_path):
    """Where the file has no alphas: by component."""
    down, up = pair(shapes[ATTENTION], 2)
    tensors = {f"unet.{ATTENTION}.lora_A.weight": down, f"unet.{ATTENTION}.lora_B.weight": up}
    facts = {"unet.r": 2, "unet.lora_alpha": 6}
    path = tmp_path / "it.safetensors"
    save_file(tensors, path, metadata={"lora_adapter_metadata": json.dumps(facts)})
    assert_added(apply(path, components), {ATTENTION: product(down, up) * 3})


def test_what_is_beside_the_lora_is_named(components, shapes, tmp_path):
    """A bundled embedding, and layers of another network; the rest works."""
    tensors, wanted = kohya(shapes, dict.fromkeys(shapes, 2.0))
    tensors["bundle_emb.mytoken.string_to_param.*"] = torch.zeros(1, 16)
    tensors["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = torch.zeros(2, 16)
    path = weights.write(tmp_path / "it.safetensors", tensors)
    assert_added(apply(path, components), wanted)
    foreign, beside = left_out(Lora("it", str(path)), components)
    assert "layers that this checkpoint does not have" in foreign
    assert "lora_te2_text_model_encoder_layers_0_mlp_fc1" in foreign
    assert "bundle_emb.mytoken" in beside


def test_made_for_another_kind_is_said_where_shapes_show_it(components, shapes, tmp_path):
    """With the layer and both shapes."""
    down, up = pair((24, 24), 2)
    key = f"lora_unet_{ATTENTION.replace('.', '_')}"
    path = weights.write(tmp_path / "it.safetensors", {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up})
    with pytest.raises(ModelUnavailable, match=r"made for another kind, where mid_block.* is 24x24, not "):
        apply(path, components)
    path = weights.write(tmp_path / "it.safetensors", {"mytoken": torch.zeros(1, 16)})
    with pytest.raises(ModelUnavailable, match="it is not a LoRA"):
        apply(path, components)
