"""Command line options for what the operator offers besides models: LoRAs, VAEs, embeddings, folders of other
programs, styles.

Where a setting chooses one of them (``--lora``), the option that offers more is plural (``--loras``).
"""

import argparse
from collections.abc import Mapping, Sequence

from model_manager.catalogue import Extras

FILES = "a .safetensors file, a folder of them or a Hub id"
# By key in a file of settings: the server's option, the command line's, and the help text.
EXTRAS = {
    "loras": ("--lora", "--loras", f"a LoRA to offer: {FILES}"),
    "vaes": ("--vae", "--vaes", f"a VAE to offer: a diffusers folder, {FILES}"),
    "embeddings": ("--embedding", "--embedding", f"a textual inversion, a word for prompts: {FILES}"),
    "models_root": ("--models-root", "--models-root", "the folder of A1111 or ComfyUI; all in it is offered"),
    "styles": ("--styles", "--styles", "a file of prompt styles to offer, YAML or CSV, as model_manager/styles.yaml"),
}


def add_extras(parser: argparse._ActionsContainer, *, command_line: bool) -> None:
    """Add the options for everything but models to a parser or an argument group; each may be repeated."""
    for key, (server, one_video, text) in EXTRAS.items():
        option = one_video if command_line else server
        parser.add_argument(
            option, action="append", default=[], dest=key, metavar="PATH", help=f"{text}; may be repeated"
        )


def read_extras(options: argparse.Namespace) -> Extras:
    """Return the sources that parsed options name."""
    return as_extras({key: getattr(options, key) for key in EXTRAS})


def as_extras(sources: Mapping[str, Sequence[str]]) -> Extras:
    """Return the extras of lists of sources by the keys of EXTRAS."""
    return Extras(sources["loras"], sources["vaes"], sources["embeddings"], sources["models_root"], sources["styles"])
