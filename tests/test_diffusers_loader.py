"""Loading of diffusers' pipelines: parts, schedulers and precisions as specified, and one line for what cannot load."""

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import diffusers
import pytest
import torch

from comparison import diffusers_loader
from comparison.diffusers_engine import VideoPipeline
from comparison.diffusers_loader import folder_bytes, load_pipeline, loading_failure
from comparison.engine_specs import DiffusersPipeline
from errors import ModelUnavailable
from model_manager.hub import from_folder_or_hub
from model_manager.networks import networks_of, weights_bytes
from tests.foreign import LTX, WAN


def test_animatediff_gets_its_motion_and_its_scheduler(rows):
    """A still-image checkpoint is read by the class that the row names, with the row's further part and the betas that
    the motion was trained with."""
    engine = VideoPipeline(rows["animatediff"], "AnimateDiff", "cpu")
    engine.load()
    pipeline = engine._pipeline
    assert isinstance(pipeline, diffusers.AnimateDiffPipeline)
    assert isinstance(pipeline.unet, diffusers.UNetMotionModel)
    assert isinstance(pipeline.scheduler, diffusers.DDIMScheduler)
    assert (pipeline.scheduler.config.beta_schedule, pipeline.scheduler.config.clip_sample) == ("linear", False)
    assert pipeline.scheduler.config.beta_end == 0.012  # the checkpoint's own


def test_a_card_gets_the_precisions_of_the_row(rows):
    """Half precision but for the parts that want more; what is read for a processor is all float32."""
    for device, expected in (("cuda", torch.bfloat16), ("cpu", torch.float32)):
        pipeline = load_pipeline(replace(rows["wan"], dtype="bfloat16"), "wan", device)
        assert (pipeline.transformer.dtype, pipeline.vae.dtype) == (expected, torch.float32)
        assert pipeline.text_encoder.dtype == expected


def test_what_a_pipeline_will_take_is_known_before_it_is_loaded(rows, tmp_path):
    """From the headers of its files, in the precisions it is read in; not twice where files in half precision lie
    beside them, and without folders that are none of its parts."""
    folder = Path(shutil.copytree(rows["wan"].source, tmp_path / "wan"))
    whole = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    shutil.copy(whole, whole.with_name("diffusion_pytorch_model.fp16.safetensors"))
    shutil.copytree(whole.parent, folder / "older")
    row = replace(rows["wan"], source=str(folder), dtype="bfloat16")
    for device, default in (("cpu", torch.float32), ("cuda", torch.bfloat16)):
        pipeline = load_pipeline(row, "wan", device)
        known = folder_bytes(folder, {"default": default, "vae": torch.float32})
        # Of half precision libraries except a few layers.
        assert known == pytest.approx(weights_bytes(networks_of(pipeline.components).values()), rel=0.05)


def test_more_than_all_memory_is_refused_before_the_system_ends_the_program(rows, monkeypatch):
    """Wan in float32 is 28 GB: a server with less said nothing more. A card says by itself that it is full."""
    monkeypatch.setattr(diffusers_loader, "device_bytes", lambda device: 16 * 2**10)
    monkeypatch.setattr(diffusers_loader, "GB", 2**10)
    engine = VideoPipeline(rows["wan"], "Wan", "cpu")
    with pytest.raises(ModelUnavailable, match=r"^Wan needs about \d+\.\d GB of memory.*there are 16\.0 here"):
        engine.load()
    assert engine._pipeline is None
    assert load_pipeline(rows["wan"], "Wan", "cuda") is not None
    monkeypatch.setattr(diffusers_loader, "device_bytes", lambda device: 0)  # the system does not say
    engine.load()
    engine.release()


def test_a_pipeline_of_the_hub_is_looked_at_when_it_is_whole(monkeypatch):
    """What is on this machine may be half of it: it is looked at again when the rest has come, and only then loaded."""
    seen, looked = [], []

    class Kind:
        @staticmethod
        def download(source, local_files_only=False, **options):
            return Path("half" if local_files_only else "whole")

        @staticmethod
        def from_pretrained(source, local_files_only=False, **options):
            if local_files_only:
                raise OSError("a file is missing")
            return "loaded"

    def check(folder):
        looked.append(folder.name)
        if seen:
            raise ModelUnavailable("too large")

    monkeypatch.setattr("utils.ask_hub", lambda source: None)
    assert from_folder_or_hub(Kind, "somebody/model", check=check) == "loaded"
    assert looked == ["half", "whole"]
    seen.append("large")
    with pytest.raises(ModelUnavailable, match="too large"):
        from_folder_or_hub(Kind, "somebody/model", check=check)


