"""Fidelity of control and editing on the toy world, where the truth is known: ``python -m evaluation.steering``.

Clips that training never saw steer the toy world's model, and the detector looks for what the frames should show.
Measures are means over frames: ``outline`` is the intersection over union of the drawing with the source's mask;
``order`` the share in which the nearer of two things hides the other; ``joints`` the share of joints within 5 % of the
figure's height; ``changed`` the share in which the attribute that the instruction names is as it says, ``kept`` that in
which all other attributes are unchanged.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from annotators.pose import draw_skeleton
from evaluation.poses import joints_right
from evaluation.sheets import contact_sheet
from evaluation.toyworld import TEMPLATE_ANGLES, shape_can_be_told
from evaluation.tracking import everything
from media.pictures import write_picture
from model import Model
from model_manager import builtin_models
from settings import ControlSettings, EditSettings, GenerationSettings, TextToVideoSettings
from toyworld.captions import caption
from toyworld.control_scenes import (
    CONTROLS,
    EDIT,
    HELD_OUT_SEED,
    edited_at,
    hidden,
    keypoints,
    near_and_far,
    scene_at,
)
from toyworld.detector import Detection, detect, nearest_colour
from toyworld.render import figure_layers, render
from toyworld.scene import Figure, Scene
from toyworld.sequences import MOTIONS, acting, growing, moving, turning
from toyworld.splits import SIZE_PX

TEXT, KINDS = "text", (*CONTROLS, EDIT)
FRAMES = 4
HIDDEN_PX = 40  # of one thing behind another, before it is asked which is nearer


@dataclass(frozen=True)
class Case:
    """One clip to measure.

    Args:
        prompt: the caption, or the instruction of an edit.
        scenes: the scenes that the result should show, one per frame.
        source: the frames that steer it or are edited, uint8 (frames, height, width, 3).
        named: of an edit the attribute that the instruction names.
    """

    prompt: str
    scenes: tuple[Scene, ...]
    source: np.ndarray | None = None
    named: str = ""


def held_out(kind: str, count: int, frames: int) -> Iterator[Case]:
    """Yield the clips of a kind.

    For edges (and for text alone) shapes move, turn or grow; for depth two things overlap; for pose mannequins act; for
    editing there is one thing or mannequin and an instruction.
    """
    index, found = 0, 0
    while found < count:
        random = np.random.default_rng([31, index])
        case = case_at(kind, index, frames, random)
        index += 1
        if case is not None:
            found += 1
            yield case


def case_at(kind: str, index: int, frames: int, random: np.random.Generator) -> Case | None:
    """Return the case of one number, or None if that scene is not of the kind that is measured."""
    if kind == EDIT:
        before, named, instruction, after = edited_at(index, HELD_OUT_SEED)
        seed = int(random.integers(2**31))
        old, new = (animated(scene, frames, np.random.default_rng(seed)) for scene in (before, after))
        return Case(instruction, new, pictures(old), named)
    scene = scene_at("canny" if kind == TEXT else kind, index, HELD_OUT_SEED)
    if (kind == "depth") != (len(scene.objects) == 2) or (kind == "pose") != bool(scene.figures):
        return None
    scenes = animated(scene, frames, random)
    if kind == "depth" and min(hidden(scene).sum() for scene in scenes) < HIDDEN_PX:
        return None
    prompt = caption(scene, np.random.default_rng(0), complete=True)
    return Case(prompt, scenes, None if kind == TEXT else steering(kind, scenes))


def animated(scene: Scene, frames: int, random: np.random.Generator) -> tuple[Scene, ...]:
    """Animate the scene at random: mannequins act, pairs move, single objects move, turn or grow."""
    if scene.figures:
        return acting(scene, str(random.choice(MOTIONS)), frames)
    if len(scene.objects) == 2:
        return moving(scene, str(random.choice(["left", "right", "up", "down"])), 0.05, frames)
    return (
        lambda: moving(scene, inwards(scene, random), 0.15, frames),
        lambda: turning(scene, float(random.choice([-15, 15])), frames),
        lambda: growing(scene, 1.25 if scene.objects[0].radius < 0.24 else 0.8, frames),
    )[int(random.integers(3))]()


def inwards(scene: Scene, random: np.random.Generator) -> str:
    """Choose a direction in which the object stays in the picture."""
    thing = scene.objects[0]
    return str(random.choice(["right" if thing.x < 0.5 else "left", "down" if thing.y < 0.5 else "up"]))


def pictures(scenes: tuple[Scene, ...]) -> np.ndarray:
    """Draw the scenes: uint8 (frames, 128, 128, 3)."""
    return np.stack([render(scene).image for scene in scenes])


def steering(kind: str, scenes: tuple[Scene, ...]) -> np.ndarray:
    """Return the source of a kind of control for these scenes: for edges the clip itself, else the control frames."""
    if kind == "depth":
        return np.stack([np.repeat(render(scene).depth[..., None], 3, axis=-1) for scene in scenes])
    if kind == "pose":
        return np.stack([draw_skeleton(keypoints(scene), SIZE_PX, SIZE_PX) for scene in scenes])
    return pictures(scenes)


def settings_for(kind: str, case: Case, seed: int) -> GenerationSettings:
    """Return the page's default settings for this case."""
    values: dict[str, Any] = {"prompt": case.prompt, "model": "toyworld", "seed": seed, "num_frames": len(case.scenes)}
    if kind == TEXT:
        return TextToVideoSettings(**values, motion_field_strength_x=0, motion_field_strength_y=0)
    if kind == EDIT:
        return EditSettings(**values | {"model": "toyworld-edit"})
    return ControlSettings(**values | {"control": kind, "source_is_control": kind != "canny"})


