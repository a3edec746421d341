"""Agreement of frames with their text, and with each other, by CLIP (Radford et al., arXiv 2103.00020).

The default network is OpenAI's ViT-B/32, with which CLIPScore (arXiv 2104.08718) was introduced, and with which
EvalCrafter (arXiv 2310.11440) and VBench's background consistency (arXiv 2311.17982) report; torchmetrics' default is
ViT-L/14. Scores of different networks do not compare, so name the network with every table. The Text2Video-Zero paper
does not name the one behind its 31.19.
"""

import math
from typing import Any

import numpy as np

from annotators.base import Network, load_parts
from errors import ModelUnavailable
from settings.user_files import user_path
from utils import local_or_hub

VIT_B_32 = "openai/clip-vit-base-patch32"
# Its main branch has no safetensors. This revision adds them, converted by the Hub's own converter; by its full name it
# is found again without a connection.
REVISIONS = {VIT_B_32: "c237dc49a33fc61debc9276459120b7eac67e7ef"}
FRAMES_AT_ONCE = 16


def text_score(frames: np.ndarray, text: np.ndarray) -> float:
    """Return 100 x the cosine between each frame's embedding, (frames, d), and the text's, (d,), mean over frames.

    As in CLIPScore but times 100 instead of 2.5, which is how the paper's 31.19 is to be read, and without cutting
    negative values off.
    """
    return float(100 * (unit(frames) @ unit(text)).mean())


def frame_consistency(frames: np.ndarray) -> float:
    """Return 100 x the cosine of consecutive frames' embeddings, (frames, d), mean over pairs; NaN for one frame.

    Esser et al., arXiv 2302.03011. A still video has 100, the most there is: print the dynamic degree
    (``evaluation.metrics.is_dynamic``) beside it. Faster videos have more: thin them out first.
    """
    if len(frames) < 2:
        return math.nan
    return float(100 * (unit(frames[:-1]) * unit(frames[1:])).sum(axis=1).mean())


def unit(vectors: np.ndarray) -> np.ndarray:
    """Normalise the vectors along the last axis to length 1, in double precision."""
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class ClipNetwork(Network):
    """A CLIP from a Hub id or a folder, and its tokenizer, loaded when first used."""

    without_it = "leave the CLIP scores out"

    def __init__(self, source: str, device: str) -> None:
        super().__init__("the CLIP network", "AutoModelForZeroShotImageClassification", source, device)

    def _read(self) -> tuple[Any, Any]:
        """Load the image processor and the tokenizer, as a pair, and the model."""
        from transformers import AutoTokenizer

        revision = REVISIONS.get(self.source, "main")
        images, model = load_parts(self.kind, self.source, self.device, revision)
        if model.config.model_type != "clip":
            raise ModelUnavailable(
                f"{self.name} is a {model.config.model_type}: choose a CLIP, other scores do not compare"
            )
        options = {"revision": revision, "trust_remote_code": False}
        texts = local_or_hub(
            self.source, lambda **where: AutoTokenizer.from_pretrained(self.source, **options, **where)
        )
        return (images, texts), model


class ClipScorer:
    """Embeds frames and texts, and scores videos; ``source`` is a Hub id or a folder in the format of transformers.

    Frames are prepared as the checkpoint says: for OpenAI's, scaled (bicubic) until the shorter side is 224, cut to the
    central square, and normalised.
    """

    def __init__(self, source: str = VIT_B_32, device: str = "cpu") -> None:
        self._network = ClipNetwork(str(user_path(source)), device)

    @property
    def network(self) -> str:
        """Name of the network that scores: its Hub id, or the last part of a path on this machine."""
        return self._network.source_name

    def scores(self, frames: np.ndarray, prompt: str) -> dict[str, float]:
        """Return ``clip_text`` and ``clip_consistency`` of a video, uint8 (frames, height, width, 3).

        Raises ModelUnavailable.
        """
        embedded = self.embed_frames(frames)
        return {
            "clip_text": text_score(embedded, self.embed_text(prompt)),
            "clip_consistency": frame_consistency(embedded),
        }

    def embed_frames(self, frames: np.ndarray) -> np.ndarray:
        """Return one embedding per frame: float32 (frames, d)."""
        import torch

        (images, _), model = self._network.load()
        embedded = []
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            batch = list(frames[start : start + FRAMES_AT_ONCE])
            inputs = images(images=batch, input_data_format="channels_last", return_tensors="pt")
            with torch.inference_mode():
                pooled = model.vision_model(pixel_values=inputs["pixel_values"].to(model.device)).pooler_output
                embedded.append(model.visual_projection(pooled).cpu().numpy())
        return np.concatenate(embedded)

    def embed_text(self, text: str) -> np.ndarray:
        """Return the text's embedding, float32 (d,); words beyond the network's limit (77 tokens) are cut off."""
        import torch

        (_, texts), model = self._network.load()
        most = model.config.text_config.max_position_embeddings
        inputs = texts([text], truncation=True, max_length=most, return_tensors="pt")
        with torch.inference_mode():
            pooled = model.text_model(
                input_ids=inputs["input_ids"].to(model.device), attention_mask=inputs["attention_mask"].to(model.device)
            ).pooler_output
            return model.text_projection(pooled)[0].cpu().numpy()

    def release(self) -> None:
        """Free the network; the next video loads it again."""
        self._network.release()
