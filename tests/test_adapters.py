"""LoRAs and trigger words through the facade, on tiny networks in the real formats; adapters and the memory budget."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import weights
from offered import held_weights, offering_model, settings, still, write_offered

from errors import Cancelled, ModelUnavailable
from media.metadata import read_metadata
from model import Model
from model_manager import loader
from model_manager.builtin_models import ModelRow
from model_manager.catalogue import Extras
from settings.parsing import from_json


@pytest.fixture(scope="module")
def folder(components, tmp_path_factory):
    return write_offered(tmp_path_factory.mktemp("offered"), components)


@pytest.fixture
def model(folder):
    return offering_model(folder)


@pytest.mark.parametrize("name", ["kohya", "plain"])
def test_frame_0_with_a_lora_is_the_still_image_with_it(model, folder, name):
    """In kohya's layout (with its alphas) and in diffusers', at the scale asked for."""

    def add(pipeline):
        pipeline.load_lora_weights(str(folder / "loras" / f"{name}.safetensors"), adapter_name="other")
        pipeline.set_adapters(["other"], [0.7])

    frame = model.generate(settings(lora=name, lora_scale=0.7)).frames[0].astype(int)
    assert np.abs(frame - still(folder, add)).max() <= 1
    assert np.abs(frame - still(folder)).max() > 10


def test_scale_0_is_the_model_without_the_lora_and_the_scale_matters(model):
    """Bit for bit; and the text encoder's half works too."""
    plain, none, half, full = (
        model.generate(settings(**asked)).frames.astype(int)
        for asked in ({}, *({"lora": "kohya", "lora_scale": scale} for scale in (0.0, 0.5, 1.0)))
    )
    assert np.array_equal(none, plain)
    assert np.abs(half - plain).max() > 5
    assert np.abs(full - half).max() > 5


def test_with_a_lora_the_chunk_changes_nothing(model):
    """Frames still attend to the first through the layers that the LoRA has wrapped."""
    at_once, one_by_one = (
        model.generate(settings(lora="kohya", chunk_size=size)).frames.astype(int) for size in (3, 1)
    )
    assert np.abs(at_once - one_by_one).max() <= 1


def test_two_loras_one_after_the_other_never_show_each_others_weights(model):
    """A, B, none, A; in between one is cancelled and one breaks down: weights stay bit-identical."""
    before = held_weights(model)
    first = model.generate(settings(lora="kohya")).frames
    other = model.generate(settings(lora="plain")).frames
    plain = model.generate(settings()).frames
    assert not np.array_equal(first, other)
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        model.generate(settings(lora="plain"), on_step=lambda _: cancel.set(), cancel=cancel)
    assert weights.same(before, held_weights(model))

    def fail(progress):
        raise RuntimeError("the caller's")

    with pytest.raises(RuntimeError, match="the caller's"):
        model.generate(settings(lora="plain"), on_step=fail)
    assert weights.same(before, held_weights(model))
    assert np.array_equal(model.generate(settings(lora="kohya")).frames, first)
    assert np.array_equal(model.generate(settings()).frames, plain)


def test_a_lora_travels_in_the_file_by_its_name(model, tmp_path):
    """What is read back makes the clip again; no path is in it."""
    clip = model.generate(settings(lora="kohya", lora_scale=0.5, vae="ldm"))
    text = read_metadata(clip.save(tmp_path / "clip.mp4"))["settings"]
    assert "/" not in text
    assert np.array_equal(model.generate(from_json(text)).frames, clip.frames)