@pytest.mark.parametrize(
    ("index", "line"),
    [
        ({"_class_name": "StableDiffusionPipeline"}, "mine is a StableDiffusionPipeline, which draws no videos"),
        ({"_class_name": "WanImageToVideoPipeline"}, "draws no videos from a text alone: it wants image"),
        ({"_class_name": "AutoencoderKL"}, "no pipeline of the diffusers installed here"),
        ({"_class_name": "ATotallyNewPipeline"}, "no pipeline of the diffusers installed here"),
        ({"_class_name": ["pipeline", "Custom"]}, "code of its own is not run"),
        ({}, "no pipeline of the diffusers installed here"),
        ({"_class_name": "WanPipeline"}, "a file is missing, damaged or not safetensors"),
        (None, "a file is missing, damaged or not safetensors"),
        ("{", "a file is missing, damaged or not safetensors"),
    ],
)
def test_a_folder_that_is_no_such_pipeline_is_refused_in_one_line(tmp_path, index, line):
    """Before weights are looked for, where its index tells; code that lies in it is not run; its path is not told."""
    (tmp_path / "pipeline.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    if index is not None:
        text = index if isinstance(index, str) else json.dumps(index)
        (tmp_path / "model_index.json").write_text(text, "utf-8")
    with pytest.raises(ModelUnavailable, match=line) as error:
        VideoPipeline(DiffusersPipeline(str(tmp_path)), "mine", "cpu").load()
    assert str(tmp_path) not in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_weights_that_could_run_code_are_not_opened(rows, tmp_path):
    """A part that is only there as a pickle is a part that is missing."""
    pipeline = diffusers.WanPipeline.from_pretrained(rows["wan"].source)
    pipeline.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(ModelUnavailable, match="not safetensors"):
        VideoPipeline(replace(WAN, source=str(tmp_path)), "wan", "cpu").load()


def test_a_single_file_and_a_path_as_a_name(tmp_path):
    """The line says what to give instead, and calls a path by its last part."""
    (tmp_path / "wan.safetensors").write_bytes(b"")
    source = str(tmp_path / "wan.safetensors")
    with pytest.raises(ModelUnavailable, match=r"^wan is a single file: give a Hub id, or a folder"):
        VideoPipeline(DiffusersPipeline(source), source, "cpu").load()


def test_a_hub_id_that_is_nowhere(monkeypatch):
    """Asked for once; the line says what to check."""

    def nothing(source):
        raise ConnectionError(source)

    monkeypatch.setattr("utils.ask_hub", nothing)
    with pytest.raises(ModelUnavailable, match=r"nobody/nothing is not on this machine.*check the name"):
        VideoPipeline(DiffusersPipeline("nobody/nothing"), "nobody/nothing", "cpu").load()


def test_a_tokenizer_that_wants_another_package_says_which(rows, tmp_path):
    """CogVideoX and LTX-Video bring theirs as spiece.model, which transformers reads with packages of its own."""
    diffusers.LTXPipeline.from_pretrained(rows["ltx"].source).save_pretrained(tmp_path)
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "tokenizer" / "spiece.model").write_bytes(b"no model")
    line = "damaged" if find_spec("sentencepiece") else "LTX needs .* pip install sentencepiece protobuf"
    with pytest.raises(ModelUnavailable, match=line):
        VideoPipeline(replace(LTX, source=str(tmp_path)), "LTX", "cpu").load()
    missing = ImportError("T5Converter requires the protobuf library but it was not found")
    assert loading_failure(LTX, "LTX", missing).endswith("not installed here: pip install sentencepiece protobuf")
    assert loading_failure(LTX, "LTX", ImportError("No module named 'x'", name="x")).startswith(
        "LTX needs the Python package x"
    )
