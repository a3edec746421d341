"""Protection of a page, put together: what stands before Gradio, and which repositories visitors may have fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradio.utils import get_upload_folder

from comparison.engine_specs import engine_spec
from model_manager.builtin_models import BUILT_IN
from model_manager.discovery import is_hub_id
from web.guards import Exposure, Guards
from web.limits import RequestLimits
from web.temporary_files import room_bytes

if TYPE_CHECKING:
    from model_manager.catalogue import Catalogue

Middleware = tuple[type, tuple[object, ...], dict[str, Any]]  # as Starlette takes it


def middleware(exposure: Exposure) -> list[Middleware]:
    """Return what a page that can be reached so is served behind, the outermost first."""
    return [(Guards, (exposure,), {}), (RequestLimits, (lambda: room_bytes(Path(get_upload_folder())),), {})]


def named_sources(
    catalogue: Catalogue, *, models: Sequence[str], engines: Sequence[str], language_model: str | None
) -> set[str]:
    """Return the Hub ids that an operator names: models with their own parts, LoRAs, VAEs, embeddings, pipelines and a
    language model. ``models`` are names or sources; every row that is not built in was named as well."""
    built_in = {row.name for row in BUILT_IN}
    named = [*catalogue.loras.values(), *catalogue.vaes.values(), *catalogue.embeddings.values(), language_model or ""]
    for name, row in catalogue.models.items():
        if name in models or row.source in models or name not in built_in:
            named += [row.source, row.unet or "", row.vae or "", *row.controlnets.values()]
    return {source for source in (*named, *_sources_of(engines)) if is_hub_id(source)}


def _sources_of(engines: Iterable[str]) -> Iterator[str]:
    """Where the pipelines of diffusers among these engines come from."""
    for name in engines:
        pipeline = engine_spec(name).pipeline
        if pipeline is not None:
            yield pipeline.source
