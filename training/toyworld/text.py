"""The toy world's words: a CLIP tokenizer, and a small CLIP whose text half conditions the denoiser.

The text encoder is trained first and then frozen, as CLIP is for Stable Diffusion: contrastively with an image
encoder (Radford et al. 2021, section 2.3), and to predict the scene's attributes from its pooled token, without
which "left" and "right" would end up as nearly the same vector.
"""

import logging
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from toyworld.captions import caption
from toyworld.scene import ACTIONS, BACKGROUNDS, BLOB, COLOURS, POSITIONS, SHAPES, SIZES, Scene
from toyworld.splits import SIZE_PX, scene_at
from training.loop import run_steps, take_step
from training.toyworld.data import Pool

logger = logging.getLogger(__name__)
MAX_TOKENS = 32
WIDTH = 128
IMAGE_MEAN, IMAGE_STD = 0.5, 0.5

_KINDS = ("one", "side by side", "one above the other", "figure")
_SHAPES = (*SHAPES, BLOB)
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "kind": _KINDS,
    "background": BACKGROUNDS,
    "shape": _SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "position": POSITIONS,
    "second shape": _SHAPES,
    "second colour": tuple(COLOURS),
    "shirt": tuple(COLOURS),
    "trousers": tuple(COLOURS),
    "action": tuple(ACTIONS),
}
UNKNOWN = -100  # what cross entropy ignores


def attributes(scene: Scene) -> list[int]:
    """Return the scene's attributes as indices into ATTRIBUTES, UNKNOWN where one does not apply.

    Of two objects the left or the upper one is the first.
    """
    named: dict[str, str | None] = {"background": scene.background}
    if scene.figures:
        figure = scene.figures[0]
        named |= {"kind": "figure", "shirt": figure.shirt, "trousers": figure.trousers, "action": figure.action}
    elif len(scene.objects) == 2:
        first, second = scene.objects
        sideways = abs(first.x - second.x) > abs(first.y - second.y)
        if (second.x < first.x) if sideways else (second.y < first.y):
            first, second = second, first
        named |= {"kind": _KINDS[1] if sideways else _KINDS[2]}
        named |= {"shape": first.shape, "colour": first.colour}
        named |= {"second shape": second.shape, "second colour": second.colour}
    else:
        thing = scene.objects[0]
        named |= {"kind": "one", "shape": thing.shape, "colour": thing.colour}
        named |= {"size": thing.size, "position": thing.position}
    values = (named.get(name) for name in ATTRIBUTES)
    return [
        UNKNOWN if value is None else options.index(value)
        for value, options in zip(values, ATTRIBUTES.values(), strict=True)
    ]


