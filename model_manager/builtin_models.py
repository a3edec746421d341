"""Registry of models, as data: a row holds all that the code needs to know about a checkpoint."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from annotators.controls import CONTROLS, SD1_CONTROLNETS
from model_manager.checkpoint_formats import format_of_folder
from model_manager.discovery import current_id, numbered
from model_manager.safetensors_header import SUFFIX
from model_manager.styles import Style
from settings.user_files import named_in
from utils import ROOT

PAPER_WINDOW = (881, 941)  # arXiv 2303.13439, section 4.1: T' = 881, T = 941 of 1000
MODELS_VARIABLE = "T2V_MODELS"
STORYBOARDS = (
    "a sapling in a field -> a young tree in a field -> a cherry tree in blossom in a field",
    "a lake at sunrise -> a lake at noon -> a lake at sunset -> a lake under the stars",
    "an astronaut far away on the moon -> an astronaut close by on the moon",
)


@dataclass(frozen=True)
class Lora:
    """Low-rank adapter of a checkpoint (Hu et al. 2021, arXiv 2106.09685): name, the ``.safetensors`` file or Hub id
    it comes from, and its scale."""

    name: str
    source: str
    scale: float = 1.0


@dataclass(frozen=True)
class ModelRow:
    """Registry row of a checkpoint, with the adapters of one job."""

    name: str
    label: str
    source: str  # a Hub id, a diffusers folder or a single .safetensors file
    note: str
    motion_window: tuple[int, int] = PAPER_WINDOW
    examples: tuple[str, ...] = ()
    storyboards: tuple[str, ...] = STORYBOARDS  # examples of moments
    unet: str | None = None  # a folder whose UNet takes the place of the one there
    controlnets: Mapping[str, str] = field(default_factory=lambda: SD1_CONTROLNETS)  # by control, where there is one
    depth_estimator: str = "depth-anything-v2-small"  # that suits it, of the setting
    guidance_scale: float = 7.5  # what suits it
    steered_guidance_scale: float = 7.5  # the same where a video steers it or is edited
    size_px: tuple[int, int] | None = None  # width and height that suit it, where that is not its UNet's square
    directed_anchors: str = "first"  # whom frames with prompts of their own attend to, of settings.Anchors
    edits: bool = False  # whether it edits pictures (InstructPix2Pix) instead of drawing them
    trained_on_videos: bool = False  # draws all frames together, by itself: no control, storyboard or first frame
    pickled: bool = False  # no safetensors are known; PyTorch reads its files as weights alone and runs no code
    variant: str | None = None  # which files to take of a Hub id that has its weights in several precisions
    trigger: str = ""  # words that every prompt for it gets
    vae: str | None = None  # takes the place of its own
    lora: Lora | None = None  # that is chosen
    tagged_loras: tuple[Lora, ...] = ()  # that prompts name by <lora:name:scale>
    style: Style | None = None
    # Learned words (textual inversion, Gal et al. 2022, arXiv 2208.01618), and where they come from.
    embeddings: Mapping[str, str] = field(default_factory=dict)

    @property
    def loras(self) -> tuple[Lora, ...]:
        """Return the LoRAs of a job, in the order of which their weights are added."""
        return ((self.lora,) if self.lora is not None else ()) + self.tagged_loras


TOYWORLD = ModelRow(
    name="toyworld",
    label="Toy world (bundled, 128x128)",
    source=str(ROOT / "checkpoints" / "toyworld"),
    note="A small model of simple shapes and figures that ships with this program; it is not Stable Diffusion. "
    "It knows nine colours, six shapes, people in coloured clothes, and plain, sky, grass, sand, sea or night "
    "backgrounds.",
    motion_window=(400, 500),
    controlnets={
        name: str(ROOT / "checkpoints" / kind.toyworld_controlnet)
        for name, kind in CONTROLS.items()
        if kind.toyworld_controlnet is not None
    },
    depth_estimator="toyworld",
    steered_guidance_scale=3.0,
    directed_anchors="itself",  # by measure; see the table of storyboards in benchmarks/NOTES.md
    examples=(
        "a red circle on green grass",
        "a large yellow star at night",
        "a pink heart on the sea",
        "a person in a blue shirt and black trousers waving on sand",
    ),
    storyboards=(
        "a red circle on the left on grass -> a red circle in the centre on grass -> "
        "a red circle on the right on grass",
        "a red circle in the centre on sand -> a blue circle in the centre on sand",
        "a white square in the centre on the sea -> a white star in the centre on the sea",
        "a small yellow star in the centre at night -> a large yellow star in the centre at night",
    ),
)
TOYWORLD_EDIT = replace(
    TOYWORLD,
    name="toyworld-edit",
    label="Toy world editor (bundled, 128x128)",
    note="A small model that ships with this program; it is not InstructPix2Pix. In drawings of the toy world it knows "
    "how to change a colour, a shape, clothes or the background.",
    unet=str(ROOT / "checkpoints" / "toyworld-edit"),
    controlnets={},
    examples=("make it night", "turn the circle into a star", "paint it blue", "make the shirt red"),
    edits=True,
)
TOYWORLD_VIDEO = replace(
    TOYWORLD,
    name="toyworld-video",
    label="Toy world video model (bundled, 128x128)",
    source=str(ROOT / "checkpoints" / "toyworld-video"),
    note="A small model of the toy world that was trained on videos; it ships with this program. One thing moves, "
    "grows, shrinks, turns or changes colour, or one person walks, waves, jumps or dances, as the prompt says.",
    controlnets={},
    examples=(
        "a red circle moves to the left on grass",
        "a yellow star grows at night",
        "a blue square moves up on sand",
        "a person in a red shirt and blue trousers waves on sand",
    ),
    guidance_scale=3.0,
    trained_on_videos=True,
)
_SCENES = (
    "a horse galloping on a street",
    "a panda dancing in Antarctica, high quality",
    "an astronaut waving the arm on the moon",
    "a sailing boat on a calm lake at sunset, oil painting",
)
_PORTRAITS = (
    "an oil painting of a woman who turns her head",
    "a portrait of a man in a suit, studio lighting",
)
STABLE_DIFFUSION = ModelRow(
    name="stable-diffusion-v1-5/stable-diffusion-v1-5",
    label="Stable Diffusion 1.5",
    source="stable-diffusion-v1-5/stable-diffusion-v1-5",
    note="The checkpoint of the paper, 512x512; 4 GB to download once, wants a GPU.",
    examples=_SCENES,
)
STABLE_DIFFUSION_XL = ModelRow(
    name="stabilityai/stable-diffusion-xl-base-1.0",
    label="Stable Diffusion XL",
    source="stabilityai/stable-diffusion-xl-base-1.0",
    note="Larger and finer pictures, 1024x1024; 7 GB to download once, wants a GPU with 8 GB. Text to video only.",
    examples=_SCENES,
    controlnets={},
    variant="fp16",
)
MODELSCOPE = ModelRow(
    name="ali-vilab/text-to-video-ms-1.7b",
    label="ModelScope",
    source="ali-vilab/text-to-video-ms-1.7b",
    note="Trained on videos (arXiv 2308.06571), 256x256, 16 frames; 4 GB to download once, wants a GPU. Not for "
    "commercial use.",
    examples=_SCENES,
    controlnets={},
    guidance_scale=9.0,  # as diffusers' pipeline has it
    trained_on_videos=True,
    variant="fp16",
)
ZEROSCOPE = replace(
    MODELSCOPE,
    name="cerspense/zeroscope_v2_576w",
    label="Zeroscope",
    source="cerspense/zeroscope_v2_576w",
    note="ModelScope trained on for 576x320, 24 frames; 4 GB to download once, wants a GPU. Not for commercial use.",
    size_px=(576, 320),
    pickled=True,
    variant=None,
)
INSTRUCT_PIX2PIX = ModelRow(
    name="timbrooks/instruct-pix2pix",
    label="InstructPix2Pix",
    source="timbrooks/instruct-pix2pix",
    note="Edits by instruction, 512x512; 4 GB to download once, wants a GPU.",
    controlnets={},
    examples=("make it Van Gogh Starry Night style", "make it snowy", "replace the camel with a horse"),
    edits=True,
)


def _style(name: str, label: str, trigger: str) -> ModelRow:
    """Row of a style of the original's tab for edges and DreamBooth (Ruiz et al. 2022, arXiv 2208.12242)."""
    note = (
        f"A style of the paper's authors, made for edges, 512x512; “{trigger}” is added to the prompt by itself. "
        "4 GB to download once, wants a GPU."
    )
    source = f"PAIR/text2video-zero-controlnet-canny-{name}"
    return ModelRow(source, label, source, note, examples=_PORTRAITS, trigger=trigger)


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
    _style("anime", "Anime style", "1girl"),
    _style("arcane", "Arcane style", "arcane style"),
    _style("avatar", "Avatar style", "avatar style"),
    _style("gta5", "GTA-5 style", "gtav style"),
    STABLE_DIFFUSION_XL,
    TOYWORLD_VIDEO,
    MODELSCOPE,
    ZEROSCOPE,
    TOYWORLD_EDIT,
    INSTRUCT_PIX2PIX,
)


