"""Controlled video three ways: our loop, one joint batch, and the original's chunks ([0] + chunk, each run to its end).

    python -m benchmarks.bench_control                          # 8, 32 and 128 frames, chunks of 2, 4 and 8
    python -m benchmarks.bench_control --frames 8 --chunks 2 --steps 4    # a look

The toy world's UNet with a ControlNet of the same kind (its weights do not matter here), fp32, guidance on. Evaluations
are frames x branches that go through a network; memory is the peak of a fresh process above the loaded networks.

Predicted: our evaluations exactly frames x steps x branches; at chunk 2 twice as fast as the original scheme, which
computes frame 0 again with every chunk (2 x frames in each step); memory flat in the number of
frames, but for the frames themselves.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from diffusers import ControlNetModel

from benchmarks.measuring import conditions, elsewhere, forget_peak, in_float32, memory_mib, table
from model_manager.builtin_models import TOYWORLD
from model_manager.loader import load_components
from pipelines.controlnet import ControlledVideoPipeline
from pipelines.video import RunOptions

OURS, JOINT, ORIGINAL = "ours", "one joint batch", "the original's chunks"
MEMORY_STEPS = 2


def main() -> None:
    """Print the tables, or in a fresh process one measurement."""
    options = arguments()
    if options.one is not None:
        way, chunk, frames = options.one.split(",")
        print(json.dumps(measure(way, int(chunk), int(frames), options.steps)))
        return
    print(conditions(checkpoint="toyworld", frames=options.frames, chunks=options.chunks, steps=options.steps))
    rows = []
    for frames in options.frames:
        cases = [(JOINT, frames), *((way, chunk) for chunk in options.chunks for way in (OURS, ORIGINAL))]
        results = {case: in_fresh_process(*case, frames, options.steps) for case in cases}
        for (way, chunk), result in results.items():
            first = results.get((ORIGINAL, chunk))
            ratio = f"{first['seconds'] / result['seconds']:.2f}x" if way == OURS and first else ""
            rows.append(
                (
                    f"{frames}, {way}" + ("" if way == JOINT else f", chunk {chunk}"),
                    result["unet"],
                    result["controlnet"],
                    f"{result['seconds']:.1f}",
                    ratio,
                    f"{in_fresh_process(way, chunk, frames, MEMORY_STEPS)['mib']:.0f}",
                )
            )
    columns = ["frames", "UNet evaluations", "ControlNet evaluations", "seconds", "faster", "MiB above the networks"]
    print(table(columns, rows))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", nargs="+", type=int, default=(8, 32, 128))
    parser.add_argument("--chunks", nargs="+", type=int, default=(2, 4, 8))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--one", metavar="WAY,CHUNK,FRAMES", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.chunks) < 2:
        parser.error("the original's chunks are of two frames at least")
    return options


def in_fresh_process(way: str, chunk: int, frames: int, steps: int) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    return elsewhere("bench_control", "--one", f"{way},{chunk},{frames}", "--steps", steps)


def measure(way: str, chunk: int, frames: int, steps: int) -> dict[str, float]:
    """Measure the latents of one video: seconds, evaluations of each network, MiB above those before it."""
    components = in_float32(load_components(TOYWORLD, "cpu"))
    controlnet = ControlNetModel.from_unet(components["unet"], conditioning_embedding_out_channels=(16, 32, 96)).eval()
    pipeline = ControlledVideoPipeline(
        **components, controlnet=controlnet, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    control = np.zeros((frames, 128, 128, 3), np.uint8)
    ways: dict[str, Callable[[], Iterator[tuple[np.ndarray, RunOptions]]]] = {
        OURS: lambda: iter([(control, RunOptions(chunk))]),
        JOINT: lambda: iter([(control, RunOptions())]),
        ORIGINAL: lambda: original_chunks(control, chunk),
    }
    run(pipeline, control[:1], RunOptions(), 2)  # warms up
    forget_peak()
    before, _ = memory_mib()
    with counted(pipeline.unet) as unet, counted(controlnet) as steered:
        started = time.perf_counter()
        for part, options in ways[way]():
            run(pipeline, part, options, steps)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "unet": sum(unet), "controlnet": sum(steered), "mib": memory_mib()[1] - before}


def run(pipeline: ControlledVideoPipeline, control: np.ndarray, options: RunOptions, steps: int) -> None:
    """Compute the latents alone: decoding is the same in all ways."""
    generator = torch.Generator().manual_seed(7)
    pipeline("a red circle", control, steps, generator=generator, output_type="latent", options=options)


def original_chunks(control: np.ndarray, chunk: int) -> Iterator[tuple[np.ndarray, RunOptions]]:
    """Yield the original's chunks: every chunk - 1 frames with frame 0 before them, each through all steps."""
    for start in range(0, len(control), chunk - 1):
        yield np.concatenate([control[:1], control[start : start + chunk - 1]]), RunOptions()


@contextmanager
def counted(network: torch.nn.Module) -> Iterator[list[int]]:
    """Count the pictures that go through a network inside the ``with``, one entry per call."""
    sizes: list[int] = []
    hook = network.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    try:
        yield sizes
    finally:
        hook.remove()


if __name__ == "__main__":
    main()
