"""A checkpoint in Stable Diffusion's format: its networks put together, and written."""

from pathlib import Path

from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from training.export import declare_float32, save_in_half_precision
from training.toyworld.denoiser import build_scheduler


def text_half(clip: CLIPModel) -> CLIPTextModel:
    """Return the text encoder of a CLIP in the class that Stable Diffusion expects."""
    encoder = CLIPTextModel(clip.config.text_config)
    encoder.load_state_dict(clip.text_model.state_dict())
    return encoder.eval()


def assemble(
    autoencoder: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    *,
    scheduler: DDIMScheduler | None = None,
) -> StableDiffusionPipeline:
    """Build a plain Stable Diffusion pipeline of the parts; ``scheduler`` is the toy world's by default."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler or build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def export(
    pipeline: StableDiffusionPipeline, clip: CLIPModel, folder: Path, *, max_shard_size: int | str | None = None
) -> None:
    """Write the pipeline, and the CLIP of its text encoder into ``clip`` beside it, in fp16 safetensors."""
    for part in (pipeline.unet, pipeline.vae):  # diffusers writes down where a network was read from
        part.register_to_config(_name_or_path="")
    save_in_half_precision(pipeline, folder, max_shard_size=max_shard_size)
    clip.half().save_pretrained(folder / "clip")
    declare_float32(folder / "clip")
