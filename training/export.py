"""Finished pipelines on disk: stored in half precision, loaded in single precision unless asked otherwise."""

from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from training.toyworld.text import save_tokenizer


def save_in_half_precision(
    pipeline: DiffusionPipeline, folder: Path, *, max_shard_size: int | str | None = None
) -> None:
    """Write a Stable Diffusion or text-to-video pipeline as fp16 safetensors; it is in half precision afterwards."""
    pipeline.to(dtype=torch.float16).save_pretrained(folder, max_shard_size=max_shard_size)
    if getattr(pipeline.tokenizer, "is_fast", False) and hasattr(pipeline.tokenizer, "backend_tokenizer"):
        save_tokenizer(pipeline.tokenizer, folder / "tokenizer")
    declare_float32(folder / "text_encoder")


def declare_float32(folder: Path) -> None:
    """Let transformers load a network stored in half precision as float32, as diffusers loads its own."""
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"float16"', '"float32"'), encoding="utf-8")
