"""Several engines draw the same prompts, and each is measured; one that fails takes nothing from the others."""

import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from comparison.engines import EngineOutput, StudioEngine
from comparison.report.page import write_report
from comparison.results import MEASURES, EngineResult, Results
from comparison.runner import Comparison, Stage, measure_clip, prepare
from comparison.settings import ComparisonSettings
from errors import Cancelled, InvalidSettings, ModelUnavailable
from evaluation.clip_scores import VIT_B_32
from evaluation.prompt_lists import toyworld_motion_prompts, toyworld_prompts
from media.video_io import probe, write_video
from model import Model
from settings.parsing import validate
from toyworld.render import render

PROMPTS = ("a red circle", "a blue star")


def settings(**changes) -> ComparisonSettings:
    return validate(ComparisonSettings, {"prompts": PROMPTS, "engines": ["text2video-zero", "direct"]} | changes)


class Painter:
    """An engine that paints; ``log`` tells in which order all engines did what."""

    settings: dict[str, object] = {}

    def __init__(self, name: str, log: list[str], error: Exception | None = None, after: int = 0):
        self.name, self.log, self.error, self.after = name, log, error, after
        self.asked: list[tuple[str, int]] = []

    def load(self) -> None:
        self.log.append(f"{self.name} loaded")

    def generate(self, prompt, seed, on_step, cancel) -> EngineOutput:
        if self.error is not None and len(self.asked) == self.after:
            raise self.error
        if cancel is not None and cancel.is_set():
            raise Cancelled
        self.asked.append((prompt, seed))
        on_step(SimpleNamespace(step=1, total=2, fraction=0.5))
        frames = np.random.default_rng(seed).integers(0, 256, (8, 64, 64, 3), np.uint8)
        return EngineOutput(frames, 8, lambda path: write_video(path, frames, 8, {}), {})

    def release(self) -> None:
        self.log.append(f"{self.name} let go")


def ready(painters, **changes) -> Comparison:
    """A comparison with painters in place of models."""
    asked = settings(engines=[{"engine": "direct", "label": painter.name} for painter in painters], **changes)
    results = Results(asked.prompts, asked.seeds, "cpu", {}, "2026-11-21T00:00:00+00:00")
    results.engines += [EngineResult("x", painter.name, "", {}) for painter in painters]
    return Comparison(asked, painters, results)


@pytest.fixture
def stages() -> list[Stage]:
    return []


def test_every_engine_gets_the_same_prompts_and_seeds_one_engine_after_the_other(tmp_path, stages):
    """And each is let go before the next is loaded."""
    log: list[str] = []
    painters = [Painter("one", log), Painter("two", log)]
    results = ready(painters, seeds=[3, 5]).run(tmp_path, stages.append)
    assert painters[0].asked == painters[1].asked == [(prompt, seed) for prompt in PROMPTS for seed in (3, 5)]
    assert log == ["one let go", "two let go", "one loaded", "one let go", "two loaded", "two let go"]
    files = [clip.file for engine in results.engines for clip in engine.clips]
    assert len(set(files)) == 8
    assert all(probe(tmp_path / file).width == 64 for file in files)
    fractions = [stage.fraction for stage in stages]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [(ModelUnavailable("it is not here"), "it is not here"), (ZeroDivisionError("secret"), "ZeroDivisionError")],
)
def test_an_engine_that_fails_takes_nothing_from_the_others(tmp_path, error, said, caplog):
    """Neither from what it has made itself; a bug is one line without its text, and the log gets the rest."""
    log: list[str] = []
    results = ready([Painter("bad", log, error, after=1), Painter("good", log)]).run(tmp_path, lambda stage: None)
    bad, good = results.engines
    assert said in str(bad.error)
    assert "secret" not in str(bad.error)
    assert (len(bad.clips), len(good.clips), good.error) == (1, 2, None)
    assert log[-4:] == ["bad loaded", "bad let go", "good loaded", "good let go"]


def test_what_was_finished_before_it_was_stopped_is_kept(tmp_path):
    log: list[str] = []
    stop = threading.Event()
    compared = ready([Painter("one", log), Painter("two", log)])

    def stop_in_the_second(stage: Stage) -> None:
        if stage.label == "two" and stage.done == 3:
            stop.set()

    with pytest.raises(Cancelled):
        compared.run(tmp_path, stop_in_the_second, stop)
    assert [len(engine.clips) for engine in compared.results.engines] == [2, 1]
    assert "stopped" in str(compared.results.engines[1].error)
    assert log[-1] == "two let go"


def test_of_the_toy_world_what_a_clip_shows_is_known():
    """The true pictures of a prompt are all right; of another prompt nothing is."""
    toy = toyworld_prompts()[0]
    frames = np.stack([render(toy.scene, 128, 128).image] * 8)
    values = measure_clip(frames, 8, toy.prompt)
    assert (values["shape"], values["colour"], values["background"]) == (1, 1, 1)
    assert values["fastest_motion"] == pytest.approx(0, abs=0.1)
    assert "direction" not in values
    assert "shape" not in measure_clip(frames, 8, "a horse on a street")


