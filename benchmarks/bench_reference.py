"""Ours against diffusers' deprecated TextToVideoZeroPipeline: seconds, peak memory, largest latent difference.

    python -m benchmarks.bench_reference                                   # all of it
    python -m benchmarks.bench_reference --parts speed --frames 8 --steps 50 --variants as-is channels-last compiled
    python -m benchmarks.bench_reference --checkpoint FOLDER --frames 2 --steps 4 --repeats 1   # a look

Same weights, same seed, in turn in one process; memory in a fresh process each. Denoising steps do not change peak
memory, so it is taken at few.

Predicted, on two cores in fp32: equal latents (1e-4), never slower at any length (folding alone gains 5 to 8 %), 1.2x
with compilation or another memory layout; at 64 frames at least 1.5x less peak memory, and less than 20 % more from
16 to 256 frames.
"""

import argparse
import copy
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import TextToVideoZeroPipeline

from benchmarks.measuring import conditions, elsewhere, forget_peak, in_float32, in_turn, memory_mib, table
from model_manager.builtin_models import TOYWORLD, ModelRow
from model_manager.loader import load_components
from model_manager.memory import SHARED_MEMORY_CHUNK
from pipelines.text_to_video import TextToVideoPipeline

PROMPT, SEED = "a red circle on green grass", 7
PARTS = ("speed", "memory", "length")
LENGTHS = (16, 256)
MEMORY_STEPS = 6
REFERENCE, OURS = "diffusers", "ours"


def main() -> None:
    """Print the tables asked for."""
    options = arguments()
    if options.memory_of:
        measure_here(options)
        return
    shown = {name: value for name, value in vars(options).items() if name != "memory_of"}
    print(
        conditions(
            **(shown | {"checkpoint": Path(options.checkpoint).name}), precision="fp32", chunk=SHARED_MEMORY_CHUNK
        )
    )
    tables = {"speed": speed, "memory": memory, "length": length}
    for part in options.parts:
        print(tables[part](options), flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=TOYWORLD.source, help="a diffusers folder")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--frames", nargs="+", type=int, default=(8, 16, 64))
    parser.add_argument("--steps", type=int, default=50, help="denoising steps, at least 4")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=("as-is", "channels-last", "compiled"), default=("as-is",))
    parser.add_argument("--memory-of", choices=(OURS, REFERENCE), help=argparse.SUPPRESS)
    return parser.parse_args()


def pipelines(checkpoint: str, variant: str = "as-is") -> dict[str, Any]:
    """Build the reference as it is, and ours with the UNet of that variant, on the same weights."""
    components = in_float32(load_components(ModelRow("benchmark", "benchmark", checkpoint, ""), "cpu"))
    components |= {"safety_checker": None, "requires_safety_checker": False}
    reference = TextToVideoZeroPipeline(**components)
    ours = TextToVideoPipeline(**(components | {"unet": as_variant(components["unet"], variant)}))
    for pipeline in (reference, ours):
        pipeline.set_progress_bar_config(disable=True)
    return {REFERENCE: reference, OURS: ours}


def as_variant(unet: UNet2DConditionModel, variant: str) -> UNet2DConditionModel:
    """Return the UNet itself, a copy in another memory layout, or a copy with compiled blocks.

    Compiled are residual and feed-forward blocks; attention stays as it is, because its processors come and go with
    every video.
    """
    if variant == "as-is":
        return unet
    unet = copy.deepcopy(unet)
    if variant == "channels-last":
        return unet.to(memory_format=torch.channels_last)
    torch._dynamo.config.recompile_limit = 256  # one for every shape of block, under one name
    for module in unet.modules():
        if isinstance(module, ResnetBlock2D | FeedForward):
            module.compile(dynamic=False)
    return unet


