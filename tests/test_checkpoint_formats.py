"""Checkpoint formats: told from folders and files, read and drawn by the right class, refused where they do not fit."""

import json

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    StableDiffusionXLPipeline,
)
from safetensors.torch import save_file

from errors import ModelUnavailable
from model import Model
from model_manager import builtin_models, checkpoint_formats, loader
from model_manager.checkpoint_formats import STABLE_DIFFUSION, STABLE_DIFFUSION_XL, format_of
from model_manager.loader import load_components
from pipelines.text_to_video import TextToVideoPipeline
from pipelines.text_to_video_xl import TextToVideoXLPipeline
from settings.parsing import parse


@pytest.fixture(scope="module")
def folders(components, xl_components, tmp_path_factory):
    """A checkpoint of each format, as diffusers and as our own classes save them."""
    root = tmp_path_factory.mktemp("models")
    TextToVideoPipeline(**components).save_pretrained(root / "tiny")
    StableDiffusionXLPipeline(**xl_components).save_pretrained(root / "xl")
    TextToVideoXLPipeline(**xl_components, force_zeros_for_empty_prompt=False).save_pretrained(root / "ours")
    return root


@pytest.fixture
def model(folders):
    return Model(models=[str(folders / name) for name in ("tiny", "xl", "ours")], device="cpu")


def settings(mode: str = "text_to_video", **changes):
    values = {"prompt": "a red circle", "model": "xl", "num_frames": 3, "num_inference_steps": 4, "seed": 5}
    return parse(values | changes, mode)


def test_a_folder_of_stable_diffusion_xl_paints(model, folders):
    """Of its own size, with frame 0 the still image of the same settings; the other format goes on beside it."""
    before = model.generate(settings(model="tiny")).frames
    clip = model.generate(settings(negative_prompt="a blue star"))
    assert (clip.settings.width, clip.settings.height, clip.settings.model) == (128, 128, "xl")
    still = StableDiffusionXLPipeline.from_pretrained(folders / "xl")
    still.scheduler = DPMSolverMultistepScheduler.from_config(still.scheduler.config)
    picture = still(
        "a red circle",
        negative_prompt="a blue star",
        num_inference_steps=4,
        guidance_scale=7.5,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    ).images[0]
    assert np.abs(clip.frames[0] - picture * 255).max() <= 1
    assert np.array_equal(model.generate(settings(model="tiny")).frames, before)


def test_what_an_empty_negative_prompt_means_belongs_to_the_checkpoint(model):
    """Zeros, or the embedding of nothing: model_index.json says which, and it is not one of the networks."""
    zeros, nothing = (model.generate(settings(model=name)).frames for name in ("xl", "ours"))
    assert not np.array_equal(zeros, nothing)
    said = (model.generate(settings(model=name, negative_prompt=" ")).frames for name in ("xl", "ours"))
    assert np.array_equal(*said)


@pytest.mark.parametrize(("mode", "purpose"), [("control", "control"), ("pix2pix", "editing")])
def test_other_modes_refuse_stable_diffusion_xl(model, mode, purpose, monkeypatch):
    """One line that says what to choose, before anything else is fetched, and the next job runs."""
    monkeypatch.setattr(loader, "load_network", lambda *_: pytest.fail("fetched a network for nothing"))
    changes = {"control": {"control": "canny", "source_is_control": True}}.get(mode, {})
    if mode == "pix2pix":
        row = model.rows["xl"]
        model.rows["xl"] = builtin_models.ModelRow(row.name, row.label, row.source, "", edits=True)
        monkeypatch.setattr(loader.Loader, "components", lambda self, row: load_components(row, "cpu"))
    with pytest.raises(ModelUnavailable, match=f"no {purpose} with those here: choose a Stable Diffusion 1.x") as told:
        model.generate(settings(mode, **changes), source=np.zeros((3, 64, 64, 3), np.uint8))
    assert "\n" not in str(told.value)
    assert model.generate(settings(model="tiny")).frames.shape == (3, 128, 128, 3)


def test_the_built_in_row_offers_no_control(model):
    """Known before seven gigabytes are fetched."""
    with pytest.raises(ModelUnavailable, match="no ControlNet for canny that fits Stable Diffusion XL"):
        model.generate(
            settings("control", control="canny", model=builtin_models.STABLE_DIFFUSION_XL.name),
            source=np.zeros((3, 64, 64, 3), np.uint8),
        )