def test_of_a_moving_prompt_the_direction_is_known_too():
    prompt, clip = next(pair for pair in toyworld_motion_prompts() if pair[1].kind == "moves")
    frames = np.stack([render(scene, 128, 128).image for scene in clip.scenes])
    assert measure_clip(frames, 8, prompt)["direction"] == 1
    assert measure_clip(frames[::-1], 8, prompt)["direction"] == 0


@pytest.mark.parametrize("prompt", ["a horse on a street", toyworld_prompts()[0].prompt])
def test_more_frames_a_second_make_no_clip_steadier(prompt):
    """The same clip with every frame three times, at three times the speed, measures the same, with CLIP as well. It
    once had a third of the motion and of the warping error."""
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    compared = ready([Painter("one", [])])
    compared.scorer = SimpleNamespace(scores=lambda frames, prompt: {"clip_consistency": float(frames[1].mean())})
    slow, fast = EngineOutput(frames, 8, print, {}), EngineOutput(frames.repeat(3, axis=0), 24, print, {})
    assert compared.measures(fast, prompt) == pytest.approx(compared.measures(slow, prompt), nan_ok=True)


def test_a_fast_clip_of_the_toy_world_is_held_against_the_moments_that_are_left():
    """A change of colour comes in the middle of all frames; thinned, it is still in the middle."""
    prompt, clip = next(pair for pair in toyworld_motion_prompts(24) if pair[1].kind == "recolours")
    frames = np.stack([render(scene, 128, 128).image for scene in clip.scenes])
    assert measure_clip(frames, 24, prompt)["colour"] == 1


def test_settings_of_an_engine_stand_beside_its_name():
    asked = settings(engines=["direct", {"engine": "text2video-zero", "label": "Still", "motion_field": False}])
    assert asked.engines[1].settings == {"motion_field": False}
    engine = prepare(asked, Model(device="cpu")).engines[1]
    assert isinstance(engine, StudioEngine)
    made = engine.settings_of("a circle -> a star", 7).to_dict()
    assert (made["motion_field"], made["num_frames"], made["fps"], made["seed"]) == (False, 8, 8, 7)
    assert made["prompt"] == "a circle, then a star"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompts": []}, "prompts"),
        ({"prompts": ["a circle", " "]}, "prompts: one is empty"),
        ({"prompts": ["a" * 3000]}, "prompts: is too long"),
        ({"prompts": ["a\x1bb"]}, "prompts: has the invisible"),
        ({"prompts": 7}, "prompts: must be text"),
        ({"engines": []}, "engines: must have at least 1"),
        ({"engines": [7]}, "engines: each must be a name"),
        ({"engines": [{"label": "mine"}]}, "engines: each must be a name"),
        ({"engines": ["direct"] * 13}, "engines: must have at most 12"),
        ({"prompts": ["\ud800"]}, "prompts: is not valid text"),
        ({"prompts": ["->"]}, "prompts: one is empty"),
        ({"engines": [{"engine": "direct", "label": "a\x1bb"}]}, "engines: has the invisible"),
        ({"engines": [{"engine": "direct", "label": "a"}, {"engine": "direct", "label": "a"}]}, "same label"),
        ({"seeds": [-1]}, "seeds"),
        ({"seeds": [1.5]}, "seeds"),
        ({"num_frames": 0}, "num_frames"),
        ({"fps": float("nan")}, "fps"),
        ({"speed": 1}, "speed: is not a setting"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(changes, said):
    with pytest.raises(InvalidSettings) as refused:
        settings(**changes)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"engine": "direct", "motion": 1}, "direct: motion: is not a setting"),
        ({"engine": "direct", "label": "Mine", "anchor_period": -1}, "Mine: anchor_period"),
        ({"engine": "wan2.1-1.3b", "steps": 1}, "takes no settings"),
        ({"engine": "direct", "seed": 3}, "direct: seed is the same for all engines"),
    ],
)
def test_a_mistake_in_an_engines_settings_is_told_before_anything_is_drawn(engine, said):
    with pytest.raises(InvalidSettings, match=said):
        prepare(settings(engines=[engine]), Model(device="cpu"))


def test_a_model_that_is_not_there_is_its_engines_trouble_alone(tmp_path):
    """The others draw; nothing is asked of the network."""
    asked = settings(engines=[{"engine": "direct", "model": "no-such-model"}])
    compared = prepare(asked, Model(device="cpu"))
    results = compared.run(tmp_path, lambda stage: None)
    assert "no-such-model" in str(results.engines[0].error)


