"""Train the storybook's yardstick on renderings: ``python -m training.storybook.yardstick``, in slices that resume."""

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional

from evaluation.storybook_yardstick import HEADS, OWN_COLOUR, SIDE_PX, WEIGHTS, YardstickNetwork, read
from storybook.places import draw_place
from storybook.render import render, thing_layer
from storybook.scene import BACKGROUNDS, COLOURS, POSITIONS, SIZES, STAGES, Placed, Scene, random_scene
from storybook.things import thing_index

logger = logging.getLogger(__name__)
UNKNOWN = -1
DRAWN_PX = 2 * SIDE_PX  # scenes are put together at this size and averaged down
PLACES_EACH = 40  # drawn variants of each place to put things in
VARIETY = replace(STAGES[-1], place_variation=1.0, plain=0.06, natural=0.1, second=0.12, count=0.1, roaming=0.35)
# Never seen in training, so that the test measures sizes and turns in between as well as fresh places.
HELD_OUT_SIZES = ((0.36, 0.40), (0.62, 0.68))
HELD_OUT_TURNS = (7.0, 10.0)
MOST_TURN = 14.0
STANDARD = 0.4  # the share of single things that keep the size that a caption gives them
WEIGHTS_OF = {"thing": 1.0, "place": 0.3, "count": 0.3}  # of the loss; 0.15 for the others
TEST_SEED, BATCH_SEED = 99, 1


@dataclass(frozen=True)
class Course:
    """Hyperparameters: ``steps`` in all, a cosine of learning rates over them; on which ``device``, and how many
    ``processes`` draw for it."""

    steps: int = 3500
    batch: int = 96
    learning_rate: float = 2e-3
    device: str = "cpu"
    processes: int = 0


def free_form(scene: Scene, random: np.random.Generator, *, held_out: bool) -> Scene:
    """The scene with its single thing in any size and turned a little, as kept from training or as the others are."""
    if len(scene.things) > 1:
        return scene
    (thing,) = scene.things
    if not held_out and random.random() < STANDARD:
        return replace(scene, things=(replace(thing, angle=float(random.uniform(-6, 6))),))
    while True:
        size, turn = float(random.uniform(0.25, 0.86)), float(random.uniform(-MOST_TURN, MOST_TURN))
        outside = any(low <= size <= high for low, high in HELD_OUT_SIZES)
        if outside == held_out and (HELD_OUT_TURNS[0] <= abs(turn) <= HELD_OUT_TURNS[1]) == held_out:
            break
    if thing.position != "centre" and not scene.roaming:
        size = thing.size
    return replace(scene, things=(replace(thing, size=size, angle=turn),))


def labels(scene: Scene) -> dict[str, int | list[int]]:
    """The classes of a scene by head, UNKNOWN where a head does not apply; of "thing" all that are in it."""
    truth: dict[str, int | list[int]] = dict.fromkeys(HEADS, UNKNOWN)
    truth["thing"] = [thing_index(thing.name) for thing in scene.things]
    truth |= {"place": BACKGROUNDS.index(scene.place), "count": len(scene.things) - 1}
    if len(scene.things) == 1:
        (thing,) = scene.things
        truth |= {
            "position": POSITIONS.index(thing.position),
            "size": list(SIZES).index(thing.size_word),
            "colour": list(COLOURS).index(thing.colour) if thing.colour else OWN_COLOUR,
            "drawing": thing.drawing,
            "mirrored": int(thing.mirrored) if thing.thing.has_side(thing.drawing) else UNKNOWN,
        }
    return truth


Batch = tuple[torch.Tensor, dict[str, torch.Tensor]]


class Source:
    """Renderings to learn from: fresh things in drawn places, small, with the faults that generated pictures have."""

    def __init__(self) -> None:
        self.random = np.random.default_rng()
        self.places = {place: [self._place(place) for _ in range(PLACES_EACH)] for place in BACKGROUNDS}

    def _place(self, place: str) -> np.ndarray:
        seed, variation = int(self.random.integers(2**31)), float(self.random.uniform(0, 1))
        drawn = draw_place(place, seed, variation, 2 * DRAWN_PX, 2 * DRAWN_PX)
        return cv2.resize(drawn, (DRAWN_PX, DRAWN_PX), interpolation=cv2.INTER_AREA)

    def batch(self, seed: int, size: int) -> Batch:
        """Pictures as the network takes them, and the truth by head; of "thing" shares that sum to one."""
        self.random = np.random.default_rng([BATCH_SEED, seed])
        pictures = np.empty((size, SIDE_PX, SIDE_PX, 3), np.float32)
        things = torch.zeros(size, HEADS["thing"])
        truth = {name: torch.full((size,), UNKNOWN) for name in HEADS if name != "thing"}
        for number in range(size):
            scene = free_form(random_scene(self.random, VARIETY), self.random, held_out=False)
            pictures[number] = self.faulty(self.draw(scene))
            for name, value in labels(scene).items():
                if isinstance(value, list):
                    for thing in value:
                        things[number, thing] += 1 / len(value)
                else:
                    truth[name][number] = value
        inputs = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
        return inputs.contiguous(memory_format=torch.channels_last), truth | {"thing": things}

    def draw(self, scene: Scene) -> np.ndarray:
        """The scene in one of the drawn places, float32 (SIDE_PX, SIDE_PX, 3)."""
        image = self.places[scene.place][self.random.integers(PLACES_EACH)].astype(np.float32)
        for thing in sorted(scene.things, key=_nearness):
            layer, rows, columns = thing_layer(thing, DRAWN_PX, DRAWN_PX)
            image[rows, columns] = layer[..., :3] + image[rows, columns] * (1 - layer[..., 3:] / 255)
        return cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)

    def faulty(self, image: np.ndarray) -> np.ndarray:
        """The picture, often a little blurred, noisy, paler or of another tint."""
        random = self.random
        if random.random() < 0.5:
            image = cv2.GaussianBlur(image, (3, 3), float(random.uniform(0.2, 0.9)))
        image = image * float(random.uniform(0.9, 1.1)) + random.normal(0, 6, 3)
        if random.random() < 0.5:
            image = image + random.normal(0, float(random.uniform(0, 8)), image.shape)
        return np.clip(image, 0, 255).astype(np.float32)


