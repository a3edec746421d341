"""Annotators: what is drawn, where networks come from, and how a job stops them."""

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.utils import httpx

from annotators import pose
from annotators.canny import Canny
from annotators.depth import Depth, to_grey
from annotators.pose import Pose, draw_skeleton
from errors import Cancelled, ModelUnavailable, NothingFound
from toyworld import render

COCO = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
BACKBONE = {"hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2}
NECK = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8}


def save(folder, model, processor):
    """A folder with a network as the Hub has it; its path."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def depth_folders(tmp_path_factory):
    """Tiny depth estimators with random weights, by kind; what they estimate is above zero."""
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        **BACKBONE, image_size=28, out_indices=[1, 2, 3, 4], reshape_hidden_states=False
    )
    anything = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=8, head_hidden_size=4, **NECK
    )
    metric = transformers.DepthAnythingConfig(**{**anything.to_dict(), "depth_estimation_type": "metric"})
    dense = transformers.DPTConfig(
        **BACKBONE, **NECK, intermediate_size=8, image_size=32, patch_size=8, backbone_out_indices=[0, 1, 2, 3]
    )
    folders = {}
    for name, network in {
        "depth anything": transformers.DepthAnythingForDepthEstimation(anything),
        "metric": transformers.DepthAnythingForDepthEstimation(metric),
        "dpt": transformers.DPTForDepthEstimation(dense),
    }.items():
        last = [module for module in network.head.modules() if isinstance(module, torch.nn.Conv2d)][-1]
        torch.nn.init.constant_(last.bias, 1.0)
        side, patch = (32, 8) if name == "dpt" else (28, 14)
        processor = transformers.DPTImageProcessorPil(
            size={"height": side, "width": side}, keep_aspect_ratio=name != "dpt", ensure_multiple_of=patch
        )
        folders[name] = save(tmp_path_factory.mktemp("depth"), network, processor)
    return folders


@pytest.fixture(scope="session")
def pose_folders(tmp_path_factory):
    """A tiny detector that sees a person wherever it looks, and a tiny estimator that is sure of its keypoints."""
    torch.manual_seed(0)
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=4, hidden_sizes=[4, 4, 4, 4], depths=[1, 1, 1, 1], layer_type="basic", out_indices=[2, 3, 4]
    )
    detector = transformers.RTDetrForObjectDetection(
        transformers.RTDetrConfig(
            backbone_config=backbone,
            encoder_in_channels=[4, 4, 4],
            encoder_hidden_dim=8,
            encoder_ffn_dim=8,
            encoder_attention_heads=2,
            d_model=8,
            decoder_in_channels=[8, 8, 8],
            decoder_ffn_dim=8,
            decoder_layers=1,
            decoder_attention_heads=2,
            num_queries=12,
            num_denoising=0,
            id2label={0: "person"},
        )
    )
    people = transformers.RTDetrImageProcessorPil(size={"height": 64, "width": 64})
    estimator = transformers.VitPoseForPoseEstimation(
        transformers.VitPoseConfig(
            backbone_config=transformers.VitPoseBackboneConfig(**BACKBONE, image_size=(64, 48), out_indices=[4]),
            num_labels=17,
        )
    )
    torch.nn.init.constant_(estimator.head.conv.bias, 1.0)
    crops = transformers.VitPoseImageProcessorPil(size={"height": 64, "width": 48})
    return {
        "detector": save(tmp_path_factory.mktemp("detector"), detector, people),
        "estimator": save(tmp_path_factory.mktemp("estimator"), estimator, crops),
    }


@pytest.fixture
def clip():
    """Three frames of noise, neither square nor of a size that a network wants."""
    return np.random.default_rng(0).integers(0, 256, (3, 44, 60, 3), dtype=np.uint8)


def standing_person():
    """Keypoints (1, 18, 2) of somebody who stands in a picture of 256 x 256."""
    people = np.array(
        [
            *((128, 50), (128, 80), (100, 80), (80, 120), (70, 160), (156, 80), (176, 120), (186, 160)),
            *((112, 150), (108, 190), (104, 230), (144, 150), (148, 190), (152, 230)),
            *((118, 44), (138, 44), (108, 48), (148, 48)),
        ],
        dtype=np.float32,
    )
    return people[None]


def test_canny_outlines_a_square():
    """Edges lie on the outline of what is drawn, are white on black, and are the same in all channels."""
    frames = np.zeros((2, 64, 80, 3), np.uint8)
    frames[1, 20:40, 30:60] = (200, 30, 30)
    edges = Canny()(frames)
    assert edges.shape == frames.shape
    assert edges.dtype == np.uint8
    assert not edges[0].any()
    assert set(np.unique(edges)) == {0, 255}
    assert (edges == edges[..., :1]).all()
    rows, columns = np.nonzero(edges[1, ..., 0])
    assert (rows.min(), columns.min()) == pytest.approx((20, 30), abs=1)
    assert (rows.max(), columns.max()) == pytest.approx((39, 59), abs=1)
    assert not edges[1, 23:37, 33:57].any()


@pytest.mark.parametrize(("low", "high"), [(-1, 200), (200, 200), (201, 200), (100, 256)])
def test_canny_refuses_thresholds_that_mean_nothing(low, high):
    """OpenCV would swap or take them silently."""
    with pytest.raises(ValueError, match="low"):
        Canny(low, high)


@pytest.mark.parametrize("kind", ["depth anything", "dpt"])
def test_depth_comes_from_a_folder_and_keeps_the_size(kind, depth_folders, clip):
    """The real way from files to pictures, for both families, without torchvision; let go, it loads again."""
    annotator = Depth(depth_folders[kind])
    depth = annotator(clip)
    assert depth.shape == clip.shape
    assert depth.dtype == np.uint8
    assert (depth.min(), depth.max()) == (0, 255)
    assert (depth == depth[..., :1]).all()
    annotator.release()
    assert np.array_equal(annotator(clip), depth)


def test_depth_has_one_scale_for_the_whole_clip():
    """What is as near as before is as bright as before, whatever else comes into the picture: no flicker."""
    nearness = np.full((2, 20, 20), 1.0, np.float32)
    nearness[:, :, :5] = 2.0
    nearness[1, :, 15:] = 5.0
    grey = to_grey(nearness)
    assert np.array_equal(grey[0, :, :15], grey[1, :, :15])
    assert (grey[1, 0, 0], grey[1, 0, 10], grey[1, 0, 19]) == (64, 0, 255)


def test_depth_forgives_wild_pixels_and_flat_clips():
    """One pixel at the end of the world does not make the rest black, and a wall is one grey, not noise."""
    nearness = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (1, 100, 1))
    nearness[0, 0, 0] = 1000
    assert int(to_grey(nearness)[0, 50, 50]) == pytest.approx(128, abs=3)
    assert not to_grey(np.full((2, 4, 4), 7.0, np.float32)).any()


def test_depth_in_metres_is_refused(depth_folders, clip):
    """In metres far is large: the picture would be a negative, and the ControlNet would follow it."""
    with pytest.raises(ModelUnavailable, match="estimates metres"):
        Depth(depth_folders["metric"])(clip)


def test_pose_draws_at_most_eight_people(pose_folders, clip):
    """Both networks from folders, end to end: the estimator is asked about the eight largest boxes only."""
    annotator = Pose(**pose_folders)
    skeletons = annotator(clip)
    assert skeletons.shape == clip.shape
    assert skeletons.dtype == np.uint8
    assert skeletons.any()
    people = annotator.keypoints(clip[0])
    assert people.shape == (8, 18, 2)
    assert np.isfinite(people).all()
    boxes = pose.find_people(annotator._detector, clip[0])
    sizes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    assert (np.diff(sizes) <= 0).all()


def test_frames_without_people_are_black_and_a_video_without_people_is_an_error(monkeypatch, clip):
    """Somebody may leave the picture for a while; but a ControlNet told nothing at all would draw anything."""
    annotator = Pose()
    monkeypatch.setattr("annotators.base.Network.load", lambda network: None)
    people = iter([np.empty((0, 18, 2)), standing_person() / 5, np.full((1, 18, 2), np.nan)])
    monkeypatch.setattr(annotator, "keypoints", lambda frame: next(people))
    assert [bool(skeleton.any()) for skeleton in annotator(clip)] == [False, True, False]
    monkeypatch.setattr(annotator, "keypoints", lambda frame: np.empty((0, 18, 2)))
    with pytest.raises(NothingFound, match=r"^no person was found in the video: .+$"):
        annotator(clip)


def test_openpose_keypoints_are_those_of_the_toy_world():
    """One order of 18 keypoints everywhere: what training draws is what an annotator draws."""
    names = [COCO[index] for index in pose.FROM_COCO]
    names.insert(pose.NECK, "neck")
    assert tuple(names) == render.KEYPOINTS


def test_coco_becomes_openpose():
    """Known numbers: keypoint k of COCO lies at (k, 10 k); the neck is between the shoulders, 5 and 6."""
    keypoints = np.stack([np.arange(17), 10 * np.arange(17)], axis=1)[None].repeat(2, axis=0).astype(np.float32)
    scores = np.full((2, 17), 0.9)
    scores[0, COCO.index("left_wrist")] = 0.29
    scores[1, COCO.index("right_shoulder")] = 0.1
    people = pose.to_openpose(keypoints, scores)
    assert people.shape == (2, 18, 2)
    assert people[0, :4].tolist() == [[0, 0], [5.5, 55], [6, 60], [8, 80]]
    assert [int(joint) for joint in np.nonzero(np.isnan(people[0, :, 0]))[0]] == [7]
    assert [int(joint) for joint in np.nonzero(np.isnan(people[1, :, 1]))[0]] == [1, 2]


def test_keypoints_return_to_the_picture():
    """A heatmap's Gaussian between cells, in a region that was cut from the picture, is found to a part of a pixel."""
    boxes = np.array([[30.0, 20, 70, 140], [100, 50, 180, 70]])
    corners, sizes = pose.regions(boxes, 48 / 64)
    assert sizes[:, 0] / sizes[:, 1] == pytest.approx(48 / 64)
    assert corners + sizes / 2 == pytest.approx((boxes[:, :2] + boxes[:, 2:]) / 2)
    assert (sizes >= 1.249 * (boxes[:, 2:] - boxes[:, :2])).all()
    rows, columns = np.mgrid[:64, :48]
    centres = np.array([(20.3, 31.6), (0.2, 63.0), (47.0, 5.5)])
    heatmaps = np.stack([np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8) for x, y in centres])[None]
    found = pose.peaks(heatmaps.astype(np.float32))[0]
    assert found[0] == pytest.approx(centres[0], abs=0.02)
    assert found == pytest.approx(centres, abs=0.5)


