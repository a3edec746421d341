"""Measures of any video, from its pixels alone: motion, flicker, warping error and sharpness. Nothing is learned.

Frames are uint8 (frames, height, width, 3) RGB. Optical flow is float32 (frames - 1, height, width, 2): what is at
(x, y) in frame t is at (x, y) + flow[t, y, x] in frame t + 1, in pixels. What needs two frames is NaN for a video of
one frame. Frames of another type or shape are a ValueError.
"""

import math
from itertools import pairwise

import cv2
import numpy as np

SMALLEST_PX = 12  # side of the smallest picture in which DIS finds patches
FASTEST_SHARE = 0.05  # of the pixels, whose flow is the fastest motion
REFERENCE_PX = 256  # shorter side at which the fastest motion is told
DYNAMIC_PX = 6.0  # per frame at the reference size and 8 frames a second: what VBench calls dynamic
REFERENCE_FPS = 8.0


def measures(frames: np.ndarray, fps: float = REFERENCE_FPS) -> dict[str, float]:
    """Return every measure of this module by name, the flow computed once; ``fps`` matters to ``is_dynamic`` alone.

    All but the sharpness are of neighbouring frames: videos of different frame rates compare once they are thinned out
    by ``thinning``.
    """
    flow = optical_flow(frames)
    return {
        "motion_px": motion_magnitude(flow),
        "motion_share": motion_magnitude(flow) / math.hypot(*frames.shape[1:3]),
        "is_dynamic": is_dynamic(flow, fps),
        "fastest_motion": fastest_motion(flow),
        "warping_error": warping_error(frames, flow, optical_flow(frames, backward=True)),
        "temporal_flicker": temporal_flicker(frames),
        "sharpness": sharpness(frames),
    }


def thinning(count: int, fps: float) -> int:
    """Return the step for ``frames[::step]`` that leaves about 8 frames a second of ``count`` at ``fps``.

    Neighbouring frames are then as far apart as in other videos; at 24 frames a second the same motion would seem a
    third as fast, and everything steadier. VBench (arXiv 2311.17982) thins out so for its dynamic degree. Of two frames
    or more at least two are left; at 8 a second or fewer all are.
    """
    return max(1, min(round(fps / REFERENCE_FPS), count - 1))


def optical_flow(frames: np.ndarray, *, backward: bool = False) -> np.ndarray:
    """Return the flow from each frame to the next, float32 (frames - 1, height, width, 2); ``backward``: reversed.

    Dense Inverse Search (Kroeger et al., arXiv 1603.03590) as in OpenCV, at its medium preset. Raises ValueError for
    pictures below 12 x 12 pixels. Where a picture has no texture nothing can be seen to move, and the flow is near 0.
    """
    height, width = checked(frames).shape[1:3]
    if min(height, width) < SMALLEST_PX:
        raise ValueError(f"optical flow needs {SMALLEST_PX} x {SMALLEST_PX} pixels, not {width} x {height}")
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    pairs = ((after, before) if backward else (before, after) for before, after in pairwise(grey))
    found = [search.calc(start, end, None) for start, end in pairs]
    return np.stack(found) if found else np.empty((0, height, width, 2), np.float32)


def motion_magnitude(flow: np.ndarray) -> float:
    """Return the mean length of the flow over all pixels and pairs of frames, in pixels per frame.

    ``measures`` also gives it as a share of the picture's diagonal, by which videos of different sizes compare.
    """
    return mean(np.linalg.norm(flow, axis=3))


def fastest_motion(flow: np.ndarray) -> float:
    """Return the speed of the fastest things: the mean of the largest 5 % of flow lengths, averaged over pairs.

    In pixels per frame, scaled to a shorter side of 256. VBench (Huang et al., arXiv 2311.17982) computes the same from
    RAFT's flow, and compares it with a threshold (``is_dynamic``).
    """
    return mean(fastest(flow)) * REFERENCE_PX / min(flow.shape[1:3])


def is_dynamic(flow: np.ndarray, fps: float = REFERENCE_FPS) -> float:
    """Return 1 for a video that counts as dynamic, else 0; NaN for one frame.

    Its mean over clips is VBench's dynamic degree (but for RAFT), to be read beside any measure of consistency, since a
    still picture is the most consistent video of all.

    A video is dynamic if as many of its pairs as a quarter of its frames (rounded, at least one) have a mean of the
    largest 5 % of flow lengths above 6 px, at a shorter side of 256 px and 8 frames a second. VBench doubles the
    threshold for 4 frames a second; here it goes with 8 / ``fps`` in both directions.
    """
    if len(flow) == 0:
        return math.nan
    threshold_px = DYNAMIC_PX * min(flow.shape[1:3]) / REFERENCE_PX * REFERENCE_FPS / fps
    needed = max(1, round((len(flow) + 1) / 4))
    return float((fastest(flow) > threshold_px).sum() >= needed)


