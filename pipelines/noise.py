"""The noise of a video, all of it from one generator."""

import hashlib
from typing import Any

import torch


class VideoNoise:
    """The noise of one video, all from one generator: the anchor's first, then each other frame's in their order.

    In float32 whatever the model's precision, so that a seed means the same picture on every device.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        generator: torch.Generator | None,
        anchor: torch.Tensor | None,
        device: Any,
    ) -> None:
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        if anchor is not None and tuple(anchor.shape) != shape:
            raise ValueError(f"latents must be {shape}, not {tuple(anchor.shape)}")
        self.shape, self.generator, self.device = shape, generator, device
        self.anchor = self.draw(1) if anchor is None else anchor.to(device, torch.float32)
        self.after_anchor = generator.get_state()

    def draw(self, frames: int, apart: list[torch.Generator] | None = None) -> torch.Tensor:
        """The noise of the next frames: float32 (frames, c, h, w).

        ``apart``: a generator for each frame of the video, the anchor's included, from which it is drawn instead; for
        frames that are made from an anchor whose steps drew from this one, and would be given the same noise twice.
        """
        generators = [self.generator] * frames if apart is None else apart[-frames:]
        drawn = [torch.randn(self.shape, generator=each, device=each.device) for each in generators[:frames]]
        return torch.cat(drawn or [torch.empty(0, *self.shape[1:])]).to(self.device)

    def start(self, frames: int, *, shared: bool = False) -> torch.Tensor:
        """Noise of frames that are not made from the anchor: (frames, c, h, w), each its own, or all the anchor's."""
        if shared:
            return self.anchor.repeat(frames, 1, 1, 1)
        return torch.cat([self.anchor, self.draw(frames - 1)])

    def frame_generators(self, frames: int, *, alike: bool = False) -> list[torch.Generator]:
        """A generator for each frame's random steps: the anchor's goes on where its noise ended, as for a still
        image; the others are seeded by that state and their number, so none depends on how many follow. ``alike``
        gives every frame the anchor's, for frames that start alike."""
        generators = [torch.Generator(self.generator.device) for _ in range(frames)]
        generators[0].set_state(self.after_anchor)
        if alike:
            return [generators[0].clone_state() for _ in generators]
        state = self.after_anchor.numpy().tobytes()
        for frame, generator in enumerate(generators[1:], 1):
            digest = hashlib.blake2b(state + frame.to_bytes(4, "little"), digest_size=8).digest()
            generator.manual_seed(int.from_bytes(digest, "little") >> 1)
        return generators


def one_generator(generator: torch.Generator | list[torch.Generator] | None) -> torch.Generator | None:
    """The generator of a video; a list may hold no other."""
    if isinstance(generator, list):
        if len(generator) != 1:
            raise ValueError("one generator per video")
        return generator[0]
    return generator