def test_the_estimator_sees_the_region_and_answers_in_pixels_of_the_picture():
    """A network that answers with the brightness it is shown finds a bright spot of the frame where it is."""

    class Brightness(torch.nn.Module):
        device = "cpu"

        def forward(self, pixel_values):
            mean = pixel_values.mean(1, keepdim=True) - pixel_values.min()
            heatmaps = torch.nn.functional.interpolate(mean, (64, 48), mode="bilinear", align_corners=True)
            return type("Output", (), {"heatmaps": heatmaps.expand(-1, 17, -1, -1)})

    class Estimator:
        def load(self):
            return transformers.VitPoseImageProcessorPil(), Brightness()

    rows, columns = np.mgrid[:200, :160] + 0.5
    spot = 255 * np.exp(-((columns - 61.5) ** 2 + (rows - 88.25) ** 2) / 50)
    frame = np.repeat(spot[..., None], 3, axis=2).astype(np.uint8)
    boxes = np.array([[40.0, 30, 90, 150], [20, 60, 120, 120]])
    keypoints, scores = pose.find_keypoints(Estimator(), frame, boxes)
    assert keypoints.shape == (2, 17, 2)
    assert scores.shape == (2, 17)
    assert np.abs(keypoints - (61.5, 88.25)).max() < 0.6


