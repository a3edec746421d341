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
METADATA = "__metadata__"
MAX_HEADER_BYTES = 16_000_000  # of honest files none has a tenth; the library's own limit costs seconds and gigabytes
Shapes = Mapping[str, tuple[int, ...]]


def read_shapes(path: Path) -> Shapes:
    """Read the shape of every tensor in a whole file, by name; raises ModelUnavailable as ``read_header``."""
    return read_header(path)[0]


def read_header(path: Path) -> tuple[Shapes, Mapping[str, str]]:
    """Read the shape of every tensor in a whole file, by name, and the texts that its maker has added.

    Raises ModelUnavailable, without the file's folder, for a pickle, a half download or anything else.
    """
    if path.suffix.lower() != SUFFIX:
        raise ModelUnavailable(
            f"{path.name} is not a {SUFFIX} file; pickled files can run code and are never opened: convert it"
        )
    try:
        shapes, metadata, end = _read(path)
    except (OSError, ValueError, RecursionError):
        raise ModelUnavailable(f"{path.name} cannot be read as a {SUFFIX} file: fetch it again") from None
    if end != path.stat().st_size:
        raise ModelUnavailable(f"{path.name} is not whole, perhaps a half download: fetch it again")
    return shapes, metadata


def _read(path: Path) -> tuple[Shapes, Mapping[str, str], int]:
    """The shapes, the texts, and the size in bytes that the file should have; raises OSError and ValueError."""
    if not path.is_file():  # opening a pipe would wait for ever
        raise ValueError("no ordinary file")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= MAX_HEADER_BYTES:
            raise ValueError("no header, or a huge one")
        header = json.loads(file.read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("no mapping")
    tensors = [(name, facts) for name, facts in header.items() if name != METADATA]
    if not all(isinstance(facts, dict) for _, facts in tensors):
        raise ValueError("a tensor without facts")
    texts = header.get(METADATA)
    metadata = {name: text for name, text in texts.items() if isinstance(text, str)} if isinstance(texts, dict) else {}
    shapes = {name: tuple(_counts(facts.get("shape"))) for name, facts in tensors}
    ends = [_counts(facts.get("data_offsets")) for _, facts in tensors]
    if not all(len(end) == 2 for end in ends):
        raise ValueError("a tensor without a place")
    return shapes, metadata, 8 + length + max((end for _, end in ends), default=0)


def _counts(values: object) -> list[int]:
    """A list of whole numbers from 0 on; raises ValueError for anything else."""
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        raise ValueError("no list of counts")
    return values
