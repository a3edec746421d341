"""LoRAs, learned words, VAEs and single files through the facade, on tiny networks in the real formats."""

import copy
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import weights
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionPipeline

from errors import Cancelled, ModelUnavailable
from generation.schedulers import build_scheduler
from media.metadata import read_metadata
from model import Model
from model_manager import loader
from model_manager.builtin_models import ModelRow
from model_manager.catalogue import Extras
from model_manager.textual_inversion import read_vectors, with_embeddings
from pipelines.text_to_video import TextToVideoPipeline
from settings.parsing import from_json, parse

NETWORKS = ("unet", "text_encoder", "vae")


@pytest.fixture(scope="module")
def folder(components, tmp_path_factory):
    """A checkpoint, and everything that may be put on it, good and bad."""
    root = tmp_path_factory.mktemp("offered")
    TextToVideoPipeline(**components).save_pretrained(root / "tiny")
    weights.write_kohya_lora(root / "loras" / "kohya.safetensors", components)
    weights.write_diffusers_lora(root / "loras" / "plain.safetensors", components)
    generator = torch.Generator().manual_seed(7)
    vectors = torch.randn(2, 16, generator=generator)
    weights.write(root / "embeddings" / "Soft-Look.safetensors", {"emb_params": vectors})
    weights.write(root / "embeddings" / "blob.safetensors", {"<my-blob>": vectors[0]})
    weights.write(root / "embeddings" / "wide.safetensors", {"emb_params": torch.randn(1, 24)})
    weights.write(root / "embeddings" / "xl.safetensors", {"clip_l": vectors, "clip_g": torch.randn(2, 40)})
    torch.manual_seed(11)
    vae = AutoencoderKL.from_config(components["vae"].config)
    vae.save_pretrained(root / "vaes" / "folder")
    weights.write(root / "vaes" / "ldm.safetensors", weights.ldm_vae(vae))
    weights.write(root / "vaes" / "plain.safetensors", vae.state_dict())
    return root


@pytest.fixture
def model(folder):
    extras = Extras([str(folder / "loras")], [str(folder / "vaes")], [str(folder / "embeddings")])
    return Model([str(folder / "tiny")], device="cpu", extras=extras)


def settings(**changes):
    common = {"prompt": "a red circle", "model": "tiny", "num_frames": 3, "num_inference_steps": 3, "seed": 5}
    return parse(common | changes)


def held_weights(model) -> dict[str, torch.Tensor]:
    """Copies of all the weights that jobs share."""
    parts = model.loader.components(model.rows["tiny"])
    return {f"{part}.{name}": value.clone() for part in NETWORKS for name, value in parts[part].state_dict().items()}