def test_limbs_and_joints_have_their_openpose_colours():
    """A ControlNet tells left from right, and an arm from a leg, by these colours alone."""
    person = standing_person()
    drawn = draw_skeleton(person, 256, 256).astype(int)

    def colour(*joints):
        column, row = person[0, list(joints)].mean(axis=0).astype(int)
        return tuple(drawn[row, column])

    assert colour(1, 2) == (153, 0, 0)  # neck to right shoulder
    assert colour(1, 5) == (153, 51, 0)  # neck to left shoulder
    assert colour(2, 3) == (153, 102, 0)  # right upper arm
    assert colour(6, 7) == (51, 153, 0)  # left forearm
    assert colour(8, 9) == (0, 153, 51)  # right thigh
    assert colour(12, 13) == (0, 51, 153)  # left shin
    assert colour(0, 1) == (0, 0, 153)  # neck to nose
    assert colour(0) == (255, 0, 0)
    assert colour(4) == (170, 255, 0)  # right wrist
    assert colour(10) == (0, 170, 255)  # right ankle
    assert colour(17) == (255, 0, 85)  # left ear


def test_absent_keypoints_draw_nothing():
    """A limb needs both its ends; the rest of the person stays as it is; nobody is black."""
    whole, without = standing_person(), standing_person()
    without[0, 3] = np.nan  # right elbow
    full, partial = draw_skeleton(whole, 256, 256), draw_skeleton(without, 256, 256)
    gone = (full != partial).any(axis=2)
    upper_arm, forearm, elbow = (90, 100), (75, 140), (80, 120)
    for column, row in (upper_arm, forearm, elbow):
        assert gone[row, column]
        assert not partial[row, column].any()
    assert not gone[:, 112:].any()
    assert not draw_skeleton(np.full((2, 18, 2), np.nan), 32, 32).any()
    assert not draw_skeleton(np.empty((0, 18, 2)), 32, 32).any()


