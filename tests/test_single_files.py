"""VAEs and ControlNets in one file through the facade, on tiny networks in the real formats."""

import numpy as np
import pytest
import weights
from diffusers import AutoencoderKL, ControlNetModel
from offered import offering_model, settings, write_offered

from errors import ModelUnavailable
from model import Model
from model_manager.builtin_models import ModelRow
from model_manager.catalogue import Extras
from model_manager.single_file import read_controlnet, read_vae
from settings.parsing import parse


@pytest.fixture(scope="module")
def folder(components, tmp_path_factory):
    return write_offered(tmp_path_factory.mktemp("offered"), components)


@pytest.fixture
def model(folder):
    return offering_model(folder)


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
        if "latent_channels" in change:  # told by its header when the folder is read
            with pytest.raises(ModelUnavailable, match="there is no VAE"):
                Model([str(folder / "tiny")], device="cpu", extras=Extras(vaes=[str(tmp_path)]))
            return
    else:
        vae.save_pretrained(tmp_path / "it")
    model = Model([str(folder / "tiny")], device="cpu", extras=Extras(vaes=[str(tmp_path)]))
    with pytest.raises(ModelUnavailable, match=message) as told:
        model.generate(settings(vae="it"))
    assert str(tmp_path) not in str(told.value)
    model.generate(settings())


def test_an_old_file_of_an_autoencoder_is_read_under_todays_names(components, tmp_path):
    """diffusers renamed the attention of autoencoders in 2023."""
    old = {
        weights.renamed(
            name,
            (r"(attentions\.0)\.to_q", r"\1.query"),
            (r"(attentions\.0)\.to_k", r"\1.key"),
            (r"(attentions\.0)\.to_v", r"\1.value"),
            (r"(attentions\.0)\.to_out\.0", r"\1.proj_attn"),
        ): tensor
        for name, tensor in components["vae"].state_dict().items()
    }
    read = read_vae(weights.write(tmp_path / "old.safetensors", old), components["vae"])
    assert weights.same(components["vae"].state_dict(), read.state_dict())


@pytest.mark.parametrize("convert", [weights.ldm_controlnet, lambda network: network.state_dict()])
def test_a_controlnet_in_one_file_is_the_one_in_a_folder(control_components, tmp_path, convert):
    """In its authors' layout and in diffusers'."""
    path = weights.write(tmp_path / "canny.safetensors", convert(control_components["controlnet"]))
    read = read_controlnet(path, control_components["unet"])
    assert weights.same(control_components["controlnet"].state_dict(), read.state_dict())


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