def test_the_report_of_an_engine_that_failed_does_not_say_where_files_lie(tmp_path):
    """It may be sent to others. Whether the operator has offered a file or not, it is called by its last part, also
    where nothing was drawn with it."""
    (tmp_path / "secret" / "mine").mkdir(parents=True)
    mine, away = str(tmp_path / "secret" / "mine"), str(tmp_path / "secret" / "gone.safetensors")
    choices = [
        {"engine": "direct", "model": mine},
        {"engine": "direct", "lora": away},
        {"engine": "direct", "vae": away},
    ]
    compared = prepare(settings(engines=[*choices, away]), Model([mine], device="cpu"))
    results = compared.run(tmp_path, lambda stage: None)
    write_report(results, tmp_path)
    assert [dict(engine.settings).get("model") for engine in results.engines[:1]] == ["mine"]
    assert all(engine.error for engine in results.engines)
    for report in ("report.html", "results.json"):
        text = (tmp_path / report).read_text("utf-8")
        assert "gone.safetensors" in text
        assert "secret" not in text


def test_clip_scores_that_cannot_be_had_are_left_out_and_said_once(tmp_path):
    class Absent:
        def scores(self, frames, prompt):
            raise ModelUnavailable("the CLIP network is not here")

    compared = ready([Painter("one", [])])
    compared.scorer = Absent()  # type: ignore[assignment]
    results = compared.run(tmp_path, lambda stage: None)
    assert results.notes == ["Without CLIP scores: the CLIP network is not here."]
    assert len(results.engines[0].clips) == 2
    assert settings(clip=True).clip == VIT_B_32


def test_a_report_names_the_clip_network_and_no_folder_of_this_machine(tmp_path):
    (tmp_path / "my-clip").mkdir()
    for clip, named in ((True, VIT_B_32), (str(tmp_path / "my-clip"), "my-clip"), (None, None)):
        assert prepare(settings(clip=clip), Model(device="cpu")).results.clip_network == named


def test_the_intervals_are_over_prompts_and_json_has_no_nan(tmp_path):
    results = ready([Painter("one", [])], seeds=[1, 2]).run(tmp_path, lambda stage: None)
    interval = results.engines[0].interval("motion_share")
    assert (interval.prompts, interval.values) == (2, 4)
    assert results.engines[0].interval("clip_text") is None
    plain = json.loads(json.dumps(results.to_dict(), allow_nan=False))
    assert plain["engines"][0]["clips"][0]["file"] == results.engines[0].clips[0].file


def test_one_prompt_has_a_mean_and_no_interval(tmp_path):
    results = ready([Painter("one", [])], prompts=["a red circle"]).run(tmp_path, lambda stage: None)
    plain = results.to_dict()["engines"][0]["means"]["motion_share"]
    assert plain["mean"] > 0
    assert (plain["low"], plain["high"]) == (None, None)


def test_what_is_named_twice_is_drawn_once():
    asked = settings(prompts=["a star", "a star"], seeds=[3, 3])
    assert (asked.prompts, asked.seeds) == (("a star",), (3,))


def test_labels_tell_models_apart():
    """And an engine that comes twice gets a number."""
    asked = settings(engines=["ltx-video", {"engine": "direct", "model": "toyworld"}, "ltx-video"])
    labels = [engine.label for engine in prepare(asked, Model(device="cpu")).results.engines]
    assert labels == ["LTX-Video (2B)", "DirecT2V, Toy world", "LTX-Video (2B) (2)"]


def test_what_is_measured_is_told_or_left_out_on_purpose():
    """A measure whose name is written wrongly would never be seen."""
    toy, moving = (
        toyworld_prompts()[0].prompt,
        next(one for one, clip in toyworld_motion_prompts() if clip.kind == "moves"),
    )
    person = next(toy.prompt for toy in toyworld_prompts() if toy.scene.figures)
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    found = {name for prompt in (toy, moving, person) for name in measure_clip(frames, 8, prompt)}
    assert found - MEASURES.keys() == {"motion_px"}  # Motion tells it better
    assert MEASURES.keys() - found == {"clip_text", "clip_consistency"}


def test_a_motion_prompt_means_the_same_in_clips_of_any_length():
    assert [prompt for prompt, _ in toyworld_motion_prompts(16)] == [prompt for prompt, _ in toyworld_motion_prompts()]
    prompt, clip = next(pair for pair in toyworld_motion_prompts(12) if pair[1].kind == "moves")
    frames = np.stack([render(scene, 128, 128).image for scene in clip.scenes])
    assert measure_clip(frames, 8, prompt)["direction"] == 1


def test_more_than_a_machine_can_bear_is_refused_before_anything_is_loaded():
    """Also where an engine's own size makes it so."""
    asked = settings(engines=["wan2.1-1.3b"], num_frames=256)
    with pytest.raises(InvalidSettings, match="too much at once"):
        prepare(asked, Model(device="cpu"))


def test_the_comparison_knows_no_seed_of_its_own(tmp_path):
    """The same prompt and seed under two names give the same clip, byte for byte; the first prompts can be seen."""
    compared = ready([Painter("one", []), Painter("two", [])], prompts=["a red circle"])
    first, second = compared.run(tmp_path, lambda stage: None).engines
    assert (tmp_path / first.clips[0].file).read_bytes() == (tmp_path / second.clips[0].file).read_bytes()
    assert first.clips[0].strip is not None
