"""The page: its tabs around one model, and the options it is started with."""

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import gradio as gr

from comparison.options import add_engines, pipelines_offered
from comparison.runner import prepare
from director.director import ChatModel
from director.options import add_language_model, language_model
from media.metadata import read_metadata
from model import Model
from model_manager.options import add_extras, read_extras
from settings.user_files import user_path
from utils import make_writable, reach_this_machine_directly
from web import server
from web.html import HEADER
from web.tabs import EXAMPLES, PageContext, PageTab

ABOUT = "The web page: one tab per mode, and the options it is started with."
OPTIONS_VARIABLE = "T2V_OPTIONS"


def create_app(
    model: Model,
    *,
    tabs: Sequence[PageTab],
    output_dir: Path | None = None,
    chat_model: ChatModel | None = None,
    engines: Sequence[str] = (),
) -> gr.Blocks:
    """Build the page of these tabs around one model and, where there is one, a language model (``chat_model``).

    Nothing is loaded before the first job. ``engines`` are pipelines of diffusers that everybody who sees the page may
    have downloaded and run.
    """
    offered = model.catalogue
    context = PageContext(
        generate=model.generate,
        rows=model.rows,
        default=model.default,
        read_metadata=read_metadata,
        output_dir=output_dir,
        loras=offered.loras,
        vaes=offered.vaes,
        embeddings=offered.embeddings,
        chat_model=chat_model,
        compare=partial(prepare, model=model, chat_model=chat_model),
        engines=engines,
    )
    with gr.Blocks(title="Text2Video-Zero Studio", analytics_enabled=False) as page:
        gr.HTML(HEADER)
        for tab in tabs:
            with gr.Tab(tab.label):
                tab.build(context)
    return page


def main(tabs: Sequence[PageTab], arguments: Sequence[str] | None = None) -> None:
    """Serve a page of these tabs; a mistake in the options is one line and exit code 2.

    Without ``arguments``, the options are those of T2V_OPTIONS followed by those of the command line, which win.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    server.logger.setLevel(logging.INFO)
    options = parser().parse_args(_given_arguments() if arguments is None else arguments)
    with server.exit_on_user_error():
        reach_this_machine_directly()
        server.check_temporary_folder()
        address = server.Address(options.host, options.port, options.share, options.auth, options.queue_size)
        engines = pipelines_offered(options.engine, local=address.local)
        default = (options.model or ["auto"])[0]
        if options.output_dir is not None:
            make_writable(options.output_dir, f"--output-dir {options.output_dir}")
        page = create_app(
            Model(options.model, options.device, default, read_extras(options)),
            tabs=tabs,
            output_dir=options.output_dir,
            chat_model=language_model(options, from_environment=True),
            engines=engines,
        )
        server.serve(page, address, [EXAMPLES])


def _given_arguments() -> list[str]:
    """Options from the environment, then from the command line.

    The environment is for a Space, which has no command line, and for passwords, which a command line would show.
    """
    try:
        return [*shlex.split(os.environ.get(OPTIONS_VARIABLE, "")), *sys.argv[1:]]
    except ValueError as error:
        parser().error(f"{OPTIONS_VARIABLE}: {error}")


def parser() -> argparse.ArgumentParser:
    """Build the parser of the page's options."""
    parser = argparse.ArgumentParser(description=ABOUT, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    host, port = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), os.environ.get("GRADIO_SERVER_PORT", "7860")
    parser.add_argument("--host", default=host, help="address to listen on; 0.0.0.0 for every network of this machine")
    parser.add_argument("--port", type=_number(1, 65535), default=port, help="port to listen on")
    parser.add_argument("--share", action="store_true", help="make a public link through Gradio's tunnel")
    parser.add_argument(
        "--auth", type=_user_and_password, metavar="USER:PASSWORD", help="ask for this user and password"
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="a Hub id, a folder or a .safetensors file to offer as well, the first one by default; may be repeated",
    )
    add_extras(parser, command_line=False)
    add_engines(parser)
    add_language_model(parser)
    parser.add_argument("--device", help="cuda, mps or cpu; chosen by itself where left out")
    parser.add_argument("--output-dir", type=user_path, help="keep every finished video in this folder")
    parser.add_argument(
        "--queue-size", type=_number(1, 1000), default=20, help="jobs that may wait before the page says it is busy"
    )
    return parser


def _number(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}, not {text!r}")
        return int(text)

    return number


def _user_and_password(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError("must be user:password")
    return user, password