def generate(
    pipeline: DiffusionPipeline, frames: int, *, steps: int, prompt: str = PROMPT, seed: int = SEED
) -> tuple[np.ndarray, torch.Tensor]:
    """Generate a video by either pipeline; return its pictures and its last latents.

    The motion window is the paper's at 50 steps, as many steps from the start at others.
    """
    latents = []
    arguments: dict[str, Any] = {"chunk_size": SHARED_MEMORY_CHUNK} if isinstance(pipeline, TextToVideoPipeline) else {}
    images = pipeline(
        prompt,
        video_length=frames,
        num_inference_steps=steps,
        t0=max(0, steps - 6),
        t1=max(1, steps - 3),
        generator=torch.Generator().manual_seed(seed),
        callback=lambda _step, _timestep, current: latents.append(current) if len(current) == frames else None,
        **arguments,
    ).images
    return images, latents[-1]


def speed(options: argparse.Namespace) -> str:
    """Measure seconds per video, text to pictures, in turn."""
    rows = []
    for variant in options.variants:
        both = pipelines(options.checkpoint, variant)
        for frames in options.frames:
            latents = {name: generate(pipeline, frames, steps=4)[1] for name, pipeline in both.items()}  # warms up, too
            runs = {
                name: partial(keep, latents, name, pipeline=pipeline, frames=frames, steps=options.steps)
                for name, pipeline in both.items()
            }
            seconds = in_turn(runs, options.repeats)
            difference = float((latents[OURS] - latents[REFERENCE]).abs().max())
            ratio = seconds[REFERENCE] / seconds[OURS]
            times = (f"{seconds[name]:.2f}" for name in (REFERENCE, OURS))
            rows.append((f"{frames}, {variant}", *times, f"{ratio:.2f}x", f"{difference:.1e}"))
    return table(
        [f"frames, our UNet ({options.steps} steps)", "diffusers s", "ours s", "faster", "latents differ"], rows
    )


def keep(latents: dict[str, torch.Tensor], name: str, *, pipeline: DiffusionPipeline, frames: int, steps: int) -> None:
    """Generate, and keep the latents under a name."""
    latents[name] = generate(pipeline, frames, steps=steps)[1]


def memory(options: argparse.Namespace) -> str:
    """Measure the peak memory of a video, ours and the reference's."""
    rows = []
    for frames in options.frames:
        peaks = [peak_elsewhere(options.checkpoint, name, frames) for name in (REFERENCE, OURS)]
        (theirs, theirs_more), (ours, ours_more) = peaks
        cells = (f"{theirs:.0f}", f"{ours:.0f}", f"{theirs / ours:.2f}x")
        rows.append((frames, *cells, f"{theirs_more:.0f}", f"{ours_more:.0f}", f"{theirs_more / ours_more:.2f}x"))
    above = ["diffusers above the loaded model", "ours", "less"]
    return table(["frames", "diffusers, whole process MiB", "ours", "less", *above], rows)


def length(options: argparse.Namespace) -> str:
    """Measure the growth of our peak memory with the length of the video."""
    peaks = {frames: peak_elsewhere(options.checkpoint, OURS, frames) for frames in LENGTHS}
    first = peaks[LENGTHS[0]][0]
    rows = [(n, f"{peak:.0f}", f"{more:.0f}", f"{peak / first - 1:+.1%}") for n, (peak, more) in peaks.items()]
    return table(["our frames", "whole process MiB", "above the loaded model", "whole process grows by"], rows)


def peak_elsewhere(checkpoint: str, name: str, frames: int) -> tuple[float, float]:
    """Return the MiB at the peak of one video in a fresh process, and those above the loaded model."""
    options = ["--memory-of", name, "--checkpoint", checkpoint, "--frames", frames, "--steps", MEMORY_STEPS]
    return tuple(elsewhere("bench_reference", *options))


def measure_here(options: argparse.Namespace) -> None:
    """Print, in the fresh process, the peak of one video and its growth over the loaded model."""
    pipeline = pipelines(options.checkpoint)[options.memory_of]
    forget_peak()
    loaded, _ = memory_mib()
    generate(pipeline, options.frames[0], steps=options.steps)
    peak = memory_mib()[1]
    print(json.dumps([peak, peak - loaded]))


if __name__ == "__main__":
    main()
