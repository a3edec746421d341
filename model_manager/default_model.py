"""Choice of the checkpoint that the setting "auto" stands for, by the device and what is at hand or in reach."""

import os
from collections.abc import Mapping

from errors import ModelUnavailable
from model_manager.builtin_models import INSTRUCT_PIX2PIX, STABLE_DIFFUSION, TOYWORLD, TOYWORLD_EDIT, ModelRow
from model_manager.discovery import current_id
from model_manager.hub import cached, reachable


def named_model(rows: Mapping[str, ModelRow], name: str) -> tuple[ModelRow, str]:
    """Return the row of the model that the operator names as the default, by its name or source, and one line of
    reason; raises ModelUnavailable where it is not in the list."""
    wanted = current_id(os.path.expanduser(name))
    row = next((row for row in rows.values() if {name, wanted} & {row.name, row.source}), None)
    if row is None:
        raise ModelUnavailable(f"model: {name} is not in the list")
    return row, "It was named when this program was started."


def best_model(rows: Mapping[str, ModelRow], device: str, *, edits: bool) -> tuple[ModelRow, str]:
    """Return the best built-in row for drawing or for editing on a device, and one line of reason.

    A real checkpoint takes a graphics card, and its weights must have been fetched before or be in reach on the Hub.
    """
    toyworld, real = (TOYWORLD_EDIT, INSTRUCT_PIX2PIX) if edits else (TOYWORLD, STABLE_DIFFUSION)
    toyworld, real = (rows.get(row.name, row) for row in (toyworld, real))
    if not device.startswith("cuda"):
        return toyworld, f"There is no CUDA device here; {real.label} would take minutes per video on this machine."
    if cached(real.source) or reachable(real.source):
        return real, "There is a CUDA device, and the weights are in reach."
    return toyworld, f"The weights of {real.label} are neither on this machine nor in reach."
