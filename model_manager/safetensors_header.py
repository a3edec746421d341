"""Names and shapes of the tensors in a ``.safetensors`` file, from its header alone: no weights, no PyTorch.

The format (github.com/huggingface/safetensors): eight bytes that say how long the header is, the header as JSON, and
the numbers, whose places the header gives.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from errors import ModelUnavailable

SUFFIX = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
MAX_HEADER_BYTES = 100_000_000  # the library's own limit
Shapes = Mapping[str, tuple[int, ...]]


def read_shapes(path: Path) -> Shapes:
    """Read the shape of every tensor in a whole file, by name.

    Raises ModelUnavailable, without the file's folder, for a pickle, a half download or anything else.
    """
    if path.suffix.lower() != SUFFIX:
        raise ModelUnavailable(
            f"{path.name} is not a {SUFFIX} file; pickled files can run code and are never opened: convert it"
        )
    try:
        shapes, end = _read(path)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        raise ModelUnavailable(f"{path.name} cannot be read as a {SUFFIX} file: fetch it again") from None
    if end != path.stat().st_size:
        raise ModelUnavailable(f"{path.name} is not whole, perhaps a half download: fetch it again")
    return shapes


def _read(path: Path) -> tuple[Shapes, int]:
    """The shapes, and the size in bytes that the file should have."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= MAX_HEADER_BYTES:
            raise ValueError("no header")
        header = json.loads(file.read(length).decode("utf-8"))
    header.pop("__metadata__", None)
    shapes = {name: tuple(map(int, facts["shape"])) for name, facts in header.items()}
    return shapes, 8 + length + max((int(facts["data_offsets"][1]) for facts in header.values()), default=0)
