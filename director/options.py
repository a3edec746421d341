"""Command line options that choose the language model of the director."""

import argparse
import os

from director.director import ChatModel
from director.remote_llm import MODEL_VARIABLE, LanguageModelOptions, connect, key_from_environment


def add_language_model(parser: argparse._ActionsContainer) -> None:
    """Add the options for a language model to a parser or an argument group. Its key is no option, because other users
    of the machine can read a command line."""
    parser.add_argument("--llm", metavar="URL", help="an OpenAI-compatible server that writes the frames' prompts")
    name = "the language model on that server, or without --llm one to run here: a folder or Hub id"
    parser.add_argument("--llm-model", metavar="NAME", help=name)


def language_model(options: argparse.Namespace, *, from_environment: bool) -> ChatModel | None:
    """Return the language model that the options name, else the one of the environment's variables if that is allowed,
    else None; raises InvalidSettings."""
    if not options.llm and not options.llm_model:
        chosen = LanguageModelOptions.from_environment() if from_environment else None
    else:
        key = key_from_environment(options.llm) if options.llm else None
        chosen = LanguageModelOptions(options.llm, options.llm_model or os.environ.get(MODEL_VARIABLE, ""), key)
    return None if chosen is None else connect(chosen)
