"""A checkpoint with LoRAs, embeddings and VAEs that an operator offers, and what diffusers draws with it."""

from pathlib import Path

import numpy as np
import torch
import weights
from diffusers import AutoencoderKL, StableDiffusionPipeline

from generation.schedulers import build_scheduler
from model import Model
from model_manager.catalogue import Extras
from pipelines.text_to_video import TextToVideoPipeline
from settings.parsing import parse

NETWORKS = ("unet", "text_encoder", "vae")


def write_offered(root: Path, components) -> Path:
    """Write a checkpoint into a folder, and everything that may be put on it, good and bad."""
    TextToVideoPipeline(**components).save_pretrained(root / "tiny")
    weights.write_kohya_lora(root / "loras" / "kohya.safetensors", components)
    weights.write_diffusers_lora(root / "loras" / "plain.safetensors", components)
    generator = torch.Generator().manual_seed(7)
    vectors = torch.randn(2, 16, generator=generator)
    weights.write(root / "embeddings" / "Soft-Look.safetensors", {"emb_params": vectors})
    weights.write(root / "embeddings" / "blob.safetensors", {"<my-blob>": vectors[0]})
    weights.write(root / "embeddings" / "wide.safetensors", {"emb_params": torch.randn(1, 24)})
    weights.write(root / "embeddings" / "xl.safetensors", {"clip_l": vectors, "clip_g": torch.randn(2, 40)})
    torch.manual_seed(11)
    vae = AutoencoderKL.from_config(components["vae"].config)
    vae.save_pretrained(root / "vaes" / "folder")
    weights.write(root / "vaes" / "ldm.safetensors", weights.ldm_vae(vae))
    weights.write(root / "vaes" / "plain.safetensors", vae.state_dict())
    return root


def offering_model(folder: Path) -> Model:
    """Offer everything in such a folder."""
    extras = Extras([str(folder / "loras")], [str(folder / "vaes")], [str(folder / "embeddings")])
    return Model([str(folder / "tiny")], device="cpu", extras=extras)


def settings(**changes):
    common = {"prompt": "a red circle", "model": "tiny", "num_frames": 3, "num_inference_steps": 3, "seed": 5}
    return parse(common | changes)


def held_weights(model) -> dict[str, torch.Tensor]:
    """Copies of all the weights that jobs share."""
    parts = model.loader.components(model.rows["tiny"])
    return {f"{part}.{name}": value.clone() for part in NETWORKS for name, value in parts[part].state_dict().items()}


def still(folder, change=lambda pipeline: None, **arguments) -> np.ndarray:
    """What plain diffusers draws with these settings, after ``change`` has added something: 0 to 255 (h, w, 3)."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder / "tiny")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = build_scheduler("dpm++ 2m", pipeline.scheduler.config)
    change(pipeline)
    given = {"prompt": "a red circle", "num_inference_steps": 3, "generator": torch.Generator().manual_seed(5)}
    pixels = pipeline(**(given | arguments), output_type="np").images[0]
    return (pixels * 255).round().astype(int)
