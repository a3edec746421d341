"""The web page: one tab per mode, and the options it is started with."""

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

import app_canny
import app_compare
import app_depth
import app_director
import app_pix2pix
import app_pose
import app_text_to_video
from comparison.options import add_engines, pipelines_offered
from comparison.runner import prepare
from director.options import add_language_model, language_model
from director.storyboard import ChatModel
from errors import UserError
from media.video_io import read_metadata
from model import Model
from model_manager.options import add_extras, read_extras
from web import server as serve
from web.tabs import EXAMPLES, Server

HEADER = """<div class="t2v-header"><h1>Text2Video-Zero Studio</h1>
<p>Videos from image models, with no video training.</p></div>"""
_APPS = (app_text_to_video, app_director, app_pose, app_canny, app_depth, app_pix2pix, app_compare)
TABS: tuple[Any, ...] = tuple(app.TAB for app in _APPS)
OPTIONS_VARIABLE = "T2V_OPTIONS"


def create_app(
    model: Model,
    output_dir: Path | None = None,
    tabs: Sequence[Any] = TABS,
    chat_model: ChatModel | None = None,
    engines: Sequence[str] = (),
) -> gr.Blocks:
    """The whole page around one model, and a language model, where there is one; nothing is loaded before the first
    job. ``engines`` are pipelines of diffusers that anybody who sees the page may make it download and run."""
    offered = model.catalogue
    server = Server(
        *(model.generate, model.rows, model.default, read_metadata, output_dir),
        *(offered.loras, offered.vaes, offered.embeddings, chat_model),
        *(partial(prepare, model=model, chat_model=chat_model), engines),
    )
    with gr.Blocks(title="Text2Video-Zero Studio", analytics_enabled=False) as page:
        gr.HTML(HEADER)
        for tab in tabs:
            with gr.Tab(tab.label):
                tab.build(server)
    return page


def main(arguments: Sequence[str] | None = None, tabs: Sequence[Any] = TABS) -> None:
    """Start the page; a mistake in the options is one line and exit code 2.

    Where no arguments are given they are those of T2V_OPTIONS, then those of the command line, which win.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("serve").setLevel(logging.INFO)
    options = _parser().parse_args(_given() if arguments is None else arguments)
    with serve.exit_on_user_error():
        address = serve.Address(options.host, options.port, options.share, options.auth, options.queue_size)
        engines = pipelines_offered(options.engine, local=address.local)
        default = (options.model or ["auto"])[0]
        model = Model(options.model, options.device, default, read_extras(options))
        chat_model = language_model(options, from_environment=True)
        page = create_app(model, _writable(options.output_dir), tabs, chat_model, engines)
        serve.serve(page, address, [EXAMPLES])


def _given() -> list[str]:
    """The options of the environment, for where there is no command line (a Space) or others can read it (a password),
    and then the command line's."""
    try:
        return [*shlex.split(os.environ.get(OPTIONS_VARIABLE, "")), *sys.argv[1:]]
    except ValueError as error:
        _parser().error(f"{OPTIONS_VARIABLE}: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
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
    parser.add_argument("--output-dir", type=Path, help="keep every finished video in this folder")
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


def _writable(folder: Path | None) -> Path | None:
    """The folder, made if it is not there; raises UserError where videos cannot be written to it."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--output-dir {folder}: {error.strerror}") from None
    return folder


if __name__ == "__main__":
    main()
