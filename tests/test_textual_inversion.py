"""Learned words through the facade, on tiny networks in the real formats."""

import copy

import numpy as np
import pytest
import torch
import weights
from offered import held_weights, offering_model, settings, still, write_offered

from errors import ModelUnavailable
from model_manager.textual_inversion import read_vectors, with_embeddings


@pytest.fixture(scope="module")
def folder(components, tmp_path_factory):
    return write_offered(tmp_path_factory.mktemp("offered"), components)


@pytest.fixture
def model(folder):
    return offering_model(folder)


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