@pytest.mark.parametrize(
    ("keys", "reader"),
    [
        (
            ("conditioner.embedders.0.transformer.x", "conditioner.embedders.1.model.transformer.resblocks.9.x"),
            "StableDiffusionXLPipeline",
        ),
        (("cond_stage_model.transformer.text_model.embeddings.position_ids",), "StableDiffusionPipeline"),
    ],
)
def test_a_single_file_is_read_by_the_class_of_its_format(tmp_path, monkeypatch, keys, reader):
    """Told by the names of its weights; the safety checker is left out where the class knows one."""
    path = tmp_path / "single.safetensors"
    parts = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(2, 4, 3, 3)}
    parts |= {key: torch.zeros(1) for key in (*keys, "first_stage_model.decoder.conv_in.weight")}
    save_file(parts, path)
    assert format_of("single", str(path)).reader == reader
    monkeypatch.setattr("model_manager.checkpoint_file._configuration", lambda *given: tmp_path)
    read = {}

    def from_single_file(source, **options):
        read[reader] = options
        raise ValueError("as far as this test goes")

    monkeypatch.setattr(f"diffusers.{reader}.from_single_file", from_single_file)
    with pytest.raises(ModelUnavailable, match="could not be read"):
        load_components(builtin_models.ModelRow("single", "single", str(path), ""), "cpu")
    given = {"dtype": torch.float32, "config": str(tmp_path)}
    assert read == {reader: given | checkpoint_formats.FORMATS[reader].options}


def test_a_hub_id_is_read_by_the_class_it_names(monkeypatch, folders):
    """Its model_index.json comes first, then the weights, in the variant that its row names."""
    read = []
    monkeypatch.setattr(
        "diffusers.DiffusionPipeline.load_config", lambda source, **_: {"_class_name": "StableDiffusionXLPipeline"}
    )

    def from_pretrained(source, **options):
        read.append((source, options["variant"]))
        raise TypeError("as far as this test goes")

    monkeypatch.setattr("diffusers.StableDiffusionXLPipeline.from_pretrained", from_pretrained)
    with pytest.raises(ModelUnavailable, match="was found, but is not"):
        load_components(builtin_models.STABLE_DIFFUSION_XL, "cpu")
    assert read == [("stabilityai/stable-diffusion-xl-base-1.0", "fp16")]


@pytest.mark.parametrize(
    "kind", ["FluxPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"]
)
def test_other_kinds_are_named_in_the_refusal(tmp_path, kind, monkeypatch):
    """From a folder or from the Hub; refiners and inpainters of the same kind as well."""
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    monkeypatch.setattr("diffusers.DiffusionPipeline.load_config", lambda source, **_: {"_class_name": kind})
    for source in (str(tmp_path), "somebody/something"):
        with pytest.raises(ModelUnavailable, match=f"is a {kind}; this program takes Stable Diffusion 1.x, 2.x and XL"):
            load_components(builtin_models.ModelRow("other", "other", source, ""), "cpu")


@pytest.mark.parametrize("kind", [EDMDPMSolverMultistepScheduler, EDMEulerScheduler])
def test_a_checkpoint_with_another_kind_of_noise_is_refused(xl_components, tmp_path, kind):
    """Playground 2.5 says that it is Stable Diffusion XL, but its UNet takes another kind of noise."""
    StableDiffusionXLPipeline(**{**xl_components, "scheduler": kind()}).save_pretrained(tmp_path)
    with pytest.raises(ModelUnavailable, match="another kind of noise"):
        load_components(builtin_models.ModelRow("other", "other", str(tmp_path), ""), "cpu")


def test_latents_with_a_mean_of_their_own_are_no_reason_to_refuse(xl_components, tmp_path):
    """Fine-tunes of Stable Diffusion XL have them as well, with its noise."""
    vae = type(xl_components["vae"]).from_config(
        xl_components["vae"].config, latents_mean=[0.1, -0.2, 0.3, 0.4], latents_std=[1.0, 2.0, 0.5, 1.5]
    )
    StableDiffusionXLPipeline(**{**xl_components, "vae": vae}).save_pretrained(tmp_path)
    parts = load_components(builtin_models.ModelRow("tuned", "tuned", str(tmp_path), ""), "cpu")
    assert parts["vae"].config.latents_std == [1.0, 2.0, 0.5, 1.5]


def test_every_format_is_read_by_a_class_that_names_it():
    """The table and the classes that it names agree."""
    for each in (STABLE_DIFFUSION, STABLE_DIFFUSION_XL):
        assert checkpoint_formats.FORMATS[each.reader] is each
