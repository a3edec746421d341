"""Prompts of frames that have none of their own: an interpolation between the nearest written ones."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from errors import InvalidStoryboard


@dataclass(frozen=True)
class PromptBlend:
    """Interpolation of two frames' prompts: ``share`` (0 to 1) of the way from the written frame ``before`` to the
    written frame ``after``. A written frame is both of its own ends."""

    before: int
    after: int
    share: float


def blend_prompts(frame_prompts: Sequence[str]) -> tuple[PromptBlend, ...]:
    """Return the blend of every frame; before the first written frame and after the last one, that frame's own prompt.

    The share eases in and out (3s^2 - 2s^3), so that a change has no corners. Raises InvalidStoryboard if no frame has
    a prompt.
    """
    written = [frame for frame, prompt in enumerate(frame_prompts) if prompt.strip()]
    if not written:
        raise InvalidStoryboard("the storyboard is empty: write the prompt of one frame at least")
    blends = []
    for frame in range(len(frame_prompts)):
        before = written[max(0, bisect_right(written, frame) - 1)]
        after = written[min(len(written) - 1, bisect_left(written, frame))]
        share = (frame - before) / (after - before) if before < after else 0.0
        blends.append(PromptBlend(before, after, 3 * share**2 - 2 * share**3))
    return tuple(blends)
