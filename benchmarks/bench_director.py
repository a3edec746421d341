"""Costs of DirecT2V's additions: rotation, the filter, other anchors, and prompts for every frame.

    python -m benchmarks.bench_director               # 8 frames, 10 steps, 5 rounds; memory at 8, 32, 128 frames
    python -m benchmarks.bench_director --rounds 2 --memory-frames 8    # a look

The toy world in the precision that the app takes here, guidance on, latents alone, frames in chunks of 8. The ways are
taken in turn, and compared by medians. Memory is the peak of a fresh process above the loaded networks.

Predicted: rotation costs nothing (another frame's keys are kept); the filter below 1.6x (two more projections, and
three more calls of attention for one of the two branches); all frames as anchors more with every frame; memory of the
filter flat in the number of frames.
"""

import argparse
import json
from functools import partial

import torch

from benchmarks.measuring import conditions, elsewhere, forget_peak, in_turn, memory_mib, table
from model_manager.builtin_models import TOYWORLD
from model_manager.loader import Loader
from pipelines.attention import CrossFrame
from pipelines.text_to_video import TextToVideoPipeline
from pipelines.video import RunOptions

PLAIN, FRAME_PROMPTS = "cross-frame attention", "a prompt for every frame"
WAYS = {
    PLAIN: CrossFrame(),
    FRAME_PROMPTS: CrossFrame(),
    "frames to themselves": CrossFrame(enabled=False),
    "rotating every 4 steps": CrossFrame(period=4),
    "filtering 5 %": CrossFrame(filtered=0.05),
    "filtering 50 %": CrossFrame(filtered=0.5),
    "rotating, filtering 5 %": CrossFrame(period=4, filtered=0.05),
    "previous frame": CrossFrame(anchors="previous"),
    "first and previous frame": CrossFrame(anchors="first + previous"),
    "all frames": CrossFrame(anchors="all"),
}
CHUNK = 8


def main() -> None:
    """Print both tables, or in a fresh process one measurement of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-frames", nargs="*", type=int, default=(8, 32, 128))
    parser.add_argument("--one", metavar="WAY,FRAMES", help=argparse.SUPPRESS)
    options = parser.parse_args()
    pipeline = build()
    if options.one is not None:
        way, _, frames = options.one.rpartition(",")
        print(json.dumps(peak_mib(pipeline, way, int(frames))))
        return
    print(conditions(checkpoint="toyworld", frames=options.frames, steps=options.steps, rounds=options.rounds))
    for way in WAYS:
        run(pipeline, way, options.frames, 2)  # warms up
    seconds = in_turn({way: partial(run, pipeline, way, options.frames, options.steps) for way in WAYS}, options.rounds)
    rows = [(way, f"{taken:.2f}", f"{taken / seconds[PLAIN]:.2f}x") for way, taken in seconds.items()]
    print(table(["way", "seconds", "of plain"], rows))
    if options.memory_frames:
        ways = (PLAIN, FRAME_PROMPTS, "filtering 5 %")
        mib = [(way, *(f"{peak(way, frames):.0f}" for frames in options.memory_frames)) for way in ways]
        print(table(["MiB above the networks, at frames:", *map(str, options.memory_frames)], mib))


def peak(way: str, frames: int) -> float:
    """Return the MiB above the networks, from a fresh process."""
    return elsewhere("bench_director", "--one", f"{way},{frames}")


def build() -> TextToVideoPipeline:
    """Build a pipeline of the toy world's checkpoint."""
    parts = Loader("cpu").components(TOYWORLD)
    pipeline = TextToVideoPipeline(**parts, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(pipeline: TextToVideoPipeline, way: str, frames: int, steps: int) -> None:
    """Compute the latents of one video."""
    prompts = None
    if way == FRAME_PROMPTS:
        prompts = ["a red circle on sand", *[""] * (frames - 2), "a blue circle on sand"]
    pipeline(
        "a red circle on sand",
        frames,
        num_inference_steps=steps,
        motion_field=False,
        shared_noise=True,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
        frame_prompts=prompts,
        options=RunOptions(None if WAYS[way].anchors == "all" else CHUNK, WAYS[way]),
    )


def peak_mib(pipeline: TextToVideoPipeline, way: str, frames: int) -> float:
    """Return the MiB of one video above those before it."""
    run(pipeline, way, 2, 2)
    forget_peak()
    before, _ = memory_mib()
    run(pipeline, way, frames, 2)
    return memory_mib()[1] - before


if __name__ == "__main__":
    main()
