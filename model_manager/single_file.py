"""One ``.safetensors`` file: fetched where it is on the Hub, and read into the network that it is.

The parts of a checkpoint in single files come without a configuration. It is taken from the checkpoint that they are
for and from the shapes in the file, so that nothing is asked of the Hub.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from errors import ModelUnavailable
from model_manager.safetensors_header import SUFFIX, Shapes, read_shapes
from utils import LOADING_ERRORS, local_or_hub

logger = logging.getLogger(__name__)


@contextmanager
def naming_unreadable_files(subject: str) -> Iterator[None]:
    """Turn errors of reading an operator's file into ModelUnavailable with ``subject`` in it; the log gets the rest."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelUnavailable(f"{subject} does not fit into memory now") from error
    except OSError as error:
        raise ModelUnavailable(f"{subject} is not on this machine and could not be fetched") from error
    except (*LOADING_ERRORS, StopIteration) as error:
        logger.info("%s failed", subject, exc_info=True)
        raise ModelUnavailable(f"{subject} does not fit this checkpoint: it was made for another kind") from error


def fetched(source: str, usual: str) -> Path:
    """The file itself: the source where it is one, else ``user/repository/file``, or of ``user/repository`` the one
    called as usual, or the only one. Raises OSError where the Hub does not give it, ModelUnavailable where it is not
    clear which is meant."""
    path = Path(source)
    if path.is_absolute():
        return path
    repository, name = "/".join(path.parts[:2]), "/".join(path.parts[2:])

    def read(local_files_only: bool = False) -> Path:
        from huggingface_hub import hf_hub_download

        chosen = name or _only(source, _names(repository, local_files_only), usual)
        return Path(hf_hub_download(repository, chosen, local_files_only=local_files_only))

    return local_or_hub(repository, read)


def _names(repository: str, local_files_only: bool) -> list[str]:
    """The files of a repository, or those of them that have been fetched before."""
    from huggingface_hub import HfApi, snapshot_download

    if not local_files_only:
        return HfApi().list_repo_files(repository)
    folder = Path(snapshot_download(repository, local_files_only=True))
    names = [path.relative_to(folder).as_posix() for path in folder.rglob(f"*{SUFFIX}")]
    if not names:
        raise FileNotFoundError(repository)
    return names


def _only(source: str, names: list[str], usual: str) -> str:
    fitting = [name for name in names if name.endswith(SUFFIX)]
    if usual in fitting:
        return usual
    if len(fitting) != 1:
        raise ModelUnavailable(f"{source} holds {len(fitting)} {SUFFIX} files: name one, as {source}/name{SUFFIX}")
    return fitting[0]


def read_vae(path: Path, like: Any) -> Any:
    """The VAE in a file, in the format of diffusers or of Stable Diffusion's authors, with the configuration of
    another; raises ModelUnavailable where it is built otherwise."""
    import torch
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    def convert(weights: dict[str, Any]) -> dict[str, Any]:
        if "decoder.mid_block.resnets.0.conv1.weight" in weights:
            return {_today(name): weight for name, weight in weights.items()}
        return convert_ldm_vae_checkpoint(weights, like.config)

    with torch.device("meta"):
        network = AutoencoderKL.from_config(like.config)
    return _filled(network, path, convert)


def _today(name: str) -> str:
    """What diffusers calls an autoencoder's weights since 2023; files from before are still around."""
    if ".attentions." in name:
        for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
            name = name.replace(f".{old}.", f".{new}.")
    return name


def read_controlnet(path: Path, like: Any) -> Any:
    """The ControlNet in a file, in either format, for a UNet; raises ModelUnavailable where it is built otherwise."""
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
    return _filled(network, path, lambda weights: convert_controlnet_checkpoint(weights, network.config))


def hint_channels(shapes: Shapes) -> tuple[int, ...]:
    """How many channels the picture has on its way into a ControlNet, read off its layers; () where there are none."""
    layers = {name.partition("input_hint_block.")[2]: shape for name, shape in shapes.items()}
    found = [layers[f"{layer}.weight"][0] for layer in (0, 4, 8, 12) if f"{layer}.weight" in layers]
    if not found:
        start = "controlnet_cond_embedding"
        names = [f"{start}.conv_in.weight", *(f"{start}.blocks.{layer}.weight" for layer in (1, 3, 5))]
        found = [shapes[name][0] for name in names if name in shapes]
    return tuple(found)


def _filled(network: Any, path: Path, convert: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Any:
    """A network without memory of its own, with all the weights in a file; raises ModelUnavailable."""
    from safetensors.torch import load_file

    read_shapes(path)  # refuses half downloads and pickles
    converted = {name: weight for name, weight in convert(load_file(path)).items() if weight is not None}
    try:
        network.load_state_dict(converted, assign=True)
    except RuntimeError:
        raise ModelUnavailable(f"{path.name} is not built like what it would stand for, and does not fit") from None
    return network