def build_tokenizer(texts: list[str], vocabulary: int = 1024) -> CLIPTokenizer:
    """Train a tokenizer in CLIP's format (lower case, byte-level BPE, ``</w>`` ends a word) on ``texts``."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False)])
    learner.decoder = decoders.BPEDecoder(suffix="</w>")
    room = vocabulary - 2 * len(alphabet) - 2
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        _, merges_path = learner.model.save(folder)
        lines = Path(merges_path).read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#")][:room]
    tokens = [*alphabet, *(f"{byte}</w>" for byte in alphabet), *dict.fromkeys("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token="<|endoftext|>", model_max_length=MAX_TOKENS)


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Save in today's format and, for older readers and single-file tools, as ``vocab.json`` and ``merges.txt``."""
    tokenizer.save_pretrained(folder)
    tokenizer.backend_tokenizer.model.save(str(folder))


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Return token ids, int64 (texts, MAX_TOKENS), padded as Stable Diffusion pads."""
    return tokenizer(texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt").input_ids


def build_clip(tokenizer: CLIPTokenizer, width: int = WIDTH) -> CLIPModel:
    """Build a small CLIP: text and image transformers of four layers, with heads of 32 channels."""
    shared = {
        "hidden_size": width,
        "num_hidden_layers": 4,
        "num_attention_heads": width // 32,
        "intermediate_size": 4 * width,
    }
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(
        text_config=shared
        | ends
        | {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": MAX_TOKENS,
            "pad_token_id": tokenizer.pad_token_id,
            "projection_dim": width,
        },
        vision_config=shared | {"image_size": SIZE_PX, "patch_size": 16, "projection_dim": width},
        projection_dim=width,
    )
    return CLIPModel(config)


def as_pixels(images: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Convert uint8 (n, h, w, 3) to float32 (n, 3, h, w) in -1..1, the input of CLIP and of the autoencoder."""
    pixels = images if isinstance(images, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    return rearrange(pixels, "n h w c -> n c h w").float() / 127.5 - 1


@dataclass(frozen=True)
class Described:
    """Pictures, uint8 (n, SIZE_PX, SIZE_PX, 3), with a text for each, and perhaps more texts after those.

    ``truth``, int64 (texts, attributes), are the attributes of each text, UNKNOWN where one does not apply.
    """

    images: np.ndarray | torch.Tensor
    texts: list[str]
    truth: np.ndarray


@dataclass(frozen=True)
class ClipCourse:
    """Hyperparameters of a CLIP's training; the text half's accuracy on the ``watched`` attributes is logged."""

    steps: int
    device: str = "cpu"
    deadline: float = math.inf
    watched: tuple[str, ...] = ("position",)


def learn_clip(
    path: Path,
    tokenizer: CLIPTokenizer,
    model: CLIPModel,
    examples: Callable[[np.random.Generator], Described],
    classes: dict[str, int],
    course: ClipCourse,
) -> None:
    """Train ``model`` in place, resuming from ``path``; it ends in evaluation mode.

    It learns contrastively, and to predict attributes with so many ``classes`` each.
    """
    device, width = course.device, model.config.projection_dim
    model.to(device)
    all_heads = {
        half: nn.ModuleList(nn.Linear(width, count) for count in classes.values()) for half in ("text", "image")
    }
    heads = nn.ModuleDict(all_heads).to(device)
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=course.steps, pct_start=0.1)

    def step(index: int) -> dict[str, float]:
        shown = examples(np.random.default_rng([3, index]))
        count = len(shown.images)
        tokens = tokenize(tokenizer, shown.texts).to(device)
        truth = torch.from_numpy(shown.truth).to(device)
        with torch.autocast(device, torch.bfloat16):
            text = model.text_model(tokens).pooler_output
            image = model.vision_model(as_pixels(shown.images).to(device)).pooler_output
            text_features = nn.functional.normalize(model.text_projection(text[:count]), dim=-1)
            image_features = nn.functional.normalize(model.visual_projection(image), dim=-1)
            logits = (model.logit_scale.exp().clamp(max=100) * text_features @ image_features.T).float()
            guesses = {
                half: [head(pooled).float() for head in all_heads[half]]
                for half, pooled in (("text", text), ("image", image))
            }
        target = torch.arange(count, device=device)
        contrast = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
        losses = [
            nn.functional.cross_entropy(guess, truth[: len(guess), column], ignore_index=UNKNOWN)
            for half in guesses.values()
            for column, guess in enumerate(half)
            if (truth[: len(guess), column] != UNKNOWN).any()
        ]
        described = torch.stack(losses).sum()
        (contrast + 0.5 * described).backward()
        take_step(model, optimizer, schedule)
        seen = {"contrast": contrast.item(), "attributes": described.item()}
        for name in course.watched:
            column = list(classes).index(name)
            known = truth[:, column] != UNKNOWN
            right = guesses["text"][column].argmax(-1)[known] == truth[known, column]
            seen[f"{name} from text"] = right.float().mean().item()
        return seen

    parts = {"model": model, "heads": heads, "optimizer": optimizer, "schedule": schedule}
    run_steps(path, course.steps, parts, step, device=device, deadline=course.deadline)
    model.float().eval()


def train_clip(folder: Path, pool: Pool, steps: int, device: str, batch: int = 192) -> tuple[CLIPTokenizer, CLIPModel]:
    """Train tokenizer and CLIP, resuming from ``folder``; return both, the CLIP in float32 and evaluation mode."""
    random = np.random.default_rng(0)
    tokenizer = build_tokenizer([caption(scene_at(index), random) for index in range(6000)])
    torch.manual_seed(0)
    model = build_clip(tokenizer)

    def examples(random: np.random.Generator) -> Described:
        chosen = np.sort(random.choice(len(pool), batch, replace=False))
        scenes = [scene_at(int(number)) for number in chosen]
        texts = [caption(scene, random) for scene in scenes]
        return Described(pool.images[chosen], texts, np.array([attributes(scene) for scene in scenes]))

    classes = {name: len(options) for name, options in ATTRIBUTES.items()}
    learn_clip(folder / "clip.pt", tokenizer, model, examples, classes, ClipCourse(steps, device))
    return tokenizer, model
