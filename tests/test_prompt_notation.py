"""Notation that people copy into prompts: weights as in A1111, LoRAs by tags, one line for what is not carried out."""

import numpy as np
import pytest
import torch
from offered import offering_model, settings, write_offered

from model_manager.prompt_notation import notation_notes, tagged_loras, words_of
from pipelines.prompt_weights import WeightedText, plain_text, read_weights, weigh
from pipelines.video import RunOptions


@pytest.fixture(scope="module")
def folder(components, tmp_path_factory):
    return write_offered(tmp_path_factory.mktemp("offered"), components)


@pytest.fixture
def model(folder):
    return offering_model(folder)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a red circle", [("a red circle", 1)]),
        ("(red:1.3) circle", [("red", 1.3), (" circle", 1)]),
        ("((red)) circle", [("red", 1.21), (" circle", 1)]),
        ("[red] circle", [("red", 1 / 1.1), (" circle", 1)]),
        ("(a (red:1.5) circle:0.8)", [("a ", 0.8), ("red", 1.2), (" circle", 0.8)]),
        ("(red: .5 ) dog", [("red", 0.5), (" dog", 1)]),
        (r"a dog \(brown\)", [("a dog (brown)", 1)]),
        ("a) first, b) second :)", [("a) first, b) second :)", 1)]),
        ("a (dog", [("a ", 1), ("dog", 1.1)]),
        ("a dog [or cat)", [("a dog ", 1), ("or cat)", 1 / 1.1)]),
        ("at 5:30 (a dog)", [("at 5:30 ", 1), ("a dog", 1.1)]),
        ("", [("", 1)]),
    ],
)
def test_weights_are_read_as_a1111_writes_them(text, parts):
    """Nested ones multiply; a bracket may be a bracket."""
    read = read_weights(text)
    assert read.text == "".join(words for words, _ in parts)
    wanted = [weight for words, weight in parts for _ in words]
    assert np.allclose(read.weights or np.ones(len(read.text)), wanted)


def test_each_token_is_multiplied_by_its_weight_and_the_mean_stays(components):
    """The marks of the beginning and the end stay as they are but for the mean."""
    tokenizer, embeddings = components["tokenizer"], torch.rand(32, 16, generator=torch.Generator().manual_seed(2))
    text = read_weights("a (red:1.5) circle")
    weighted = weigh(embeddings, text, tokenizer)
    of_tokens = weighted / embeddings
    ids = tokenizer("a red circle").input_ids
    red = ids.index(tokenizer("red", add_special_tokens=False).input_ids[0])
    assert torch.allclose(of_tokens[red], 1.5 * of_tokens[0], rtol=1e-4)
    assert torch.allclose(of_tokens[red + 1 :], of_tokens[:1].expand(31 - red, -1), rtol=1e-4)
    assert torch.isclose(weighted.mean(), embeddings.mean())
    assert weigh(embeddings, WeightedText("a red circle"), tokenizer) is embeddings


def test_weights_of_one_and_plain_words_are_the_same_video(model):
    """And others are another one, without a note; in the negative prompt and in storyboards as well."""
    plain = model.generate(settings()).frames
    assert np.array_equal(model.generate(settings(prompt="(a red circle:1.0)")).frames, plain)
    clip = model.generate(settings(prompt="a (red:1.6) circle"))
    assert not np.array_equal(clip.frames, plain)
    assert clip.notes == ()
    assert clip.settings.prompt == "a (red:1.6) circle"
    for name, one, other in (
        ("negative_prompt", "a (blue:2) star", "a blue star"),
        ("storyboard", "(a dog:2)", "a dog"),
    ):
        frames = [model.generate(settings(**{name: text})).frames for text in (one, other)]
        assert not np.array_equal(*frames)


def test_the_classes_read_brackets_as_brackets_unless_they_are_asked(video_pipeline, xl_pipeline):
    """They stand in for diffusers', which knows no weights."""
    for pipeline in (video_pipeline, xl_pipeline):
        given = {"video_length": 1, "num_inference_steps": 2, "output_type": "latent"}

        def draw(prompt, weighted, pipeline=pipeline, given=given):
            options = RunOptions(weighted_prompts=weighted)
            return pipeline(prompt, generator=torch.Generator().manual_seed(1), options=options, **given).images

        assert torch.equal(draw("(a dog:1.0)", True), draw("a dog", False))
        assert not torch.equal(draw("(a dog:1.5) in red", True), draw("a dog in red", False))
        assert not torch.equal(draw("(a dog:1.0)", False), draw("a dog", False))