def models(extra: Sequence[str] = ()) -> dict[str, ModelRow]:
    """Return all rows by name: the built-in ones, those of the environment variable T2V_MODELS (comma-separated), and
    ``extra``. The operator names Hub ids, folders or files; a path is shown under its last part."""
    named = [*extra, *named_in(MODELS_VARIABLE)]
    rows = {row.name: row for row in BUILT_IN}
    for source in filter(None, (current_id(os.path.expanduser(part.strip())) for part in named)):
        if source not in rows:
            name = unique_name(source, rows)
            rows[name] = _operator_row(name, source)
    return rows


def _operator_row(name: str, source: str) -> ModelRow:
    """The row of a checkpoint that the operator names, from the format that its folder says it has."""
    row = ModelRow(name, name, source, "Named by the operator of this server.", examples=_SCENES)
    kind = format_of_folder(source)
    if kind.edits:
        return replace(row, edits=True, examples=INSTRUCT_PIX2PIX.examples)
    return replace(row, trained_on_videos=True, controlnets={}) if kind.trained_on_videos else row


def unique_name(source: str, rows: Mapping[str, ModelRow]) -> str:
    """Return the name of an operator's model for clients: a Hub id as it is, of a path the last part."""
    if not Path(source).exists() and source.count("/") <= 1 and not source.endswith(SUFFIX):
        return source
    return numbered(Path(source).name, {name for name, row in rows.items() if row.source != source})