@pytest.mark.parametrize(("height", "width", "thickness_px"), [(512, 640, 8.0), (256, 256, 4.0), (128, 128, 3.0)])
def test_thickness_follows_the_picture(height, width, thickness_px):
    """Eight pixels across at 512, as in ControlNet's drawing; at 128 no thinner than can be seen. Edges are smooth."""
    person = np.full((1, 18, 2), np.nan)
    person[0, 2], person[0, 3] = (0.2 * width, height / 2), (0.8 * width, height / 2)
    drawn = draw_skeleton(person, height, width)[:, width // 2, 0] / 153
    assert drawn.sum() == pytest.approx(thickness_px, abs=0.4)
    assert drawn.max() == 1


def test_a_person_partly_outside_is_drawn_as_far_as_the_picture_goes():
    """Keypoints beyond the edge are no error, and do not wrap around."""
    moved = draw_skeleton(standing_person() + np.array([100, 0]), 256, 256)
    still = draw_skeleton(standing_person(), 256, 256)
    assert np.array_equal(moved[:, 110:], still[:, 10:-100])
    assert not moved[:, :100].any()


@pytest.mark.parametrize(
    ("annotator", "role"),
    [
        (Depth("nobody/no-such-depth"), "the depth estimator nobody/no-such-depth"),
        (Depth("/srv/secret/depth"), "the depth estimator depth"),
        (Pose("nobody/no-such-detector"), "the person detector nobody/no-such-detector"),
    ],
)
def test_without_the_network_one_line_says_what_to_do(annotator, role, monkeypatch, clip):
    """Away from the Hub: what is missing, what to do, and nothing of the server's folders."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable) as told:
        annotator(clip)
    message = str(told.value)
    assert message.startswith(f"{role} ")
    assert "my video already is a control video" in message
    assert "\n" not in message
    assert "/srv" not in message


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch, clip):
    """Every file used to be asked for six times: the line about the connection came after a minute and a half."""
    asked = []

    def no_answer(api, source, **options):
        asked.append(source)
        raise httpx.ConnectError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", no_answer)
    with pytest.raises(ModelUnavailable, match="check the connection"):
        Depth("nobody/no-such-depth")(clip)
    assert asked == ["nobody/no-such-depth"]


def test_a_folder_that_is_not_whole_or_of_another_kind_is_told_by_name(tmp_path, depth_folders, pose_folders, clip):
    """The folder's name, never its path; pickled weights count as missing."""
    folder = tmp_path / "broken"
    model = transformers.AutoModelForDepthEstimation.from_pretrained(depth_folders["dpt"])
    save(folder, model, transformers.DPTImageProcessorPil())
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    wrong = {
        "depth estimator broken": Depth(str(folder)),
        "depth estimator detector0": Depth(pose_folders["detector"]),
        "person detector estimator0": Pose(pose_folders["estimator"], pose_folders["estimator"]),
        "pose estimator detector0": Pose(pose_folders["detector"], pose_folders["detector"]),
    }
    for name, annotator in wrong.items():
        with pytest.raises(ModelUnavailable, match=rf"^the {name} could not be loaded: [^/\n]+$"):
            annotator(clip)


def test_a_job_is_stopped_between_frames(depth_folders, pose_folders, clip):
    """The watch hears of every frame before it is computed, and what it raises ends the work."""
    for annotator in (Canny(), Depth(depth_folders["dpt"]), Pose(**pose_folders)):
        seen = []
        annotator(clip, seen.append)
        assert seen == [0, 1, 2]

        def stop(frame):
            if frame == 1:
                raise Cancelled

        with pytest.raises(Cancelled):
            annotator(clip, stop)
