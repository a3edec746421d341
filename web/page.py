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
from library.clips import Limits
from library.service import Library, open_library
from media.metadata import read_metadata
from model import Model
from model_manager.options import add_extras, read_extras
from web import server
from web.context import PageContext, PageTab
from web.html import HEADER, status_html
from web.job_panel import add_job_panel
from web.opening import connect_drops, connect_opening
from web.tabs import EXAMPLES

ABOUT = "The web page: one tab per mode, and the options it is started with."
OPTIONS_VARIABLE = "T2V_OPTIONS"
LOCAL_QUEUE, PUBLIC_QUEUE = 1000, 20
OWNERS_SHARE = 4  # one visitor of a shared page may fill this part of the list


def create_app(
    model: Model,
    *,
    tabs: Sequence[PageTab],
    library: Library | None = None,
    chat_model: ChatModel | None = None,
    engines: Sequence[str] = (),
) -> gr.Blocks:
    """Build the page of these tabs around one model and, where there is one, a language model (``chat_model``).

    Nothing is loaded before the first job. Clips and jobs are kept in ``library``, by itself one in the platform's own
    place that everybody on the page shares. ``engines`` are pipelines of diffusers that everybody who sees the page
    may have downloaded and run.
    """
    offered = model.catalogue
    library = open_library(model.generate) if library is None else library
    with gr.Blocks(title="Text2Video-Zero Studio", analytics_enabled=False) as page:
        gr.HTML(HEADER + status_html(library.trouble, "error") if library.trouble else HEADER)
        dropped = gr.HTML()
        with gr.Tabs() as all_tabs:
            context = PageContext(
                library=library,
                rows=model.rows,
                default=model.default,
                read_metadata=read_metadata,
                loras=offered.loras,
                vaes=offered.vaes,
                embeddings=offered.embeddings,
                chat_model=chat_model,
                compare=partial(prepare, model=model, chat_model=chat_model),
                engines=engines,
                tabs=all_tabs,
            )
            for tab in tabs:
                with gr.Tab(tab.label, id=tab.label):
                    tab.build(context)
        add_job_panel(context, page)
        connect_opening(context)
        connect_drops(context, page, dropped)
    library.worker.start()
    return page


def main(tabs: Sequence[PageTab], arguments: Sequence[str] | None = None) -> None:
    """Serve a page of these tabs; a mistake in the options is one line and exit code 2.

    Without ``arguments``, the options are those of T2V_OPTIONS followed by those of the command line, which win.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    server.logger.setLevel(logging.INFO)
    options = parser().parse_args(_given_arguments() if arguments is None else arguments)
    with server.exit_on_user_error():
        address = server.Address(options.host, options.port, options.share, options.auth)
        engines = pipelines_offered(options.engine, local=address.local)
        default = (options.model or ["auto"])[0]
        model = Model(options.model, options.device, default, read_extras(options))
        shared = not address.local or address.auth is not None
        queue_size = options.queue_size or (PUBLIC_QUEUE if shared else LOCAL_QUEUE)
        library = open_library(
            model.generate,
            data_dir=options.data_dir,
            clips_dir=options.output_dir,
            shared=shared,
            most_per_owner=max(1, queue_size // OWNERS_SHARE) if shared else queue_size,
            most_in_all=queue_size,
            limits=Limits(options.keep_days, None if options.keep_gb is None else int(options.keep_gb * 1e9)),
        )
        chat_model = language_model(options, from_environment=True)
        page = create_app(model, tabs=tabs, library=library, chat_model=chat_model, engines=engines)
        server.serve(page, address, [EXAMPLES], library)


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
    parser.add_argument("--data-dir", type=Path, help="folder of clips and jobs; the platform's own if left out")
    parser.add_argument("--output-dir", type=Path, help="another folder for finished clips than the data folder's")
    parser.add_argument("--keep-days", type=float, help="delete clips that are older; all are kept where left out")
    parser.add_argument("--keep-gb", type=float, help="delete the oldest clips beyond this size")
    parser.add_argument(
        "--queue-size",
        type=_number(1, 1000),
        help="jobs in the list before the page says it is full; where visitors share it, one may have a quarter "
        f"({LOCAL_QUEUE} on a page of your own and {PUBLIC_QUEUE} on a public one if left out)",
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
