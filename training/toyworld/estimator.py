"""Teach a small Depth Anything network the toy world's depth: ``python -m training.toyworld.estimator``.

It looks at drawn scenes and learns what is ground, what is a thing, and which of two things hides the other; how near
a single thing is cannot be seen. It makes the depth tab complete without a download, and knows nothing else.
"""

import argparse
import copy
import logging
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import nn
from torch.nn import functional

from toyworld.splits import SIZE_PX
from training.loop import ExponentialAverage, run_steps, take_step
from training.toyworld.control_data import ControlPool, load_pool
from training.toyworld.denoiser import Course, cosine

logger = logging.getLogger("training.toyworld.estimator")
PATCH_PX = 8
EDGE_WEIGHT = 2.0


def build_estimator() -> transformers.DepthAnythingForDepthEstimation:
    """Build an untrained network of 0.9 million parameters."""
    backbone = transformers.Dinov2Config(
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=3,
        mlp_ratio=3,
        image_size=SIZE_PX,
        patch_size=PATCH_PX,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    model = transformers.DepthAnythingForDepthEstimation(
        transformers.DepthAnythingConfig(
            backbone_config=backbone,
            patch_size=PATCH_PX,
            reassemble_hidden_size=96,
            reassemble_factors=[4, 2, 1, 0.5],
            neck_hidden_sizes=[16, 32, 48, 48],
            fusion_hidden_size=32,
            head_hidden_size=16,
        )
    )
    # What comes out passes a ReLU last, which from below zero would never learn: begin at a middling nearness.
    nn.init.constant_(model.head.conv3.bias, 0.3)
    return model


def build_processor() -> transformers.DPTImageProcessorPil:
    """Build the preprocessing: the longer side near 128 pixels, whole patches."""
    return transformers.DPTImageProcessorPil(
        size={"height": SIZE_PX, "width": SIZE_PX},
        keep_aspect_ratio=True,
        ensure_multiple_of=PATCH_PX,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def depth_loss(estimated: torch.Tensor, nearness: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error of nearness plus, for sharp outlines, that of its spatial gradients."""
    error = estimated - nearness
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + EDGE_WEIGHT * edges


def train_estimator(path: Path, pool: ControlPool, course: Course) -> transformers.DepthAnythingForDepthEstimation:
    """Train the network, resuming from ``path``; return it with averaged weights, in evaluation mode."""
    torch.manual_seed(0)
    model = build_estimator().to(course.device).train()
    average = ExponentialAverage(model, 0.998)
    optimizer = torch.optim.AdamW(model.parameters(), lr=course.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(course.steps, course.floor))

    def step(index: int) -> dict[str, float]:
        random = np.random.default_rng([course.seed, index])
        chosen = np.sort(random.choice(len(pool), course.batch, replace=False))
        pixels = torch.from_numpy(pool.images[chosen]).permute(0, 3, 1, 2).float() / 127.5 - 1
        nearness = torch.from_numpy(pool.control[chosen]).float() / 255
        with torch.autocast(course.device, torch.bfloat16):
            estimated = model(pixel_values=pixels.to(course.device)).predicted_depth
        estimated = functional.interpolate(estimated.float()[:, None], (SIZE_PX, SIZE_PX), mode="bilinear")[:, 0]
        loss = depth_loss(estimated, nearness.to(course.device))
        loss.backward()
        take_step(model, optimizer, schedule, average)
        return {"loss": loss.item()}

    parts = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule}
    run_steps(path, course.steps, parts, step, device=course.device)
    twin = copy.deepcopy(model)
    average.copy_to(twin)
    return twin.eval()


def main() -> None:
    """Draw, train and write the estimator with its preprocessing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(".training/control"), help="state and drawn pictures")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/toyworld-depth-estimator"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pictures", type=int, default=24_000, help="how many scenes to draw")
    parser.add_argument("--steps", type=int, default=800, help="batch 8")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pool = load_pool(options.work / "depth", "depth", options.pictures)
    course = Course(options.steps, 1e-3, batch=8, device=options.device, seed=30)
    model = train_estimator(options.work / f"estimator-{options.steps}.pt", pool, course)
    model.half().save_pretrained(options.out)
    build_processor().save_pretrained(options.out)
    logger.info("written to %s", options.out)


if __name__ == "__main__":
    main()
