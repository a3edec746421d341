"""The model that training starts from, loaded, checked and turned into the network to train."""

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, SchedulerMixin, UNet2DConditionModel, UNet3DConditionModel
from torch import nn
from transformers import PreTrainedTokenizerBase

from errors import UserError, first_line
from training.toyworld.denoiser import with_zero_terminal_snr
from training.video_diffusion.config import TrainingConfig
from training.video_diffusion.dataset import Shape
from training.video_diffusion.network import (
    build_video_unet,
    ready_to_train,
    silence_temporal_layers,
    start_from_image,
)
from training.video_diffusion.text_encoders import load_text_encoder
from training.video_diffusion.trainer import CaptionedVideoNetwork
from utils import local_or_hub

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
PREDICTIONS = ("epsilon", "v_prediction")


def prepare_base(config: TrainingConfig) -> DiffusionPipeline:
    """Load the base with the text encoder and the noise schedule of the run; raises UserError."""
    base = load_base(config.base)
    if config.text_encoder is not None:
        encoder, tokenizer = load_text_encoder(config.text_encoder)
        base.register_modules(text_encoder=encoder, tokenizer=tokenizer)
    if config.zero_terminal_snr:
        base.register_modules(scheduler=ending_in_noise(base.scheduler))
    return base


def load_base(source: str) -> DiffusionPipeline:
    """Load an image or a video pipeline in diffusers' format, in float32; raises UserError."""
    try:
        base = local_or_hub(source, lambda **where: DiffusionPipeline.from_pretrained(source, **where))
    except (OSError, ValueError) as error:
        raise UserError(
            f"--base {source} is no diffusers folder or id that can be loaded: {first_line(error)}"
        ) from None
    if any(getattr(base, name, None) is None for name in PARTS) or hasattr(base, "text_encoder_2"):
        raise UserError(f"--base {source} is no Stable Diffusion 1.x or 2.x and no text-to-video model of its kind")
    return base.to(dtype=torch.float32)


def ending_in_noise(scheduler: SchedulerMixin) -> DDIMScheduler:
    """Give the schedule zero terminal SNR; raises UserError for a base that predicts noise."""
    if scheduler.config.prediction_type != "v_prediction":
        raise UserError("--zero-terminal-snr wants a base that predicts velocity: from noise alone, noise says nothing")
    return with_zero_terminal_snr(scheduler)


def check_prediction(scheduler: SchedulerMixin) -> None:
    """Raise UserError for a base that predicts neither noise nor velocity."""
    if scheduler.config.prediction_type not in PREDICTIONS:
        raise UserError(f"the base predicts {scheduler.config.prediction_type}: choose one of noise or velocity")


def build_network(base: DiffusionPipeline, config: TrainingConfig, device: str) -> CaptionedVideoNetwork:
    """Build the network to train: the base's UNet with temporal layers, or a video base's own, and its text encoder."""
    torch.manual_seed(config.course.seed)
    is_image_model = isinstance(base.unet, UNet2DConditionModel)
    unet = inflated_unet(base, config) if is_image_model else video_unet(base, config)
    base.text_encoder.requires_grad_(config.tune_text)
    if isinstance(pooler := getattr(base.text_encoder, "pooler", None), nn.Module):
        pooler.requires_grad_(False)  # nothing reads a BERT's, and several processes would wait for its gradient
    return CaptionedVideoNetwork(ready_to_train(unet, device).train(), base.text_encoder)


def inflated_unet(base: DiffusionPipeline, config: TrainingConfig) -> UNet3DConditionModel:
    """Build a 3D UNet around an image base's UNet, with its weights unless training starts from scratch."""
    unet = build_video_unet(base.unet, cells_of(base, config.shape), base.text_encoder.config.hidden_size)
    if config.from_scratch:
        silence_temporal_layers(unet)
    else:
        start_from_image(unet, base.unet)
    return unet


def video_unet(base: DiffusionPipeline, config: TrainingConfig) -> UNet3DConditionModel:
    """Return a video base's own UNet for clips of the run's size; raises UserError where the text does not fit."""
    cells, text_width = cells_of(base, config.shape), base.text_encoder.config.hidden_size
    if base.unet.config.cross_attention_dim != text_width:
        raise UserError(
            f"--text-encoder gives {text_width} numbers per word and --base reads "
            f"{base.unet.config.cross_attention_dim}: begin with an image model, or with this one's own encoder"
        )
    base.unet.register_to_config(sample_size=cells)
    return base.unet


def cells_of(base: DiffusionPipeline, shape: Shape) -> int:
    """Return the side of the latents; raises UserError where the size does not fit the base's networks."""
    factor = 2 ** (len(base.vae.config.block_out_channels) - 1)
    step = factor * 2 ** (len(base.unet.config.block_out_channels) - 1)
    if shape.size_px % step:
        raise UserError(f"--size {shape.size_px} does not fit the base: use a multiple of {step}")
    return shape.size_px // factor


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> torch.Tensor:
    """Tokenise as the pipeline does: int64 (texts, tokens), padded to the tokenizer's length."""
    length = tokenizer.model_max_length
    return tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