def still(folder, change=lambda pipeline: None, **arguments) -> np.ndarray:
    """What plain diffusers draws with these settings, after ``change`` has added something: 0 to 255 (h, w, 3)."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder / "tiny")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = build_scheduler("dpm++ 2m", pipeline.scheduler.config)
    change(pipeline)
    given = {"prompt": "a red circle", "num_inference_steps": 3, "generator": torch.Generator().manual_seed(5)}
    pixels = pipeline(**(given | arguments), output_type="np").images[0]
    return (pixels * 255).round().astype(int)


# --- LoRA ------------------------------------------------------------------------------------------------------


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


# --- learned words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "name"), [("Soft-Look", "Soft-Look"), ("BLOB", "blob")])
def test_a_learned_word_in_a_prompt_is_what_diffusers_makes_of_it(model, folder, word, name):
    """In A1111's layout with several vectors and in diffusers' with one, in any case; frame 0 is the still image."""

    def add(pipeline):
        pipeline.load_textual_inversion(str(folder / "embeddings" / f"{name}.safetensors"), token="<it>")

    frame = model.generate(settings(prompt=f"a red circle, {word}")).frames[0].astype(int)
    assert np.abs(frame - still(folder, add, prompt="a red circle, <it>")).max() <= 1
    assert np.abs(frame - still(folder, prompt=f"a red circle, {word}")).max() > 2


STORYBOARDS = {
    "moments": "a blue star, {word} -> a red circle, {word}",
    "a line each": "a blue star, {word}\na red circle, {word}",
    "yaml": "frames: 3\nprompts:\n  0: a blue star, {word}\n  2: 'a red circle, {word}'",
    "yaml in one line": '{{frames: 3, prompts: {{0: "a blue star, {word}", 2: "a red circle, {word}"}}}}',
}


@pytest.mark.parametrize("storyboard", STORYBOARDS.values(), ids=STORYBOARDS)
@pytest.mark.parametrize("mode", ["text_to_video", "direct"])
def test_a_learned_word_that_only_a_storyboard_names_is_loaded(model, folder, mode, storyboard):
    """It was looked for in the prompt and the negative prompt alone, and elsewhere read as plain words."""

    def add(pipeline):
        pipeline.load_textual_inversion(str(folder / "embeddings" / "Soft-Look.safetensors"), token="<it>")

    frame = model.generate(settings(mode=mode, storyboard=storyboard.format(word="soft-look"))).frames[0].astype(int)
    assert np.abs(frame - still(folder, add, prompt="a blue star, <it>")).max() <= 1
    assert np.abs(frame - still(folder, prompt="a blue star, soft-look")).max() > 2


def test_a_learned_word_works_in_the_negative_prompt_and_leaves_nothing(model):
    """Tokenizer, table and weights that other jobs share are as before; what the user wrote is what is recorded."""
    parts = model.loader.components(model.rows["tiny"])
    tokens, rows = len(parts["tokenizer"]), len(parts["text_encoder"].get_input_embeddings().weight)
    before, plain = held_weights(model), model.generate(settings(negative_prompt="soft")).frames
    clip = model.generate(settings(negative_prompt="soft-look"))
    assert clip.settings.negative_prompt == "soft-look"
    assert not np.array_equal(clip.frames, plain)
    assert (len(parts["tokenizer"]), len(parts["text_encoder"].get_input_embeddings().weight)) == (tokens, rows)
    assert weights.same(before, held_weights(model))
    assert np.array_equal(model.generate(settings(negative_prompt="soft")).frames, plain)


def test_a_word_of_another_width_is_a_plain_word_and_that_is_said(model):
    """Also one for Stable Diffusion XL, half of which would fit."""
    for word in ("wide", "xl"):
        clip = model.generate(settings(prompt=f"a {word} circle"))
        assert f"The embedding {word} was made for another kind of checkpoint" in clip.notes[0]


def test_a_learned_word_is_read_only_when_it_is_mentioned(model, folder, monkeypatch):
    """Hundreds may lie there; one that breaks hurts nobody else, and whoever names it is told."""
    read = []
    original = read_vectors
    monkeypatch.setattr(
        "model_manager.textual_inversion.read_vectors", lambda *given: read.append(given[0]) or original(*given)
    )
    model.generate(settings(prompt="a softly blobbed circle", lora="kohya"))
    assert read == []
    monkeypatch.setattr("safetensors.torch.load_file", lambda path: {"emb_params": torch.zeros(())})
    with pytest.raises(ModelUnavailable, match=r"^the embedding blob"):
        model.generate(settings(prompt="a blob"))


def test_two_text_encoders_learn_a_word_together(components, folder):
    """As in Stable Diffusion XL: each gets its half, at the same places."""
    wide = copy.deepcopy(components["text_encoder"])
    wide.set_input_embeddings(torch.nn.Embedding(len(components["tokenizer"]), 40))
    parts = {**components, "text_encoder_2": wide, "tokenizer_2": copy.deepcopy(components["tokenizer"])}
    taught = with_embeddings(parts, {"xl": str(folder / "embeddings" / "xl.safetensors")})
    expected = read_vectors("xl", str(folder / "embeddings" / "xl.safetensors"))
    for encoder, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
        numbers = taught[tokenizer]("a <xl:0> <xl:1> circle").input_ids
        assert len(numbers) == len(taught[tokenizer]("a circle").input_ids) + 2
        table = taught[encoder].get_input_embeddings().weight
        place = numbers.index(taught[tokenizer].convert_tokens_to_ids("<xl:0>"))
        assert torch.equal(table[numbers[place : place + 2]], expected[encoder])
    one = {"Soft-Look": str(folder / "embeddings" / "Soft-Look.safetensors")}
    assert with_embeddings(parts, one) == {}


# --- VAE and ControlNet in one file ------------------------------------------------------------------------------


def test_a_vae_of_choice_draws_the_pictures(model):
    """The same weights from a diffusers folder and from either kind of file; the checkpoint's own comes back."""
    plain = model.generate(settings()).frames
    folder, ldm, file = (model.generate(settings(vae=name)).frames for name in ("folder", "ldm", "plain"))
    assert not np.array_equal(folder, plain)
    assert np.array_equal(folder, ldm)
    assert np.array_equal(folder, file)
    assert np.array_equal(model.generate(settings()).frames, plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_channels": 16}, "number of latent channels is 16, not 4"),
        ({"scaling_factor": 0.13025}, "scaling factor is 0.13025, not 0.18215"),
        (
            {
                "down_block_types": ["DownEncoderBlock2D"] * 3,
                "up_block_types": ["UpDecoderBlock2D"] * 3,
                "block_out_channels": [4] * 3,
            },
            "scale in pixels is 4, not 8",
        ),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_a_vae_that_does_not_fit_is_one_line(components, folder, tmp_path, change, message, as_file):
    """Other latents, another factor, another scale; a file tells by its shapes alone."""
    vae = AutoencoderKL.from_config(components["vae"].config, **change)
    if as_file:
        if "scaling_factor" in change:
            pytest.skip("a file does not say")
        weights.write(tmp_path / "it.safetensors", weights.ldm_vae(vae))
        message = "it.safetensors is not built like what it would stand for"
    else:
        vae.save_pretrained(tmp_path / "it")
    model = Model([str(folder / "tiny")], device="cpu", extras=Extras(vaes=[str(tmp_path)]))
    with pytest.raises(ModelUnavailable, match=message) as told:
        model.generate(settings(vae="it"))
    assert str(tmp_path) not in str(told.value)
    model.generate(settings())


def test_a_controlnet_in_one_file_steers(model, folder, control_components, tmp_path):
    """With a LoRA on the checkpoint, which the ControlNet does not get; one for another checkpoint is one line."""
    path = weights.write(tmp_path / "canny.safetensors", weights.ldm_controlnet(control_components["controlnet"]))
    wide = type(control_components["unet"]).from_config(control_components["unet"].config, cross_attention_dim=24)
    other = ControlNetModel.from_unet(wide, conditioning_embedding_out_channels=(4, 4, 4, 4))
    wrong = weights.write(tmp_path / "depth.safetensors", weights.ldm_controlnet(other))
    files = {"canny": str(path), "depth": str(wrong)}
    model.rows = {"tiny": ModelRow("tiny", "Tiny", str(folder / "tiny"), "", controlnets=files)}
    video = np.full((3, 96, 128, 3), 90, np.uint8)
    video[:, 20:70, 30:80] = 250

    def control(**changes):
        asked = {"prompt": "a red circle", "model": "tiny", "num_inference_steps": 3, "seed": 5, "control": "canny"}
        return parse(asked | {"source_is_control": True} | changes, "control")

    plain = model.generate(control(), source=video).frames
    assert not np.array_equal(model.generate(control(lora="kohya"), source=video).frames, plain)
    with pytest.raises(ModelUnavailable, match=r"depth.safetensors is not built like"):
        model.generate(control(control="depth"), source=video)
    assert np.array_equal(model.generate(control(), source=video).frames, plain)


def test_what_a_checkpoint_wears_counts_in_the_memory_budget(model):
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


# --- trigger words ---------------------------------------------------------------------------------------------


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
