"""Networks in one ``.safetensors`` file, in the layout of diffusers or of Stable Diffusion's authors.

A VAE or ControlNet in a single file comes without a configuration. It is taken from the checkpoint that it is for and
from the shapes in the file, so that nothing is asked of the Hub.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import ModelUnavailable
from model_manager.safetensors_header import Shapes, read_shapes
from utils import LOADING_ERRORS, memory_errors

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, ControlNetModel, ModelMixin, UNet2DConditionModel

logger = logging.getLogger(__name__)


@contextmanager
def naming_unreadable_files(subject: str) -> Iterator[None]:
    """Turn errors of reading an operator's file into ModelUnavailable with ``subject`` in it; the log gets the rest."""
    import torch

    try:
        with memory_errors():
            yield
    except torch.OutOfMemoryError as error:
        raise ModelUnavailable(f"{subject} does not fit into memory now") from error
    except OSError as error:
        raise ModelUnavailable(f"{subject} is not on this machine and could not be fetched") from error
    except (*LOADING_ERRORS, StopIteration) as error:
        logger.info("%s failed", subject, exc_info=True)
        raise ModelUnavailable(f"{subject} does not fit this checkpoint: it was made for another kind") from error


def read_vae(path: Path, like: "AutoencoderKL") -> "AutoencoderKL":
    """Read the VAE in a file with the configuration of another; raises ModelUnavailable where it is built otherwise."""
    import torch
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    def convert(weights: dict[str, Any]) -> dict[str, Any]:
        if "decoder.mid_block.resnets.0.conv1.weight" in weights:
            return {_current_name(name): weight for name, weight in weights.items()}
        return convert_ldm_vae_checkpoint(weights, like.config)

    with torch.device("meta"):
        network = AutoencoderKL.from_config(like.config)
    return _with_weights(network, path, convert)


def _current_name(name: str) -> str:
    """The name that diffusers gives to an autoencoder's weights since 2023; files from before are still around."""
    if ".attentions." in name:
        for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
            name = name.replace(f".{old}.", f".{new}.")
    return name


def read_controlnet(path: Path, like: "UNet2DConditionModel") -> "ControlNetModel":
    """Read the ControlNet in a file for a UNet; raises ModelUnavailable where it is built otherwise."""
    import torch
    from diffusers import ControlNetModel
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    channels = hint_channels(read_shapes(path))
    if not channels:
        raise ModelUnavailable(f"{path.name} is not a ControlNet that this program can read")
    with torch.device("meta"):
        network = ControlNetModel.from_unet(
            like, conditioning_embedding_out_channels=channels, load_weights_from_unet=False
        )
    return _with_weights(network, path, lambda weights: convert_controlnet_checkpoint(weights, network.config))


def hint_channels(shapes: Shapes) -> tuple[int, ...]:
    """Return the channels of a ControlNet's layers for the control image, read off their shapes; () without such."""
    layers = {name.partition("input_hint_block.")[2]: shape for name, shape in shapes.items()}
    found = [layers[f"{layer}.weight"][0] for layer in (0, 4, 8, 12) if f"{layer}.weight" in layers]
    if not found:
        start = "controlnet_cond_embedding"
        names = [f"{start}.conv_in.weight", *(f"{start}.blocks.{layer}.weight" for layer in (1, 3, 5))]
        found = [shapes[name][0] for name in names if name in shapes]
    return tuple(found)


def _with_weights(
    network: "ModelMixin", path: Path, convert: Callable[[dict[str, Any]], Mapping[str, Any]]
) -> "ModelMixin":
    """Give all the weights in a file to a network on the meta device; raises ModelUnavailable."""
    from safetensors.torch import load_file

    read_shapes(path)  # refuses half downloads and pickles
    converted = {name: weight for name, weight in convert(load_file(path)).items() if weight is not None}
    try:
        network.load_state_dict(converted, assign=True)
    except RuntimeError:
        raise ModelUnavailable(f"{path.name} is not built like what it would stand for, and does not fit") from None
    return network
