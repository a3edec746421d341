"""Files on the Hugging Face Hub: what has been fetched, what is in reach, and fetching one of them.

Everything asks this machine first (``utils.local_or_hub``); only what is not here goes over the network.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import ModelUnavailable
from model_manager.safetensors_header import SUFFIX
from utils import HUB_ACCESS, local_or_hub

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, ModelMixin

    from model_manager.builtin_models import ModelRow


def cached(source: str) -> bool:
    """Return whether the UNet of a Hub id, its largest part, has been fetched before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(source, "unet/diffusion_pytorch_model.safetensors"), str)
    except HFValidationError:
        return False


def reachable(source: str, timeout_s: float = 3.0) -> bool:
    """Return whether the Hub answers for this id within a few seconds, and may be asked."""
    from huggingface_hub.constants import ENDPOINT

    if not HUB_ACCESS.allows(source):
        return False
    try:
        with urllib.request.urlopen(f"{ENDPOINT}/api/models/{source}", timeout=timeout_s) as answer:
            return answer.status == HTTPStatus.OK
    except (OSError, ValueError, HTTPException):
        return False


def without_downloads(rows: Mapping[str, ModelRow]) -> dict[str, ModelRow]:
    """Return the rows whose checkpoints are on this machine or may be fetched."""
    return {
        name: row
        for name, row in rows.items()
        if HUB_ACCESS.allows(row.source) or Path(row.source).exists() or cached(row.source)
    }


def from_folder_or_hub(
    kind: type[DiffusionPipeline] | type[ModelMixin],
    source: str,
    *,
    check: Callable[[Path], None] | None = None,
    **options: Any,
) -> Any:
    """Load a pipeline or network of diffusers.

    Args:
        kind: the class of diffusers to load.
        source: a folder or Hub id.
        check: called with a pipeline's folder when all its files are on this machine and none of its weights in memory.
        options: of ``from_pretrained``.

    Raises whatever diffusers raises; OSError where the Hub does not give the files.
    """

    def read(**where: bool) -> Any:
        if check is not None:
            check(Path(source) if Path(source).is_dir() else Path(kind.download(source, **options, **where)))
        return kind.from_pretrained(source, **options, **where)

    return local_or_hub(source, read)


def fetched(source: str, usual: str) -> Path:
    """Return the path of one ``.safetensors`` file, fetched where it is on the Hub.

    Args:
        source: an absolute path; ``user/repository/file``; or ``user/repository``, of which the usual file is meant,
            or the only one.
        usual: the name that libraries give to such files.

    Raises:
        OSError: the Hub does not give it.
        ModelUnavailable: it is not clear which file is meant.
    """
    path = Path(source)
    if path.is_absolute():
        return path
    repository, name = "/".join(path.parts[:2]), "/".join(path.parts[2:])

    def read(local_files_only: bool = False) -> Path:
        from huggingface_hub import hf_hub_download

        chosen = name or _only_file(source, _file_names(repository, local_files_only), usual)
        return Path(hf_hub_download(repository, chosen, local_files_only=local_files_only))

    return local_or_hub(repository, read)


def _file_names(repository: str, local_files_only: bool) -> list[str]:
    """The files of a repository, or those of them that have been fetched before."""
    from huggingface_hub import HfApi, snapshot_download

    if not local_files_only:
        return HfApi().list_repo_files(repository)
    folder = Path(snapshot_download(repository, local_files_only=True))
    names = [path.relative_to(folder).as_posix() for path in folder.rglob(f"*{SUFFIX}")]
    if not names:
        raise FileNotFoundError(repository)
    return names


def _only_file(source: str, names: list[str], usual: str) -> str:
    """The usual name where it is among them, else the only ``.safetensors`` file; raises ModelUnavailable."""
    fitting = [name for name in names if name.endswith(SUFFIX)]
    if usual in fitting:
        return usual
    if len(fitting) != 1:
        raise ModelUnavailable(f"{source} holds {len(fitting)} {SUFFIX} files: name one, as {source}/name{SUFFIX}")
    return fitting[0]
