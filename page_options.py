"""Options that a page is started with. Nothing of the page is imported, so that --help and a mistake take a moment."""

import argparse
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from comparison.options import add_engines
from director.options import add_language_model
from model_manager.options import add_extras
from settings.user_files import user_path

ABOUT = "The web page: one tab per mode, and the options it is started with."
OPTIONS_VARIABLE = "T2V_OPTIONS"
LOCAL_QUEUE, PUBLIC_QUEUE = 1000, 20


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed options; a mistake is one line and exit code 2.

    Without ``arguments``, the options are those of T2V_OPTIONS followed by those of the command line, which win.
    """
    return parser().parse_args(_given_arguments() if arguments is None else arguments)


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
    parser.add_argument("--proxy", action="store_true", help="a proxy stands before the page: believe its headers")
    parser.add_argument(
        "--downloads",
        action="store_true",
        help="let jobs of visitors fetch what is offered from the Hub, as they may where only this machine reaches the "
        "page; without it they fetch what is named here alone",
    )
    parser.add_argument("--share", action="store_true", help="make a public link through Gradio's tunnel")
    parser.add_argument("--mcp", action="store_true", help="offer the endpoints as tools to language models (MCP)")
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
    parser.add_argument("--data-dir", type=user_path, help="folder of clips and jobs; the platform's own if left out")
    parser.add_argument("--output-dir", type=user_path, help="another folder for finished clips than the data folder's")
    parser.add_argument("--keep-days", type=_positive, help="delete clips that are older; all are kept where left out")
    parser.add_argument("--keep-gb", type=_positive, help="delete the oldest clips beyond this size")
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


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def _user_and_password(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError("must be user:password")
    return user, password