@pytest.fixture(scope="module")
def bad_loras(components, folder, tmp_path_factory):
    """Files that look like LoRAs until they are put on this checkpoint."""
    root = tmp_path_factory.mktemp("bad")
    wider = dict(components)
    torch.manual_seed(1)
    config = components["unet"].config
    wider["unet"] = type(components["unet"]).from_config(config, cross_attention_dim=24)
    weights.write_kohya_lora(root / "wider.safetensors", wider)
    nowhere = {
        f"lora_unet_nowhere_{index}.lora_{end}.weight": torch.zeros(shape)
        for index in range(2)
        for end, shape in (("down", (2, 16)), ("up", (16, 2)))
    }
    weights.write(root / "nowhere.safetensors", nowhere)
    weights.write(root / "foreign.safetensors", {"transformer.blocks.0.lora_A.weight": torch.zeros(2, 16)})
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    loha = {f"{key}.{name}": torch.zeros(2, 2) for name in ("hada_w1_a", "hada_w1_b", "lora_down.weight")}
    weights.write(root / "loha.safetensors", loha)
    weights.write(root / "odd.safetensors", {f"{key}.lora_down.weight": torch.zeros(2, 16)})
    for name in ("halved", "gone"):
        shutil.copy(folder / "loras" / "kohya.safetensors", root / f"{name}.safetensors")
    return root


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wider", "the LoRA wider does not fit this checkpoint"),
        ("nowhere", "the LoRA nowhere"),
        ("foreign", "the LoRA foreign fits nothing in this checkpoint"),
        ("loha", "the LoRA loha is a LoHa, which this program cannot apply"),
        ("odd", "the LoRA odd does not fit this checkpoint"),
        ("halved", "halved.safetensors is not whole"),
        ("gone", "gone.safetensors cannot be read"),
        ("zz", "lora: must be empty or one of"),
        ("../kohya", "lora: must be empty or one of"),
    ],
)
def test_a_lora_that_does_not_fit_is_one_line_and_leaves_nothing(folder, bad_loras, name, message):
    """Another width, other layers, another kind, half a file, no file, no such name: the next job is as before."""
    model = Model([str(folder / "tiny")], device="cpu", extras=Extras(loras=[str(bad_loras)]))
    before = held_weights(model)
    if name == "halved":
        weights.cut(bad_loras / "halved.safetensors")
    if name == "gone":
        (bad_loras / "gone.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match=message) as told:
        model.generate(settings(lora=name))
    assert str(bad_loras) not in str(told.value)
    assert "\n" not in str(told.value)
    assert weights.same(before, held_weights(model))


def test_adapters_and_a_vae_count_in_the_memory_budget(model):
    """A VAE goes like everything else when another comes; a LoRA is never held."""
    model._loader = loader.Loader("cpu", budget_bytes=1)
    model.generate(settings(vae="folder", lora="kohya"))
    assert [key[0] for key in model.loader._held] == ["checkpoint", "vae"]
    model.generate(settings(vae="ldm"))
    assert [Path(key[1]).name for key in model.loader._held] == ["tiny", "ldm.safetensors"]


def test_a_job_short_of_memory_keeps_the_weights_under_its_lora(model):
    """The job's networks are copies around what is held; everything else goes."""
    row = model.catalogue.with_adapters(model.rows["tiny"], settings(lora="kohya", vae="folder"))
    taught = model.loader.components(row)
    assert taught["unet"] is not model.loader.components(model.rows["tiny"])["unet"]
    model.loader.keep_only([taught["unet"]])
    assert [key[0] for key in model.loader._held] == ["checkpoint"]


def test_trigger_words_reach_the_checkpoint_and_not_the_record(model, folder):
    """The video says what the user wrote; the picture is that of the words together; their tokens are counted."""
    styled = ModelRow("styled", "Styled", str(folder / "tiny"), "", trigger="a blue star")
    model.rows = {**model.rows, "styled": styled}
    clip = model.generate(settings(model="styled"))
    assert clip.settings.prompt == "a red circle"
    assert np.array_equal(clip.frames, model.generate(settings(prompt="a blue star, a red circle")).frames)
    said = model.generate(settings(model="styled", prompt="a red circle, A Blue Star")).frames
    assert np.array_equal(said, model.generate(settings(prompt="a red circle, A Blue Star")).frames)
    limit = model.loader.components(styled)["tokenizer"].model_max_length
    just = " ".join(["red"] * (limit - 2))
    assert model.generate(settings(prompt=just)).notes == ()
    assert f"{limit + 4} tokens long" in model.generate(settings(model="styled", prompt=just)).notes[0]
