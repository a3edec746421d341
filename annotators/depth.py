"""Depth by a network that estimates it from single pictures: near is white, far is black."""

import numpy as np

from annotators.base import BeforeFrame, Network, keep_going
from errors import ModelUnavailable

# Depths beyond these percentiles of a clip are drawn as black or white: a few wild pixels would otherwise leave
# little contrast to the rest.
FAR_PERCENTILE, NEAR_PERCENTILE = 0.5, 99.5


class Depth:
    """Relative depth by Depth Anything, DPT or MiDaS: any network of transformers that estimates nearness.

    ``source`` is a Hub id or a folder. Estimators of metres are refused, since in them far is large.
    """

    def __init__(self, source: str = "depth-anything/Depth-Anything-V2-Small-hf", device: str = "cpu") -> None:
        self._network = Network("the depth estimator", "AutoModelForDepthEstimation", source, device)

    def __call__(self, frames: np.ndarray, before_frame: BeforeFrame = keep_going) -> np.ndarray:
        """Depth pictures, three equal channels; shapes as in ``Annotator``. Raises ModelUnavailable."""
        _, model = self._network.load()
        if getattr(model.config, "depth_estimation_type", "relative") == "metric":
            raise ModelUnavailable(f"{self._network.name} estimates metres; choose one for relative depth")
        nearness = np.empty(frames.shape[:3], np.float32)
        for index, frame in enumerate(frames):
            before_frame(index)
            nearness[index] = self._estimate(frame)
        return np.repeat(to_grey(nearness)[..., None], 3, axis=3)

    def release(self) -> None:
        """Let go of the network."""
        self._network.release()

    def _estimate(self, frame: np.ndarray) -> np.ndarray:
        """Nearness in the network's own unit, float32 (height, width)."""
        import torch

        processor, model = self._network.load()
        inputs = processor(images=frame, input_data_format="channels_last", return_tensors="pt")
        with torch.inference_mode():
            nearness = model(pixel_values=inputs["pixel_values"].to(model.device)).predicted_depth
            nearness = torch.nn.functional.interpolate(nearness[None], frame.shape[:2], mode="bicubic")
        return nearness[0, 0].float().cpu().numpy()


def to_grey(nearness: np.ndarray) -> np.ndarray:
    """Nearness (frames, height, width) as uint8: the nearest of the clip 255, the farthest 0.

    One scale for the whole clip: with a scale per frame, whatever enters or leaves the picture would make everything
    else brighter or darker from one frame to the next, and the video would flicker. A clip of one depth is black.
    """
    far, near = np.percentile(nearness, (FAR_PERCENTILE, NEAR_PERCENTILE))
    scaled = (nearness - far) / max(float(near - far), np.finfo(np.float32).tiny)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
