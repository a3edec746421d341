"""Command line option of a server for the diffusers pipelines that its page offers for comparison."""

import argparse
import os
from collections.abc import Sequence

from comparison.engine_specs import ENGINES, engine_spec
from errors import InvalidSettings
from model_manager.discovery import is_hub_id


def add_engines(parser: argparse._ActionsContainer) -> None:
    """Add the option for further engines to a parser or an argument group; it may be repeated."""
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="NAME",
        help="a diffusers text-to-video pipeline to offer under Compare: a Hub id, a folder, or a name in "
        "comparison/engine_specs.py; may be repeated; those names are offered by themselves where only this machine "
        "reaches the page",
    )


def pipelines_offered(names: Sequence[str], *, local: bool) -> tuple[str, ...]:
    """Return the diffusers pipelines that clients of a page may compare, as ``engine_spec`` takes them: those that
    the operator names and, if only this machine reaches the page (``local``), every row of comparison/engine_specs.py.

    Each is tens of gigabytes to download, which is not for strangers to start. Raises InvalidSettings.
    """
    offered = {name: name for name, row in ENGINES.items() if local and row.pipeline is not None}
    for name in (name if name in ENGINES else os.path.expanduser(name) for name in names):
        is_folder = os.path.isfile(os.path.join(name, "model_index.json"))
        if not (name in ENGINES or is_folder or (is_hub_id(name) and name.count("/") == 1)):
            rows = ", ".join(ENGINES)
            raise InvalidSettings(
                f"--engine {name}: must be one of {rows}, or a Hub id or folder of a diffusers text-to-video pipeline"
            )
        spec = engine_spec(name)
        if (spec.name in ENGINES and name not in ENGINES) or offered.setdefault(spec.name, name) != name:
            raise InvalidSettings(f"--engine {name}: there is another engine called {spec.name}: rename the folder")
    return tuple(name for name in offered.values() if engine_spec(name).pipeline is not None)
