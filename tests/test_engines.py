"""The table of engines: every row is something that its pipeline, or this program, can be called with."""

import inspect

import diffusers
import pytest

from comparison.engine_specs import ENGINES, engine_spec
from settings.parsing import parse

OWN = [name for name, engine in ENGINES.items() if engine.settings is not None]
OTHERS = [name for name, engine in ENGINES.items() if engine.pipeline is not None]
# What the model_index.json of each Hub id says, as seen there.
KINDS = {"wan2.1-1.3b": "WanPipeline", "ltx-video": "LTXPipeline", "cogvideox-2b": "CogVideoXPipeline"}


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_one_of_two_things_and_says_what_it_is(name):
    """A row is found under its own name, and tells in one line what it is."""
    engine = ENGINES[name]
    assert engine.name == name
    assert (engine.settings is None) != (engine.pipeline is None)
    assert engine.label
    assert engine.note.endswith(".")
    assert "\n" not in engine.note


@pytest.mark.parametrize("name", OWN)
def test_the_settings_of_an_own_engine_are_settings(name):
    """With a prompt they are a whole job, so that a misspelt row is found here and not after an hour's wait."""
    settings = parse({**ENGINES[name].settings, "prompt": "a red circle"})
    assert settings.mode == ENGINES[name].settings["mode"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_row_calls_its_pipeline_with_what_the_pipeline_has(name):
    """Every argument, part and class of a row is there in the diffusers that is installed."""
    row = ENGINES[name].pipeline
    kind = getattr(diffusers, row.kind or KINDS[name])
    arguments = inspect.signature(kind.__call__).parameters
    assert set(row.call) <= set(arguments)
    assert {"prompt", "num_frames", "height", "width", "generator", "output_type"} <= set(arguments)
    parts = inspect.signature(kind.__init__).parameters
    assert {*row.parts, *row.float32_parts} <= set(parts)
    assert all(hasattr(diffusers, part) for part, _ in row.parts.values())
    if row.scheduler is not None:
        made = getattr(diffusers, row.scheduler[0])(**row.scheduler[1])
        assert row.scheduler[1].items() <= dict(made.config).items()


@pytest.mark.parametrize("name", OTHERS)
def test_a_row_asks_for_a_length_that_it_can_draw(name):
    """Its own length is one of those that its autoencoder gives, and no longer than it may be."""
    row = ENGINES[name].pipeline
    every, first = row.frames
    assert (row.call["num_frames"] - first) % every == 0
    assert row.longest is None or (row.call["num_frames"] <= row.longest and (row.longest - first) % every == 0)


@pytest.mark.parametrize(
    ("name", "label"),
    [("someone/a-pipeline", "a-pipeline"), ("/models/wan-mine/", "wan-mine"), (r"C:\models\wan", "wan"), ("x", "x")],
)
def test_any_other_text_is_a_pipeline_of_which_nothing_is_assumed(name, label):
    """The source is what was typed, the label its last part, and the pipeline's own defaults count. A report, which has
    the name, says of a path no more than that; of a Hub id all."""
    engine = engine_spec(name)
    assert (engine.name, engine.label, engine.settings) == (name if "someone" in name else label, label, None)
    assert (engine.pipeline.source, engine.pipeline.frames, engine.pipeline.fps) == (name, (1, 0), 8)
    assert dict(engine.pipeline.call) == {}


def test_a_name_in_the_table_is_its_row():
    """The table comes before the Hub."""
    assert engine_spec("animatediff") is ENGINES["animatediff"]
