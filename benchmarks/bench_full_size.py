"""A full-size Stable Diffusion 1.5 (public configuration, random weights) through the same pipeline.

    python -m benchmarks.bench_full_size                            # this processor: seconds and memory per evaluation
    python -m benchmarks.bench_full_size --device cuda              # a graphics card: also the default video
    python -m benchmarks.bench_full_size --device cuda --memory-frames 8 --repeats 1    # a look

Every row is a fresh process. A video of 2 frames and 2 steps passes through all of the method: warp, re-noising,
cross-frame attention, guidance, decoding. On CUDA the default video (8 frames, 50 steps, 512x512, float16) is timed
in turn with diffusers' pipeline, and its FLOP (bench_flops) are set against the card's peak, as its maker states it
and as a large matrix product reaches it.

Predicted: nothing was; on a processor an evaluation is 803 GFLOP at 512x512, so 5 to 10 s on two cores in fp32.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import TextToVideoZeroPipeline
from diffusers.utils import logging

from benchmarks.bench_flops import TERA, flops_of_default_video
from benchmarks.full_size import PROMPT, build_components
from benchmarks.measuring import conditions, elsewhere, forget_peak, in_turn, memory_mib, table
from pipelines.text_to_video import TextToVideoPipeline
from utils import choose_dtype

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Dense float16 with float32 sums, TFLOP/s, from the makers' data sheets; the first name that fits counts.
PEAK_TFLOPS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "T4": 65, "4090": 165}
STEPS = {"cpu": 2, "cuda": 20}  # a card needs some calls until it runs at its speed
MEMORY_STEPS, CHUNK = 6, 8


def main() -> None:
    """Run every row in a process of its own and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, help="default: fp32 and bf16 on cpu, fp16 and bf16 on cuda"
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=(256, 512), help="pixels, square")
    parser.add_argument("--memory-frames", nargs="+", type=int, default=(8, 64), help="on cuda")
    parser.add_argument("--repeats", type=int, default=3, help="of the default video on cuda")
    parser.add_argument("--row", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.set_verbosity_error()
    if options.row:
        measures: dict[str, Any] = {"evaluation": evaluation_row, "memory": memory_row, "video": video_row}
        print(json.dumps(measures[options.row[0]](*options.row[1:])))
        return
    on_cpu = options.device == "cpu"
    dtypes = options.dtypes or ("float32" if on_cpu else "float16", "bfloat16")
    print(conditions(parameters="860 M in the UNet", weights="random", guidance="on"))
    rows = [row_of("evaluation", options.device, dtype, size) for dtype in dtypes for size in options.sizes]
    print(table(["UNet", "s per evaluation of a frame", "peak MiB denoising", "s per decoded frame", "peak MiB"], rows))
    if not on_cpu:
        columns = ["8 frames, 50 steps", "s", "TFLOP", "of the stated peak", "of a matrix product's TFLOP/s"]
        print(table(columns, row_of("video", options.repeats)))
        rows = [row_of("memory", name, frames) for frames in options.memory_frames for name in ("diffusers", "ours")]
        print(table([f"512x512, ours in chunks of {CHUNK}", "frames", "peak MiB on the card"], rows))


def row_of(*row: object) -> Any:
    """Measure one row in a fresh process."""
    return elsewhere("bench_full_size", "--row", *row)


def build(pipeline_class: type, components: dict[str, Any]) -> Any:
    """Build a pipeline without progress bar or safety checker."""
    pipeline = pipeline_class(**components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def evaluation_row(device: str, dtype: str, size: str) -> list[str]:
    """Measure seconds and memory of UNet evaluations and of a decoded frame, in the pipeline."""
    pipeline = build(TextToVideoPipeline, build_components(DTYPES[dtype], device))
    calls = timed_calls(pipeline.unet, device)
    steps = STEPS[device]
    peak = peak_of(device)
    latents = pipeline(
        PROMPT,
        video_length=2,
        height=int(size),
        width=int(size),
        num_inference_steps=steps,
        t0=steps - 2,
        t1=steps - 1,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    denoising = peak()
    per_evaluation = statistics.median(calls[1:])  # the first call warms up
    decoding = peak_of(device)
    started = time.perf_counter()
    pipeline.decode_frames(latents[:1])
    decoded = time.perf_counter() - started
    name = f"{device} {dtype} {size}x{size}"
    return [name, f"{per_evaluation:.3f}", f"{denoising:,.0f}", f"{decoded:.2f}", f"{decoding():,.0f}"]


def timed_calls(unet: torch.nn.Module, device: str) -> list[float]:
    """Return a list that fills up with the seconds per evaluation of every call of the UNet."""
    seconds: list[float] = []

    def before(*_: object) -> None:
        synchronize(device)
        seconds.append(-time.perf_counter())

    def after(_module: torch.nn.Module, arguments: tuple[torch.Tensor, ...], _result: object) -> None:
        synchronize(device)
        seconds[-1] = (seconds[-1] + time.perf_counter()) / len(arguments[0])

    unet.register_forward_pre_hook(before)
    unet.register_forward_hook(after)
    return seconds


def synchronize(device: str) -> None:
    """Wait until the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak_of(device: str) -> Callable[[], float]:
    """Start to watch memory; return a function that reads the peak since then in MiB, weights included."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return lambda: torch.cuda.max_memory_allocated() / 2**20
    forget_peak()
    return lambda: memory_mib()[1]


def video_row(repeats: str) -> list[list[str]]:
    """Time the default video on CUDA, in turn with diffusers', and compare its rate with the card's."""
    both = both_pipelines()
    runs = {}
    for name, pipeline in both.items():
        pipeline(PROMPT, num_inference_steps=48, generator=torch.Generator().manual_seed(7))  # chooses its kernels
        runs[name] = partial(pipeline, PROMPT, generator=torch.Generator().manual_seed(7))
    seconds = in_turn(runs, int(repeats))
    stated = next((peak for name, peak in PEAK_TFLOPS.items() if name in torch.cuda.get_device_name()), None)
    reached = matrix_product_tflops()
    rows = []
    for name, flops in flops_of_default_video().items():
        rate = flops / TERA / seconds[name]
        shares = ["unknown" if stated is None else f"{rate / stated:.0%}", f"{rate / reached:.0%} of {reached:.0f}"]
        rows.append([name, f"{seconds[name]:.2f}", f"{flops / TERA:,.0f}", *shares])
    return rows


def matrix_product_tflops(side: int = 8192, times: int = 20) -> float:
    """Measure the card's TFLOP/s in float16 on a large matrix product."""
    matrix = torch.randn(side, side, device="cuda", dtype=torch.float16)
    for count in (3, times):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(count):
            matrix @ matrix
        torch.cuda.synchronize()
    return times * 2 * side**3 / (time.perf_counter() - started) / TERA


def memory_row(name: str, frames: str) -> list[str]:
    """Measure the peak memory on the card for a video of that many frames, decoded; ours in chunks."""
    pipeline = both_pipelines()[name]
    arguments = {"chunk_size": CHUNK} if name == "ours" else {}
    peak = peak_of("cuda")
    try:
        pipeline(
            PROMPT,
            video_length=int(frames),
            num_inference_steps=MEMORY_STEPS,
            t0=MEMORY_STEPS - 6,
            t1=MEMORY_STEPS - 3,
            generator=torch.Generator().manual_seed(7),
            **arguments,
        )
    except torch.cuda.OutOfMemoryError:
        return [name, frames, "out of memory"]
    return [name, frames, f"{peak():,.0f}"]


def both_pipelines() -> dict[str, Any]:
    """Build diffusers' pipeline and ours on CUDA, on the same weights."""
    components = build_components(choose_dtype("cuda"), "cuda")
    return {"diffusers": build(TextToVideoZeroPipeline, components), "ours": build(TextToVideoPipeline, components)}


if __name__ == "__main__":
    main()
