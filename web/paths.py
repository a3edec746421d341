"""Paths of requests as the page knows them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import Scope


def path_below_root(scope: Scope) -> str:
    """Return the path of a request as the page knows it, whether a proxy has kept or stripped the sub-path that the
    page is served under (GRADIO_ROOT_PATH, a path or a whole address)."""
    path = scope["path"]
    for root in (urlsplit(os.environ.get("GRADIO_ROOT_PATH", "")).path.rstrip("/"), scope.get("root_path", "")):
        if root and path.startswith(f"{root}/"):
            return path.removeprefix(root)
    return path
