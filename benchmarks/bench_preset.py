"""The app's default against diffusers' TextToVideoZeroPipeline at its own defaults: seconds and fidelity.

    python -m benchmarks.bench_preset --prompts 50
    python -m benchmarks.bench_preset --checkpoint FOLDER --prompts 1 --steps 4    # a look

Held-out captions of the toy world, 8 frames each, the same seeds, in turn in one process; its detector says what is
in every frame. Where the object is counts in frame 0 alone, because motion changes it, and the two move by different
windows: the paper's for the reference, the checkpoint's own for the app.

Predicted: 2.2x faster than 50 DDIM steps of the reference, fidelity within one point of it.
"""

import argparse
import statistics
from collections import defaultdict
from functools import partial

import numpy as np
from diffusers import DiffusionPipeline

from benchmarks.bench_reference import OURS, REFERENCE, generate, pipelines
from benchmarks.measuring import conditions, in_turn, table
from model import Model
from model_manager.builtin_models import TOYWORLD
from settings import TextToVideoSettings
from toyworld.splits import captions_of, held_out_scenes
from training.toyworld.measure import ATTRIBUTES, Fidelity

FRAMES = 8


def main() -> None:
    """Draw, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=TOYWORLD.source, help="a diffusers folder")
    parser.add_argument("--prompts", type=int, default=50, help="how many held-out captions")
    parser.add_argument("--steps", type=int, default=50, help="of the reference, at least 4")
    options = parser.parse_args()
    model = Model(models=[options.checkpoint], device="cpu")
    row = next(row for row in model.rows.values() if row.source == options.checkpoint)
    default = TextToVideoSettings(prompt="-", model=row.name, num_frames=FRAMES)
    preset = f"{default.scheduler}, {default.num_inference_steps} steps"
    print(conditions(checkpoint=row.name, frames=FRAMES, reference=f"ddim, {options.steps} steps", app=preset))
    medians, shares = compare(model, default, options)
    print(table([f"{options.prompts} captions", "diffusers", "app", ""], table_rows(medians, shares)))


def compare(model: Model, default: TextToVideoSettings, options: argparse.Namespace) -> tuple[dict, dict]:
    """Return the median seconds per video and the shares of right attributes, both by pipeline."""
    reference = pipelines(options.checkpoint)[REFERENCE]
    scores = {name: (Fidelity(), Fidelity()) for name in (REFERENCE, OURS)}
    seconds = defaultdict(list)
    scenes = held_out_scenes(options.prompts)
    model.generate(default.model_copy(update={"num_inference_steps": 2}))  # loads the model
    for seed, (scene, prompt) in enumerate(zip(scenes, captions_of(scenes), strict=True)):
        frames: dict[str, np.ndarray] = {}
        settings = default.model_copy(update={"prompt": prompt, "seed": seed})
        runs = {
            REFERENCE: partial(by_reference, frames, settings, pipeline=reference, steps=options.steps),
            OURS: partial(by_app, frames, settings, model=model),
        }
        for name, value in in_turn(runs, 1).items():
            seconds[name].append(value)
            still, video = scores[name]
            still.add(scene, frames[name][0])
            for frame in frames[name]:
                video.add(scene, frame)
    shares = {
        name: video.shares() | {"position": still.shares()["position"]} for name, (still, video) in scores.items()
    }
    return {name: statistics.median(values) for name, values in seconds.items()}, shares


def by_reference(
    frames: dict[str, np.ndarray], settings: TextToVideoSettings, *, pipeline: DiffusionPipeline, steps: int
) -> None:
    """Draw the video of the prompt and seed with diffusers' pipeline, and store its frames."""
    seed = settings.seed or 0
    pictures, _ = generate(pipeline, FRAMES, steps=steps, prompt=settings.prompt, seed=seed)
    frames[REFERENCE] = np.rint(pictures * 255).astype(np.uint8)


def by_app(frames: dict[str, np.ndarray], settings: TextToVideoSettings, *, model: Model) -> None:
    """Draw the video with the app, and store its frames."""
    frames[OURS] = model.generate(settings).frames


def table_rows(medians: dict[str, float], shares: dict[str, dict[str, float]]) -> list[tuple[str, ...]]:
    """Return the row of seconds, and one per attribute in percent."""
    times = [f"{medians[name]:.2f}" for name in (REFERENCE, OURS)]
    rows: list[tuple[str, ...]] = [("seconds", *times, f"{medians[REFERENCE] / medians[OURS]:.2f}x faster")]
    for attribute in ATTRIBUTES:
        theirs, ours = (100 * shares[name][attribute] for name in (REFERENCE, OURS))
        where = "frame 0" if attribute == "position" else "all frames"
        rows.append((f"{attribute} right, {where}", f"{theirs:.1f} %", f"{ours:.1f} %", f"{ours - theirs:+.1f} points"))
    return rows


if __name__ == "__main__":
    main()
