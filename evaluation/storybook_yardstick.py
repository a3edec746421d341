"""Say what a picture of the storybook shows, by a small network that has seen renderings alone.

It is trained by ``python -m training.storybook.yardstick`` on drawn scenes, never on a picture that a painter made, and
takes no part in training any painter; so what it finds in generated pictures measures them independently.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from storybook.scene import BACKGROUNDS, COLOURS, POSITIONS, SIZES
from storybook.things import all_things

WEIGHTS = Path(__file__).with_name("storybook_yardstick.safetensors")
SIDE_PX = 64
MOST = 3  # things in a scene
PRESENT = 0.3  # of the greatest score, from which on a second kind of thing counts as seen
CHANNELS = (64, 128, 256)
UNSHUFFLE = 2  # pixels of a side that become channels, which is cheaper than a convolution
OWN_COLOUR = len(COLOURS)
HEADS = {
    "thing": len(all_things()),
    "place": len(BACKGROUNDS),
    "count": MOST,
    "position": len(POSITIONS),
    "size": len(SIZES),
    "colour": len(COLOURS) + 1,
    "drawing": 2,
    "mirrored": 2,
}


@dataclass(frozen=True)
class Reading:
    """Contents of one picture.

    ``things`` are the kinds of things, the surest first; ``count`` is their number in all; the others are of a single
    thing, ``colour`` None for its own; ``certainty`` is that of the first thing.
    """

    things: tuple[str, ...]
    place: str
    count: int
    position: str
    size: str
    colour: str | None
    drawing: int
    mirrored: bool
    certainty: float


class Block(nn.Module):
    """Halves the picture, then a residual convolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.shrink_norm = nn.BatchNorm2d(after)
        self.stay = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.stay_norm = nn.BatchNorm2d(after)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.shrink_norm(self.shrink(features)))
        return functional.relu(features + self.stay_norm(self.stay(features)))


class YardstickNetwork(nn.Module):
    """Pictures (n, 3, SIDE_PX, SIDE_PX) in -1..1 to scores by head, each (n, classes)."""

    def __init__(self) -> None:
        super().__init__()
        before = (3 * UNSHUFFLE**2, *CHANNELS[:-1])
        self.blocks = nn.Sequential(*(Block(*pair) for pair in zip(before, CHANNELS, strict=True)))
        cells = (SIDE_PX // UNSHUFFLE >> len(CHANNELS)) ** 2
        self.where = nn.Conv2d(CHANNELS[-1], 32, 1)
        width = CHANNELS[-1] + 32 * cells
        self.heads = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in HEADS.items()})

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.blocks(functional.pixel_unshuffle(pictures, UNSHUFFLE))
        place = functional.relu(self.where(features)).flatten(1)
        joined = torch.cat([features.mean(dim=(2, 3)), place], dim=1)
        return {name: head(joined).float() for name, head in self.heads.items()}


def as_input(images: np.ndarray) -> torch.Tensor:
    """Pictures, uint8 (n, height, width, 3), as the network takes them."""
    small = np.stack([cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for image in images])
    return torch.from_numpy(small).permute(0, 3, 1, 2).float() / 127.5 - 1


@cache
def load_yardstick(path: Path = WEIGHTS) -> YardstickNetwork:
    """The trained network, in evaluation mode."""
    network = YardstickNetwork()
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()}, strict=False)
    return network.eval()


@torch.no_grad()
def read(images: np.ndarray, network: YardstickNetwork | None = None, batch: int = 64) -> list[Reading]:
    """A reading of each picture, uint8 (n, height, width, 3)."""
    network = network or load_yardstick()
    readings = []
    for start in range(0, len(images), batch):
        scores = network(as_input(images[start : start + batch]))
        shares = {name: values.softmax(dim=1).numpy() for name, values in scores.items()}
        readings += [
            _reading({name: values[row] for name, values in shares.items()}) for row in range(len(scores["thing"]))
        ]
    return readings


def _reading(shares: dict[str, np.ndarray]) -> Reading:
    best = {name: int(values.argmax()) for name, values in shares.items()}
    order = np.argsort(-shares["thing"])[:MOST]
    seen = [number for number in order if shares["thing"][number] >= PRESENT * shares["thing"][order[0]]]
    return Reading(
        things=tuple(all_things()[number].name for number in seen[: best["count"] + 1]),
        place=BACKGROUNDS[best["place"]],
        count=best["count"] + 1,
        position=POSITIONS[best["position"]],
        size=list(SIZES)[best["size"]],
        colour=None if best["colour"] == OWN_COLOUR else list(COLOURS)[best["colour"]],
        drawing=best["drawing"],
        mirrored=bool(best["mirrored"]),
        certainty=float(shares["thing"][order[0]]),
    )