def test_a_tag_applies_an_offered_lora_and_leaves_the_text(model):
    """At its scale, as the settings would; two tags, and a tag beside a chosen one, add up."""
    chosen = model.generate(settings(lora="kohya", lora_scale=0.8))
    tagged = model.generate(settings(prompt="a red circle <lora:kohya:0.8>"))
    assert np.array_equal(tagged.frames, chosen.frames)
    assert tagged.notes == ()
    two = model.generate(settings(prompt="<lora:kohya:0.8> a red circle, <lora:plain:0.5>")).frames
    beside = model.generate(settings(prompt="a red circle <lora:plain:0.5>", lora="kohya", lora_scale=0.8)).frames
    assert np.abs(two.astype(int) - beside).max() <= 1
    assert np.abs(two.astype(int) - chosen.frames).max() > 5
    assert np.array_equal(
        model.generate(settings(prompt="a red circle <lora:kohya:0.8>", lora="kohya")).frames, chosen.frames
    )


@pytest.mark.parametrize(
    "tag", ["<lora:notthere:0.8>", "<lora:../kohya:1>", "<lora:kohya:strong>", "<hypernet:kohya:1>"]
)
def test_a_tag_of_what_is_not_offered_is_named_and_left_out(model, tag):
    """It is never looked for on the disk or the Hub."""
    plain = model.generate(settings())
    clip = model.generate(settings(prompt=f"a red circle {tag}"))
    assert np.array_equal(clip.frames, plain.frames)
    assert tag in clip.notes[0]
    assert len(clip.notes) == 1


@pytest.mark.parametrize(
    ("text", "words", "named"),
    [
        ("a dog BREAK on grass", "a dog on grass", "BREAK"),
        ("a dog AND a cat", "a dog and a cat", "AND"),
        ("a [dog:cat:0.5] runs", "a dog cat runs", "[from:to:when]"),
        ("a [dog:0.25] runs", "a dog runs", "[text:when]"),
        ("a [dog|cat] runs", "a dog runs", "[one|other]"),
        ("a {dog|cat|bird} runs", "a dog runs", "{one|other}"),
        ("a __animal__ runs", "a animal runs", "__wildcards__"),
    ],
)
def test_other_notation_is_named_once_and_its_words_stay(text, words, named):
    """However often it is there."""
    assert words_of(text) == words
    (note,) = notation_notes([text, text], (), {})
    assert named in note


@pytest.mark.parametrize(
    "text",
    [
        "a dog (brown) on a lawn [at dusk]",
        "A DOG AND A CAT",
        "at 5:30, a train: red; 16:9",
        "a sign that says <hello>",
        "snake_case and __dunder",
        "a, b,, c ,",
        "{curly}",
    ],
)
def test_an_ordinary_sentence_gets_no_note_and_stays_as_it_is(text):
    """Brackets are not notation by themselves."""
    assert words_of(text) == text
    assert list(notation_notes([text], (), {})) == []


def test_an_embedding_is_named_as_in_comfyui():
    """Where it is offered the word stands for it; else one line."""
    assert words_of("a embedding:cat-toy sits") == "a cat-toy sits"
    assert list(notation_notes(["embedding:cat-toy"], (), {"cat-toy": ""})) == []
    assert "embedding:cat-toy" in next(notation_notes(["embedding:cat-toy"], (), {}))


def test_tags_have_a_scale_of_one_where_none_is_written():
    """The last of a name counts; the first number of several is the scale."""
    assert tagged_loras("<lora:a> <LORA:b:0.5> <lora:c:0.3:0.9> <lora:b:0,7> <lora:d:x> <lora:e:nan>") == {
        "a": 1.0, "b": 0.7, "c": 0.3
    }  # fmt: skip
    assert plain_text(words_of("(a dog:1.2) <lora:a>")) == "a dog"