def measures(kind: str, case: Case, frames: np.ndarray) -> dict[str, list[float]]:
    """Return every measure of a clip by name, frame by frame."""
    values: dict[str, list[float]] = defaultdict(list)
    for index, (scene, frame) in enumerate(zip(case.scenes, frames, strict=True)):
        detection = detect(frame)
        values["background"].append(detection.background == scene.background)
        if kind == "canny":
            values["outline"].append(overlap(scene, detection))
        if kind == "depth":
            values["order"].append(nearer_in_front(scene, frame))
        if kind == "pose" and index % 2 == 1:  # a second for each picture is much
            values["joints"] += joints_right(frame, detection.background, scene.figures[0]).tolist()
        if kind == EDIT:
            shown = attributes(scene, frame, detection)
            asked = wanted(scene)
            values["changed"].append(shown[case.named] == asked[case.named])
            values["kept"].append(all(shown[name] == asked[name] for name in asked if name != case.named))
        elif len(scene.objects) == 1:
            values["colour"].append(attributes(scene, frame, detection)["colour"] == scene.objects[0].colour)
            if shape_can_be_told(scene.objects[0]):
                values["shape"].append(attributes(scene, frame, detection)["shape"] == scene.objects[0].shape)
        elif scene.figures:
            shown = attributes(scene, frame, detection)
            values["shirt"].append(shown["shirt"] == scene.figures[0].shirt)
            values["trousers"].append(shown["trousers"] == scene.figures[0].trousers)
    return values


def wanted(scene: Scene) -> dict[str, object]:
    """Return the attributes of a scene of one thing; ``place`` is True, for a thing at its place."""
    if scene.figures:
        figure = scene.figures[0]
        return {"background": scene.background, "shirt": figure.shirt, "trousers": figure.trousers}
    thing = scene.objects[0]
    known = {"shape": thing.shape} if abs(thing.angle) <= TEMPLATE_ANGLES else {}
    return {"background": scene.background, "colour": thing.colour, "place": True} | known


def attributes(scene: Scene, image: np.ndarray, detection: Detection) -> dict[str, object]:
    """Return the attributes found in a picture made for the scene, under the names of ``wanted``."""
    shown: dict[str, object] = {"background": detection.background}
    if scene.figures:
        return shown | clothes(scene.figures[0], image)
    if not detection.things:
        return shown | dict.fromkeys(("colour", "shape", "place"))
    largest, thing = detection.things[0], scene.objects[0]
    at_its_place = np.hypot(largest.x - thing.x, largest.y - thing.y) <= 0.06
    return shown | {"colour": largest.colour, "shape": largest.shape, "place": bool(at_its_place)}


