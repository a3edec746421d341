"""Output of a training run: sample GIFs, the loss plot, the finished diffusers folder and its card."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import DiffusionPipeline, TextToVideoSDPipeline

from media.pictures import write_picture
from media.video_io import write_video
from training.export import save_in_half_precision
from training.video_diffusion.config import TrainingConfig
from training.video_diffusion.trainer import CaptionedVideoNetwork

FPS = 8
GUIDANCE_SCALE = 3.0  # more makes a small model garish
SHARD = "9MB"  # many hosts of repositories take no file above ten
PLOT_WIDTH, PLOT_HEIGHT, MARGIN = 720, 360, 48


CARD = """# {name}

A text-to-video model: diffusers' `TextToVideoSDPipeline` with a `UNet3DConditionModel` of {million:.1f} million \
parameters, trained by `python -m training.video_diffusion` from `{base}` on clips of {frames} frames at \
{size_px}x{size_px}: {steps} steps of {batch} clips, learning rate {learning_rate:g}.

```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{name}")
frames = pipe("...", num_frames={frames}, num_inference_steps=25, guidance_scale={guidance_scale}).frames[0]
```
"""


def assemble(base: DiffusionPipeline, network: CaptionedVideoNetwork) -> TextToVideoSDPipeline:
    """Build diffusers' pipeline around the network, with the base's other parts as they are."""
    pipeline = TextToVideoSDPipeline(
        base.vae, network.text_encoder, base.tokenizer, unet=network.unet, scheduler=base.scheduler
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(
    pipeline: TextToVideoSDPipeline, prompts: Sequence[str], *, seed: int = 0, steps: int = 25, frames: int = 8
) -> np.ndarray:
    """Draw one clip per prompt: uint8 (prompts, frames, height, width, 3).

    Each clip has its own generator, so that it is the same whatever is drawn beside it.
    """
    generators = [torch.Generator().manual_seed(seed + number) for number in range(len(prompts))]
    with torch.autocast(pipeline.device.type, torch.bfloat16):
        made = pipeline(
            list(prompts),
            num_frames=frames,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE_SCALE,
            generator=generators,
            output_type="np",
        )
    return np.rint(np.stack(list(made.frames)) * 255).astype(np.uint8)


def write_samples(path: Path, clips: np.ndarray) -> None:
    """Write clips, uint8 (clips, frames, height, width, 3), side by side as one looping GIF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bordered = np.pad(clips, ((0, 0), (0, 0), (0, 0), (2, 2), (0, 0)), constant_values=255)
    write_video(path, np.concatenate(list(bordered), axis=2), FPS, {})


def write_loss(folder: Path, losses: Sequence[float]) -> None:
    """Write ``loss.csv`` with every step, and ``loss.png``, the running mean over a hundredth of the course."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = (f"{step},{value:.6f}\n" for step, value in enumerate(losses, 1))
    (folder / "loss.csv").write_text("step,loss\n" + "".join(rows), encoding="utf-8")
    write_picture(folder / "loss.png", draw_curve(losses))


def draw_curve(losses: Sequence[float]) -> np.ndarray:
    """Plot the loss over the steps: uint8 RGB (height, width, 3), logarithmic upwards."""
    canvas = np.full((PLOT_HEIGHT, PLOT_WIDTH, 3), 255, np.uint8)
    values = running_mean(np.asarray(losses, np.float64), max(1, len(losses) // 100))
    heights = np.log10(np.maximum(values, 1e-8))
    low, high = float(heights.min()), float(max(heights.max(), heights.min() + 1e-3))
    across = MARGIN + (PLOT_WIDTH - 2 * MARGIN) * np.linspace(0, 1, len(heights))
    down = PLOT_HEIGHT - MARGIN - (PLOT_HEIGHT - 2 * MARGIN) * (heights - low) / (high - low)
    points = np.stack([across, down], axis=1).round().astype(np.int32)
    frame = (MARGIN, MARGIN, PLOT_WIDTH - 2 * MARGIN, PLOT_HEIGHT - 2 * MARGIN)
    cv2.rectangle(canvas, frame, (200, 200, 200), 1)
    cv2.polylines(canvas, [points], False, (20, 90, 180), 2, cv2.LINE_AA)
    labels = {
        (4, MARGIN + 4): f"{10**high:.3g}",
        (4, PLOT_HEIGHT - MARGIN): f"{10**low:.3g}",
        (MARGIN, PLOT_HEIGHT - 16): f"loss, {len(losses)} steps, last {values[-1]:.4g}",
    }
    for place, text in labels.items():
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)
    return canvas


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of the last ``window`` values at each place, of fewer at the beginning."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def export(pipeline: TextToVideoSDPipeline, folder: Path) -> None:
    """Write the pipeline in half precision, no file above ten megabytes where a single weight is not.

    The folder does not tell the base's path on this machine.
    """
    for part in (pipeline.unet, pipeline.vae):
        part.register_to_config(_name_or_path=folder.name)
    save_in_half_precision(pipeline, folder, max_shard_size=SHARD)


def write_card(pipeline: TextToVideoSDPipeline, folder: Path, config: TrainingConfig) -> None:
    """Write the model card, the folder's README: what the model is and how it was trained."""
    course, shape = config.course, config.shape
    card = CARD.format(
        name=folder.name,
        million=sum(value.numel() for value in pipeline.unet.parameters()) / 1e6,
        base=config.base,
        frames=shape.frames,
        size_px=shape.size_px,
        steps=course.steps,
        batch=course.batch * course.accumulate,
        learning_rate=course.learning_rate,
        guidance_scale=GUIDANCE_SCALE,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