@cache
def _source() -> Source:
    return Source()


def _batch(seed: int, size: int) -> Batch:
    return _source().batch(seed, size)


@contextmanager
def batches(numbers: range, size: int, processes: int) -> Iterator[Iterator[Batch]]:
    """Batches with these numbers, drawn by so many processes beside this one, or by this one where it is none."""
    if not processes:
        yield (_batch(number, size) for number in numbers)
        return
    torch.multiprocessing.set_sharing_strategy("file_system")  # a batch is many tensors
    with get_context("spawn").Pool(processes) as workers:
        yield workers.imap_unordered(partial(_batch, size=size), numbers)


def _nearness(thing: Placed) -> float:
    return thing.nearness


def loss_of(scores: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross entropy over all heads that apply."""
    total = functional.cross_entropy(scores["thing"], truth["thing"], label_smoothing=0.02)
    for name, value in truth.items():
        if name != "thing":
            known = functional.cross_entropy(scores[name], value, ignore_index=UNKNOWN)
            total = total + WEIGHTS_OF.get(name, 0.15) * known
    return total


def train(folder: Path, minutes: float, course: Course) -> YardstickNetwork:
    """Train for so many minutes, resuming from ``folder``; the network in evaluation mode."""
    network = YardstickNetwork().to(course.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # which the stubs do not know
    optimiser = torch.optim.AdamW(network.parameters(), lr=course.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, course.learning_rate, course.steps, pct_start=0.1)
    state_file, step = folder / "yardstick.pt", 0
    if state_file.exists():
        state = torch.load(state_file, map_location=course.device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        step = state["step"]
    end = time.monotonic() + 60 * minutes
    network.train()
    with batches(range(step, course.steps), course.batch, course.processes) as drawn:
        for pictures, classes in drawn:
            inputs, truth = (
                pictures.to(course.device),
                {name: value.to(course.device) for name, value in classes.items()},
            )
            with torch.autocast(course.device, torch.bfloat16):
                scores = network(inputs)
            loss = loss_of(scores, truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step % 50 == 0:
                right = (scores["thing"].argmax(dim=1) == truth["thing"].argmax(dim=1)).float().mean()
                logger.info("step %d of %d: loss %.3f, things %.3f", step, course.steps, loss, right)
            if time.monotonic() > end:
                break
    logger.info("step %d of %d", step, course.steps)
    folder.mkdir(parents=True, exist_ok=True)
    states = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
    torch.save(states | {"step": step}, state_file)
    return network.to("cpu").eval()


def accuracy(network: YardstickNetwork, count: int = 2000) -> dict[str, float]:
    """The share of rendered scenes of held-out sizes, places and turns that are read right, by head."""
    right: dict[str, list[bool]] = {name: [] for name in HEADS}
    for start in range(0, count, 50):
        scenes = [test_scene(start + number) for number in range(min(50, count - start))]
        images = np.stack([render(scene).image for scene in scenes])
        for scene, reading in zip(scenes, read(images, network), strict=True):
            right["thing"].append(set(reading.things) == {thing.name for thing in scene.things})
            right["place"].append(reading.place == scene.place)
            right["count"].append(reading.count == len(scene.things))
            if len(scene.things) == 1:
                (thing,) = scene.things
                right["position"].append(reading.position == thing.position)
                right["size"].append(reading.size == thing.size_word)
                right["drawing"].append(reading.drawing == thing.drawing)
                if thing.colour:
                    right["colour"].append(reading.colour == thing.colour)
                if thing.thing.has_side(thing.drawing):
                    right["mirrored"].append(reading.mirrored == thing.mirrored)
    return {name: float(np.mean(values)) for name, values in right.items() if values}


def test_scene(number: int) -> Scene:
    """A scene that training never shows: held-out size and turn, a place drawn anew."""
    random = np.random.default_rng([TEST_SEED, number])
    return free_form(random_scene(random, VARIETY), random, held_out=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.storybook.yardstick", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".training/storybook"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--steps", type=int, default=Course.steps)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--processes", type=int, default=0, help="that draw beside the one that learns")
    parser.add_argument("--test", type=int, default=0, help="measure on so many renderings afterwards")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    device = "cuda" if options.device == "auto" and torch.cuda.is_available() else options.device.replace("auto", "cpu")
    course = Course(steps=options.steps, device=device, processes=options.processes)
    network = train(options.folder, options.minutes, course)
    save_file({name: value.half() for name, value in network.state_dict().items() if value.ndim}, WEIGHTS)
    if options.test:
        logger.info("%s", ", ".join(f"{name} {share:.2%}" for name, share in accuracy(network, options.test).items()))


if __name__ == "__main__":
    main()