def clothes(figure: Figure, image: np.ndarray) -> dict[str, object]:
    """Return the colours of the pixels where shirt and trousers should be."""
    legs, torso, sleeves, skin = (coverage > 0.9 for coverage, _ in figure_layers(figure, *image.shape[:2])[0])
    regions = {"shirt": (torso | sleeves) & ~skin, "trousers": legs & ~(torso | sleeves | skin)}
    return {
        name: nearest_colour(np.median(image[region].astype(np.float32), axis=0)) if region.any() else None
        for name, region in regions.items()
    }


def overlap(scene: Scene, detection: Detection) -> float:
    """Return the intersection over union of everything that is drawn with everything that should be."""
    truth = np.any([thing.mask > 0.5 for thing in render(scene).things], axis=0)
    drawn = everything(detection, *truth.shape)
    return float((truth & drawn).sum() / (truth | drawn).sum())


def nearer_in_front(scene: Scene, image: np.ndarray) -> bool:
    """Return True if the overlap of the two objects has the colour of the nearer one's rest and not the other's."""
    near, far = near_and_far(scene)
    pixels = image.astype(np.float32)
    both, near_rest, far_rest = (np.median(pixels[mask], axis=0) for mask in (near & far, near & ~far, far & ~near))
    to_near, to_far = (float(np.linalg.norm(both - rest)) for rest in (near_rest, far_rest))
    return to_near < to_far and float(np.linalg.norm(near_rest - far_rest)) > 40


def measure(
    kind: str, model: Model, cases: Iterable[Case], changes: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, int], np.ndarray]:
    """Generate and measure the cases; ``changes`` are settings other than the page's defaults.

    Returns the mean of each measure, the number of values behind it, and strips of pictures, uint8: first and last
    frame, the control or the expected scene above the result.
    """
    values: dict[str, list[float]] = defaultdict(list)
    strips = []
    for seed, case in enumerate(cases):
        clip = model.generate(settings_for(kind, case, seed).model_copy(update=changes), source=case.source)
        for name, found in measures(kind, case, clip.frames).items():
            values[name] += found
        above = pictures(case.scenes) if clip.control is None else clip.control
        strips.append(np.concatenate([np.concatenate([above[i], clip.frames[i]]) for i in (0, -1)], axis=1))
        if seed % 10 == 9:
            progress = ", ".join(f"{name} {np.mean(found):.1%}" for name, found in values.items())
            print(f"{kind} {seed + 1}: {progress}", file=sys.stderr, flush=True)
    means = {name: float(np.mean(found)) for name, found in values.items()}
    return means, {name: len(found) for name, found in values.items()}, np.stack(strips)


def with_nets(model: Model, folder: Path) -> None:
    """Use the ControlNets and the editor in a folder, as ``training.toyworld.control`` writes them."""
    nets = {kind: str((folder / f"toyworld-{kind}").resolve()) for kind in KINDS}
    steered = replace(builtin_models.TOYWORLD, controlnets={kind: nets[kind] for kind in CONTROLS})
    editor = replace(builtin_models.TOYWORLD_EDIT, unet=nets[EDIT])
    model.rows = {**model.rows, steered.name: steered, editor.name: editor}


def main() -> None:
    """Measure the kinds that the command line names, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join((TEXT, *KINDS))}; all by default")
    parser.add_argument("--clips", type=int, default=100, help="how many of each kind")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each clip")
    parser.add_argument("--guidance", type=float, help="guidance scale, by default the page's own")
    parser.add_argument("--nets", type=Path, default=Path("checkpoints"), help="where the networks are")
    parser.add_argument("--sheets", type=Path, help="a folder for pictures of the first clips, to be looked at")
    options = parser.parse_args()
    model = Model(device="cpu")
    with_nets(model, options.nets)
    changes = {} if options.guidance is None else {"guidance_scale": options.guidance}
    for kind in options.kinds or (TEXT, *KINDS):
        cases = held_out(kind, options.clips, options.frames)
        means, counts, strips = measure(kind, model, cases, changes)
        print(json.dumps({"kind": kind, "clips": options.clips, "frames": options.frames} | means))
        print(", ".join(f"{name} {value:.1%} of {counts[name]}" for name, value in means.items()), flush=True)
        if options.sheets is not None:
            write_picture(options.sheets / f"{kind}.jpg", contact_sheet(strips[:30], columns=6))


if __name__ == "__main__":
    main()
