"""Which models there are, as data: what a row says is all the code needs to know about a checkpoint."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PAPER_WINDOW = (881, 941)  # arXiv 2303.13439, section 4.1: T' = 881, T = 941 of 1000
MODELS_VARIABLE = "T2V_MODELS"


@dataclass(frozen=True)
class ModelRow:
    """One image checkpoint: ``source`` is a Hub id, a diffusers folder or a single ``.safetensors`` file."""

    name: str
    label: str
    source: str
    note: str
    motion_window: tuple[int, int] = PAPER_WINDOW
    examples: tuple[str, ...] = ()


TOYWORLD = ModelRow(
    name="toyworld",
    label="Toy world (bundled, 128x128)",
    source=str(ROOT / "checkpoints" / "toyworld"),
    note="A small model of simple shapes and figures that ships with this program; it is not Stable Diffusion. "
    "It knows nine colours, six shapes, people in coloured clothes, and plain, sky, grass, sand, sea or night "
    "backgrounds.",
    motion_window=(600, 700),
    examples=(
        "a red circle on green grass",
        "a large yellow star at night",
        "a pink heart on the sea",
        "a person in a blue shirt and black trousers waving on sand",
    ),
)
_SCENES = (
    "a horse galloping on a street",
    "a panda dancing in Antarctica, high quality",
    "an astronaut waving the arm on the moon",
    "a sailing boat on a calm lake at sunset, oil painting",
)
STABLE_DIFFUSION = ModelRow(
    name="stable-diffusion-v1-5/stable-diffusion-v1-5",
    label="Stable Diffusion 1.5",
    source="stable-diffusion-v1-5/stable-diffusion-v1-5",
    note="The checkpoint of the paper, 512x512; 4 GB to download once, wants a GPU.",
    examples=_SCENES,
)
BUILT_IN = (
    TOYWORLD,
    STABLE_DIFFUSION,
    ModelRow(
        name="Lykon/dreamshaper-8",
        label="DreamShaper 8",
        source="Lykon/dreamshaper-8",
        note="A painterly finetune of Stable Diffusion 1.5, 512x512; 4 GB to download once, wants a GPU.",
        examples=_SCENES,
    ),
    ModelRow(
        name="SG161222/Realistic_Vision_V5.1_noVAE",
        label="Realistic Vision 5.1",
        source="SG161222/Realistic_Vision_V5.1_noVAE",
        note="A photographic finetune of Stable Diffusion 1.5, 512x512; 4 GB to download once, wants a GPU.",
        examples=_SCENES,
    ),
)


def models(extra: Sequence[str] = ()) -> dict[str, ModelRow]:
    """All rows by name: the built-in ones, those of the environment variable T2V_MODELS (comma-separated), and
    ``extra``. What the operator names is a Hub id, a folder or a file, and is shown under its last part."""
    named = [*extra, *os.environ.get(MODELS_VARIABLE, "").split(",")]
    rows = {row.name: row for row in BUILT_IN}
    for source in filter(None, (part.strip() for part in named)):
        if source not in rows:
            name = unique_name(source, rows)
            rows[name] = ModelRow(name, name, source, "Named by the operator of this server.", examples=_SCENES)
    return rows


def unique_name(source: str, rows: dict[str, ModelRow]) -> str:
    """What clients call an operator's model: a Hub id as it is, a path by its last part, never the whole path."""
    if not Path(source).exists() and source.count("/") <= 1 and not source.endswith(".safetensors"):
        return source
    name = Path(source).name
    number = 2
    while name in rows and rows[name].source != source:
        name = f"{Path(source).name} ({number})"
        number += 1
    return name
