"""YAML written by hand: what only looks like a date, a time or another type is a text, and nothing else happens."""

import json
import time

import pytest
import yaml

from director.storyboard import load_storyboard
from errors import InvalidSettings
from settings.parsing import parse, read_mapping
from settings.plain_yaml import FastPlainLoader, load_plain

TEXTS = ["2024-01-01", "2024-99-99", "2001-12-14t21:59:43.10-05:00", "1:59:59", "yes", "no", "on", "Off", "012", "0x1f"]
TEXTS += [
    "0b1",
    "0o7",
    "1_000",
    "+",
    ".",
    "=",
    "<<",
    "a: b"[:1],
    "9" * 400,
    "~x",
    "nullable",
    "True story",
    "'"[:0] + "1e",
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_looks_like_another_type_is_a_text(text):
    """Dates, numbers to the base of sixty and yes made tracebacks of prompts, or other prompts than those written."""
    assert load_plain(f"prompt: {text}\n") == {"prompt": text}
    assert load_storyboard(f"frames: 2\nprompts: {{0: {text}, 1: a dog}}") == (text, "a dog")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((number, json.loads(number)) for number in ("0", "12", "-3", "1.5", "1e5", "-2.5E-3")),
        *(("true", True), ("False", False), ("null", None), ("~", None), ("", None)),
        *(("'12'", "12"), ('"a\\u00e9"', "aé"), ("!!str 12", "12"), ("[1, a]", [1, "a"]), ("{b: 1.}", {"b": 1.0})),
    ],
)
def test_numbers_and_the_like_are_what_they_are(text, value):
    assert load_plain(f"key: {text}\n") == {"key": value}


@pytest.mark.parametrize(
    "text",
    [
        *("a: !!bool x", "a: !!int 1:59", "a: !!binary aGk=", "a: !!set {x}", "a: !!timestamp x", "a: !mine x"),
        *("a: &b [*b]", "a: &b x\nc: *b", "a: !!python/object:os.system x", "a: 1\na: 2", "? [1]\n: 2", "[" * 99),
        *("a: \ud800", "%YAML 9"),
    ],
)
def test_everything_else_is_refused_in_a_line(text):
    """Tags and aliases too: settings need none."""
    with pytest.raises((yaml.YAMLError, ValueError)):
        load_plain(text)
    with pytest.raises(InvalidSettings) as caught:
        parse(read_mapping(text))
    assert "\n" not in str(caught.value)


def test_no_text_takes_long():
    """A quarter of a megabyte of sixtieths cost three seconds of a storyboard that anybody can send."""
    begun = time.monotonic()
    for text in ("1" + ":59" * 85_000, "1" * 250_000, "1e" * 120_000):
        yaml.load(f"a: {text}", Loader=FastPlainLoader)
    assert time.monotonic() - begun < 1
