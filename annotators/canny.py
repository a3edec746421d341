"""Edges after Canny (1986), drawn as the ControlNets for edges were trained on: white lines on black."""

import numpy as np

from annotators.base import BeforeFrame, keep_going


class Canny:
    """Edges by OpenCV: gradients above ``high`` start a line, gradients above ``low`` carry it on.

    Raises ValueError unless 0 <= low < high <= 255.
    """

    def __init__(self, low: int = 100, high: int = 200) -> None:
        if not 0 <= low < high <= 255:
            raise ValueError(f"low ({low}) and high ({high}) must be 0 <= low < high <= 255")
        self.low, self.high = low, high

    def __call__(self, frames: np.ndarray, before_frame: BeforeFrame = keep_going) -> np.ndarray:
        """Edges of every frame, 0 or 255, three equal channels; shapes as in ``Annotator``."""
        import cv2

        edges = np.empty_like(frames)
        for index, frame in enumerate(frames):
            before_frame(index)
            edges[index] = cv2.Canny(np.ascontiguousarray(frame), self.low, self.high)[..., None]
        return edges

    def release(self) -> None:
        """Nothing is held."""
