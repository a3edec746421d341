"""CLIP scores: the arithmetic by hand, and a tiny network in the real format."""

import math

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.utils import httpx

from errors import ModelUnavailable
from evaluation import clip_scores
from evaluation.clip_scores import ClipScorer, frame_consistency, text_score
from training.toyworld.text import build_tokenizer


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A CLIP with random weights, its tokenizer and OpenAI's preprocessing, as the Hub has it."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["a red circle on green grass", "a blue star at night"], vocabulary=560)
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    config = transformers.CLIPConfig(
        text_config=shared | ends | {"vocab_size": len(tokenizer), "max_position_embeddings": 32},
        vision_config=shared | {"image_size": 224, "patch_size": 32},
        projection_dim=8,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.CLIPImageProcessorPil().save_pretrained(folder)
    return folder


@pytest.fixture
def clip():
    """Three frames of noise, wider than high."""
    return np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), dtype=np.uint8)


def test_scores_by_hand():
    """Cosines of 1, 0.6 and -0.8 with the text; of 0.6 and 0 with each other. Lengths do not matter."""
    frames = np.array([[2, 0], [3, 4], [-4, 3]], np.float32)
    assert text_score(frames, np.array([5, 0], np.float32)) == pytest.approx(100 * (1 + 0.6 - 0.8) / 3)
    assert frame_consistency(frames) == pytest.approx(100 * (0.6 + 0) / 2)


def test_a_still_video_is_perfectly_consistent_and_one_frame_is_not_a_video():
    """100 is the most there is, which is why dynamic degree is printed beside it."""
    embedding = np.random.default_rng(0).normal(size=(1, 8)).astype(np.float32)
    assert frame_consistency(embedding.repeat(4, axis=0)) == pytest.approx(100)
    assert math.isnan(frame_consistency(embedding))


def test_a_network_from_a_folder_scores_a_clip(clip_folder, clip):
    """End to end, as transformers itself would: the same logits, divided by its temperature."""
    found = ClipScorer(str(clip_folder)).scores(clip, "a red circle")
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    images = transformers.CLIPImageProcessorPil.from_pretrained(clip_folder)(images=list(clip), return_tensors="pt")
    texts = transformers.AutoTokenizer.from_pretrained(clip_folder)(["a red circle"], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**texts, **images)
        cosines = outputs.logits_per_image / model.logit_scale.exp()
    assert found["clip_text"] == pytest.approx(100 * float(cosines.mean()), abs=1e-3)
    assert found["clip_consistency"] == pytest.approx(frame_consistency(outputs.image_embeds.numpy()), abs=1e-3)
    assert ClipScorer(str(clip_folder)).scores(clip[:1].repeat(4, axis=0), "x")["clip_consistency"] == pytest.approx(
        100
    )


def test_frames_are_prepared_as_openai_does(clip_folder, clip):
    """224 px, the central square, bicubic, OpenAI's mean and deviation; without torchvision. What is cut off at the
    sides does not matter, the middle does."""
    (images, _), _ = ClipScorer(str(clip_folder))._network.load()
    assert type(images).__name__ == "CLIPImageProcessorPil"
    grey = np.full((1, 96, 128, 3), 128, np.uint8)
    (pixels,) = images(images=list(grey), input_data_format="channels_last", return_tensors="pt")["pixel_values"]
    assert pixels.shape == (3, 224, 224)
    mean, deviation = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    assert pixels[:, 100, 100].numpy() == pytest.approx((128 / 255 - mean) / deviation, abs=1e-3)
    scorer = ClipScorer(str(clip_folder))
    sides, middle = clip.copy(), clip.copy()
    sides[:, :, :10] = 0
    middle[:, :, 60:70] = 0
    expected = scorer.embed_frames(clip)
    assert scorer.embed_frames(sides) == pytest.approx(expected, abs=1e-5)
    assert np.abs(scorer.embed_frames(middle) - expected).max() > 1e-3


def test_many_frames_and_long_texts_do_not_break_it(clip_folder, clip, monkeypatch):
    """Frames go through in batches without changing, and words beyond the network's reach are cut off."""
    scorer = ClipScorer(str(clip_folder))
    at_once = scorer.embed_frames(clip)
    monkeypatch.setattr(clip_scores, "FRAMES_AT_ONCE", 2)
    assert scorer.embed_frames(clip) == pytest.approx(at_once, abs=1e-5)
    long = "a red circle on green grass " * 20
    assert scorer.embed_text(long) == pytest.approx(scorer.embed_text(long + "at night"), abs=1e-6)


def test_without_a_connection_the_user_is_told_what_to_do(monkeypatch):
    """One line that names the network, and no advice about control videos."""

    def no_connection(*args, **options):
        raise httpx.ConnectError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", no_connection)
    with pytest.raises(ModelUnavailable) as told:
        ClipScorer("nobody/clip").embed_text("a red circle")
    assert str(told.value) == (
        "the CLIP network nobody/clip is not on this machine and could not be fetched from the Hugging Face Hub: "
        "check the connection, or leave the CLIP scores out"
    )


def test_only_safetensors_and_only_clip(clip_folder, tmp_path):
    """A folder with pickled weights is refused, and so is another architecture, whose numbers do not compare."""
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for file in clip_folder.iterdir():
        if file.suffix != ".safetensors":
            (pickled / file.name).write_bytes(file.read_bytes())
    torch.save(transformers.CLIPModel.from_pretrained(clip_folder).state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="pickled could not be loaded: a file is missing, damaged or not safe"):
        ClipScorer(str(pickled)).embed_text("a red circle")
    siglip = tmp_path / "siglip"
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.SiglipConfig(text_config=small | {"vocab_size": 64}, vision_config=small | {"image_size": 32})
    transformers.SiglipModel(config).save_pretrained(siglip)
    transformers.SiglipImageProcessorPil().save_pretrained(siglip)
    with pytest.raises(ModelUnavailable, match="siglip is a siglip: choose a CLIP"):
        ClipScorer(str(siglip)).embed_text("a red circle")


def test_the_default_is_found_by_its_full_revision(monkeypatch):
    """Its main branch has no safetensors: every part is asked for at the revision that has them."""
    asked = []

    class Part:
        @classmethod
        def from_pretrained(cls, source, **options):
            asked.append((source, options.get("revision")))
            raise ValueError("enough")

    for name in ("AutoImageProcessor", "AutoTokenizer", "AutoModelForZeroShotImageClassification"):
        monkeypatch.setattr(transformers, name, Part)
    with pytest.raises(ModelUnavailable):
        ClipScorer().embed_text("a red circle")
    assert asked == [(clip_scores.VIT_B_32, clip_scores.REVISIONS[clip_scores.VIT_B_32])]
    assert len(asked[0][1]) == 40
