"""What a small checkpoint does not know is said before it draws, with a sentence that works."""

import numpy as np
import pytest

from generation.prompts import EncoderPrompts, vocabulary_remark
from model_manager.builtin_models import models
from toyworld.captions import caption
from toyworld.clips import clip_at, describe
from toyworld.edits import edit
from toyworld.splits import scene_at
from toyworld.vocabulary import nearest_sentence, remark, unknown_words


def test_there_is_no_remark_on_what_it_was_trained_on():
    """Captions of pictures and clips, instructions, and the examples that the page offers."""
    chance = np.random.default_rng(0)
    texts = [caption(scene_at(number), chance) for number in range(300)]
    texts += [describe(clip_at(number), chance) for number in range(100)]
    texts += [edit(scene_at(number), chance)[0] for number in range(100)]
    for row in models().values():
        texts += [*row.examples, *row.storyboards] if row.name.startswith("toyworld") else []
    assert {word for text in texts for word in unknown_words(text)} == set()


@pytest.mark.parametrize(
    ("text", "unknown", "nearest"),
    [
        ("A lion walking in the jungle", ["lion", "jungle"], "a red circle on grass"),
        ("an astronaut in space", ["astronaut", "space"], "a person in a red shirt and black trousers at night"),
        ("two yellow flowers in the desert", ["flowers", "desert"], "a yellow star on sand"),
        ("a blue kite in the sky", ["kite"], "a blue diamond in the sky"),
    ],
)
def test_a_sentence_of_somebody_who_does_not_know_it(text, unknown, nearest):
    assert unknown_words(text) == unknown
    assert nearest_sentence(text) == nearest
    assert unknown_words(nearest) == []
    assert nearest in remark(text)


def test_only_small_checkpoints_make_remarks():
    """Of a real checkpoint nobody knows what it does not know."""
    rows, asked = models(), EncoderPrompts("a lion", "", None)
    assert "lion" in vocabulary_remark(rows["toyworld"], asked)
    assert vocabulary_remark(rows["stable-diffusion-v1-5/stable-diffusion-v1-5"], asked) == ""
    assert "fox" in vocabulary_remark(rows["toyworld"], EncoderPrompts("x", "", ("a red star", "", "a fox")))
