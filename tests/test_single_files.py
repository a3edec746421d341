"""Networks in single files are read as those in folders, also under names of other programs and years."""

import pytest
import weights

from model_manager.single_file import read_controlnet, read_vae


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