def fastest(flow: np.ndarray) -> np.ndarray:
    """Return the mean of the largest 5 % of flow lengths of each pair of frames: float (pairs,), in pixels."""
    lengths = np.sort(np.linalg.norm(flow, axis=3).reshape(len(flow), flow.shape[1] * flow.shape[2]), axis=1)
    return lengths[:, -max(1, int(FASTEST_SHARE * lengths.shape[1])) :].mean(axis=1)


def warping_error(frames: np.ndarray, forward: np.ndarray, backward: np.ndarray) -> float:
    """Return the difference of each frame from the next one warped back along the flow, where nothing is hidden.

    Mean over pairs of sum_i M_i ||V_t(i) - V_t+1(i + F(i))||^2 / sum_i M_i, colours in 0..1 and the norm over the three
    of them, so from 0 to 3 (Lai et al., arXiv 1808.00449; there the flow is that of the video before processing, here
    that of the video itself). M is ``visible``. Pairs of which nothing is visible do not count. Low for a still video
    as well: read it beside the dynamic degree.
    """
    errors = []
    for this, following, onwards, back in zip(frames[:-1], frames[1:], forward, backward, strict=True):
        seen = visible(onwards, back)
        off = (this.astype(np.float32) - warped(following.astype(np.float32), onwards)) / 255
        if seen.any():
            errors.append(np.square(off).sum(axis=2)[seen].mean())
    return mean(np.array(errors))


def visible(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return the mask of pixels of a frame that are visible in the next one as well: bool (height, width).

    They are those whose flow, followed by the flow back, ends near where it began, |f + b|^2 <= 0.01 (|f|^2 + |b|^2) +
    0.5 (Ruder et al., arXiv 1604.08610), and that do not leave the picture. The boundaries of motion, which Ruder
    leaves out as well, count.
    """
    back = warped(backward, forward)
    apart = np.square(forward + back).sum(axis=2)
    within = 0.01 * (np.square(forward).sum(axis=2) + np.square(back).sum(axis=2)) + 0.5
    height, width = forward.shape[:2]
    columns, rows = targets(forward)
    inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    return (apart <= within) & inside


def warped(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Sample ``picture`` at the targets of the flow (height, width, 2): float32 (height, width, channels).

    Bilinear between pixels; beyond the edge the edge's value.
    """
    return cv2.remap(picture, *targets(flow), interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def targets(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns and rows that each pixel goes to, float32 (height, width) each."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def temporal_flicker(frames: np.ndarray, without: np.ndarray | None = None) -> float:
    """Return (255 - MAE) / 255, MAE the mean absolute difference of consecutive frames.

    It is 1 for a still video, 0 for one that jumps between black and white.

    VBench (arXiv 2311.17982), there for prompts of still scenes only: motion lowers it just as flicker does.
    ``without``, bool (frames, height, width), are pixels to leave out; a pair leaves out those of both its frames, and
    does not count if they are all.
    """
    checked(frames)
    kept = np.ones((len(frames) - 1, *frames.shape[1:3]), bool) if without is None else ~(without[:-1] | without[1:])
    pairs = zip(pairwise(frames), kept, strict=True)
    return (
        1 - mean(np.array([cv2.absdiff(*pair)[looked_at].mean() for pair, looked_at in pairs if looked_at.any()])) / 255
    )


def sharpness(frames: np.ndarray) -> float:
    """Return the variance of the Laplacian of the grey picture in 0..255, averaged over frames, one at least.

    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (ICPR 2000). It depends on the size and on the
    motif, and noise counts as sharp: it compares results for one prompt at one size.
    """
    grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in checked(frames))
    return mean(np.array([cv2.Laplacian(frame, cv2.CV_64F).var() for frame in grey]))


def checked(frames: np.ndarray) -> np.ndarray:
    """Return the frames; raises ValueError unless they are uint8 (frames, height, width, 3), at least one."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"not uint8 (frames, height, width, 3): {frames.dtype} {frames.shape}")
    return frames


def mean(values: np.ndarray) -> float:
    """Return the mean; NaN, without a warning, of nothing."""
    return float(values.mean()) if values.size else math.nan
