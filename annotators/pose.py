"""Skeletons of the people in a video, drawn as the ControlNets for pose were trained on.

RT-DETR (arXiv 2304.08069) finds the people, ViTPose (arXiv 2204.12484) the 17 COCO keypoints of each; they become
the 18 keypoints of OpenPose (arXiv 1812.08008) and its drawing. Pixel coordinates are those of areas: the centre of
the first pixel is at 0.5.
"""

import colorsys

import numpy as np

from annotators.base import BeforeFrame, Network, keep_going
from errors import NothingFound

PERSON_SCORE, KEYPOINT_SCORE, MOST_PEOPLE = 0.3, 0.3, 8
# The picture that ViTPose looks at is this much larger than the person's box.
PADDING = 1.25
# The 18 keypoints of OpenPose: nose, neck, right shoulder, elbow and wrist, the left ones, right hip, knee and ankle,
# the left ones, right eye, left eye, right ear, left ear. Here: which of COCO's 17 each one is, all but the neck.
NECK = 1
COCO_SHOULDERS = (5, 6)
FROM_COCO = (0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
# Limbs as pairs of keypoints, in the order in which OpenPose draws them.
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7)),
    *((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
# Once around the colour circle: limb k and keypoint k have the same colour.
COLOURS = tuple(tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(k / 18, 1, 1)) for k in range(18))
LIMB_BRIGHTNESS = 0.6
# Half a limb's thickness and a joint's radius, as a part of the shorter side: 4 px at 512.
STICK, STICK_MINIMUM_PX = 4 / 512, 1.5
SUPERSAMPLING = 4


class Pose:
    """Skeletons of up to eight people, the largest ones; sources are Hub ids or folders."""

    def __init__(
        self,
        detector: str = "PekingU/rtdetr_r50vd_coco_o365",
        estimator: str = "usyd-community/vitpose-base-simple",
        device: str = "cpu",
    ) -> None:
        self._detector = Network("the person detector", "AutoModelForObjectDetection", detector, device)
        self._estimator = Network("the pose estimator", "AutoModelForPoseEstimation", estimator, device)

    def __call__(self, frames: np.ndarray, before_frame: BeforeFrame = keep_going) -> np.ndarray:
        """Skeletons on black; shapes as in ``Annotator``. Frames without a person are black.

        Raises NothingFound where no frame has a person, and ModelUnavailable.
        """
        self._detector.load()
        self._estimator.load()
        skeletons = np.empty_like(frames)
        for index, frame in enumerate(frames):
            before_frame(index)
            skeletons[index] = draw_skeleton(self.keypoints(frame), *frame.shape[:2])
        if not skeletons.any():
            raise NothingFound(
                "no person was found in the video: take one in which people are seen whole and not too small"
            )
        return skeletons

    def release(self) -> None:
        """Let go of both networks."""
        self._detector.release()
        self._estimator.release()

    def keypoints(self, frame: np.ndarray) -> np.ndarray:
        """OpenPose keypoints of one frame, uint8 (height, width, 3): float32 (people, 18, 2), NaN where absent."""
        boxes = find_people(self._detector, frame)
        if len(boxes) == 0:
            return np.empty((0, 18, 2), np.float32)
        return to_openpose(*find_keypoints(self._estimator, frame, boxes))


def find_people(detector: Network, frame: np.ndarray) -> np.ndarray:
    """Boxes of the largest people in a frame: float (people, 4), x0 y0 x1 y1 in pixels, within the picture."""
    import torch

    height, width = frame.shape[:2]
    processor, model = detector.load()
    inputs = processor(images=frame, input_data_format="channels_last", return_tensors="pt")
    with torch.inference_mode():
        outputs = model(pixel_values=inputs["pixel_values"].to(model.device))
    (found,) = processor.post_process_object_detection(outputs, PERSON_SCORE, [(height, width)])
    people = [model.config.id2label[int(label)] == "person" for label in found["labels"]]
    boxes = np.clip(found["boxes"].cpu().numpy()[people], 0, (width, height, width, height))
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return boxes[np.argsort(-areas, kind="stable")[:MOST_PEOPLE]]


def find_keypoints(estimator: Network, frame: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """COCO keypoints of people in boxes: (people, 17, 2) x and y in pixels, and their scores (people, 17).

    The cutting and the reading of heatmaps are ours: those of transformers want SciPy. They follow the same "unbiased"
    convention (arXiv 1911.07524), in which the centres of the first and of the last pixel lie on the region's edges.
    """
    import cv2
    import torch

    processor, model = estimator.load()
    height, width = processor.size["height"], processor.size["width"]
    corners, sizes = regions(boxes, width / height)
    crops = []
    for corner, size in zip(corners, sizes, strict=True):
        scale = np.array([width - 1, height - 1]) / size
        matrix = np.column_stack([np.diag(scale), -scale * (corner - 0.5)])
        crops.append(cv2.warpAffine(np.ascontiguousarray(frame), matrix, (width, height)))
    inputs = processor(
        crops, boxes=None, do_affine_transform=False, input_data_format="channels_last", return_tensors="pt"
    )
    with torch.inference_mode():
        heatmaps = model(pixel_values=inputs["pixel_values"].to(model.device)).heatmaps.cpu().numpy()
    steps = sizes / (np.array(heatmaps.shape[:1:-1]) - 1)
    return corners[:, None] + peaks(heatmaps) * steps[:, None], heatmaps.max(axis=(2, 3))


def regions(boxes: np.ndarray, aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners and sizes, both (people, 2), of padded regions around boxes with one ratio of width to height."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    widths, heights = np.maximum(boxes[:, 2:] - boxes[:, :2], 1).T
    widths, heights = np.maximum(widths, heights * aspect), np.maximum(heights, widths / aspect)
    sizes = PADDING * np.stack([widths, heights], axis=1)
    return centres - sizes / 2, sizes


def peaks(heatmaps: np.ndarray) -> np.ndarray:
    """Maxima of heatmaps (people, keypoints, rows, columns): (people, keypoints, 2), x and y in cells.

    Between cells by the parabola through the logarithms of the highest cell and its neighbours, exact for a Gaussian
    (DARK, arXiv 1910.06278, one axis at a time): a cell can be several pixels wide, and joints would jump. On the
    border there is nothing between.
    """
    import cv2

    found = np.empty((*heatmaps.shape[:2], 2))
    for place in np.ndindex(heatmaps.shape[:2]):
        smooth = cv2.GaussianBlur(heatmaps[place], (11, 11), 0.8)
        logarithm = np.pad(np.log(np.maximum(smooth, 1e-3)), 1, mode="reflect")
        row, column = np.unravel_index(smooth.argmax(), smooth.shape)
        across, down = logarithm[row + 1, column : column + 3], logarithm[row : row + 3, column + 1]
        found[place] = column + vertex(*across), row + vertex(*down)
    return found


def vertex(before: float, at: float, after: float) -> float:
    """Maximum's position of the parabola through three values at -1, 0 and 1; 0 where they are equal."""
    curvature = before - 2 * at + after
    return 0.0 if curvature == 0 else float((before - after) / (2 * curvature))


def to_openpose(keypoints: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """COCO keypoints (people, 17, 2) with scores (people, 17) as OpenPose's (people, 18, 2).

    NaN where the score is below 0.3. The neck lies between the shoulders, and is absent unless both are there.
    """
    seen = np.where(scores[..., None] >= KEYPOINT_SCORE, keypoints, np.nan)
    neck = seen[:, COCO_SHOULDERS].mean(axis=1)
    return np.insert(seen[:, FROM_COCO], NECK, neck, axis=1).astype(np.float32)


def draw_skeleton(keypoints: np.ndarray, height: int, width: int, thinnest_px: float = STICK_MINIMUM_PX) -> np.ndarray:
    """The OpenPose drawing of people: uint8 (height, width, 3) RGB on black.

    ``keypoints`` is float (people, 18, 2), x and y in pixels, NaN where absent; a limb needs both its ends. Colours,
    order and the thickness at 512 pixels are those of ControlNet's drawing: limbs are ellipses darkened to 0.6, and
    joints are discs on top of them. Half the thickness scales with the picture, down to ``thinnest_px``; edges are
    smooth.
    """
    import cv2

    stick = max(STICK * min(height, width), thinnest_px)
    canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 3), np.uint8)

    def fill(start: np.ndarray, end: np.ndarray, reach: float, colour: np.ndarray) -> None:
        if not np.isfinite((start, end)).all():
            return
        points = np.rint((ellipse(start, end, reach, stick) * SUPERSAMPLING - 0.5) * 16).astype(np.int32)
        cv2.fillConvexPoly(canvas, points, colour.tolist(), cv2.LINE_8, 4)

    colours = np.array(COLOURS)
    for (a, b), colour in zip(LIMBS, LIMB_BRIGHTNESS * colours, strict=False):
        for person in keypoints:
            fill(person[a], person[b], 0.0, colour)
    for joint, colour in enumerate(colours):
        for person in keypoints:
            fill(person[joint], person[joint], stick, colour)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def ellipse(start: np.ndarray, end: np.ndarray, reach: float, half_thickness: float) -> np.ndarray:
    """The outline (48, 2) of an ellipse that reaches ``reach`` beyond two points."""
    along = (end - start) / 2
    length = float(np.hypot(*along))
    direction = along / length if length > 0 else np.array([1.0, 0.0])
    across = half_thickness * np.array([-direction[1], direction[0]])
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)[:, None]
    return (start + end) / 2 + np.cos(turn) * (length + reach) * direction + np.sin(turn) * across
