"""Notation in prompts beside words and weights, as people copy it from A1111 and ComfyUI.

What is carried out, the tags of LoRAs, leaves the text; of what is not, the words stay and one line names it. Weights
are carried out where texts are encoded (pipelines/prompt_weights.py); brackets of ordinary sentences are left alone.
"""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

MOST_SCALE = 10.0
BYTE_ORDER_MARK = "\ufeff"
_TAG = re.compile(r"<(lora|lyco|hypernet):([^<>:]+)((?::[^<>:]*)*)>", re.IGNORECASE)
_NUMBER = r"[+-]?\d*\.?\d+"


@dataclass(frozen=True)
class Notation:
    """Notation that is not carried out: how it is told in a text, its words, and how a line names it."""

    pattern: re.Pattern[str]
    words: str
    name: str


NOT_CARRIED_OUT = (
    Notation(re.compile(r"\bBREAK\b"), " ", "BREAK (the prompt is read as one)"),
    Notation(re.compile(r"(?<=[^A-Z\s])(\s+)AND(:" + _NUMBER + r")?(?=\s+[^A-Z\s])"), r"\1and", "AND (read as a word)"),
    Notation(
        re.compile(r"\[([^\[\]:|]*):([^\[\]:|]*):\s*" + _NUMBER + r"\s*\]"), r"\1 \2", "[from:to:when] (read as words)"
    ),
    Notation(re.compile(r"\[([^\[\]:|]+):\s*\d*\.\d+\s*\]"), r"\1", "[text:when] (read as words)"),
    Notation(re.compile(r"\[([^\[\]|]+)(?:\|[^\[\]|]*)+\]"), r"\1", "[one|other] (the first is taken)"),
    Notation(re.compile(r"\{([^{}|]+)(?:\|[^{}|]*)+\}"), r"\1", "{one|other} (the first is taken)"),
    Notation(re.compile(r"(?<!\w)__([\w/-]+?)__(?!\w)"), r"\1", "__wildcards__ (read as words)"),
)
_EMBEDDING = re.compile(r"(?<!\w)embedding:([\w.-]+)", re.IGNORECASE)


def words_of(text: str) -> str:
    """Return a text without tags and other notation, its weights as they are."""
    words = _EMBEDDING.sub(r"\1", _TAG.sub(" ", text.removeprefix(BYTE_ORDER_MARK)))
    for notation in NOT_CARRIED_OUT:
        words = notation.pattern.sub(notation.words, words)
    # Only where something has gone, so that every other prompt stays as it was written.
    return text if words == text else re.sub(r"(\s*,)+(?=\s*,)", "", " ".join(words.split())).strip(" ,")


def tagged_loras(text: str) -> dict[str, float]:
    """Return the scales of LoRAs by the names that tags in a text have for them; the last of each name counts."""
    tags = (match.groups() for match in _TAG.finditer(text))
    found = {name.strip(): _scale(rest) for kind, name, rest in tags if kind.lower() != "hypernet"}
    return {name: scale for name, scale in found.items() if scale is not None}


def _scale(rest: str) -> float | None:
    """The scale in the end of a tag, ``:0.8`` or ``:te:unet``; 1 where none is written, None for what is no number."""
    numbers = [part.strip() for part in rest.split(":")[1:]]
    if not numbers:
        return 1.0
    try:
        scale = float(numbers[0].replace(",", "."))
    except ValueError:
        return None
    return scale if math.isfinite(scale) and abs(scale) <= MOST_SCALE else None


def notation_notes(texts: Iterable[str], loras: Collection[str], embeddings: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for each notation in prompts that is not carried out.

    Args:
        texts: as the user wrote them.
        loras: names of tags that are applied.
        embeddings: learned words that are.
    """
    text = "\n".join(texts)
    wrong = [match.group() for match in _TAG.finditer(text) if _is_wrong(match, loras)]
    for tag in dict.fromkeys(wrong):
        yield f"{tag[:80]} in the prompt is left out: no such file is offered here, or its number is none."
    absent = [name for name in _EMBEDDING.findall(text) if name.lower() not in {known.lower() for known in embeddings}]
    for name in dict.fromkeys(absent):
        yield f"embedding:{name[:60]} in the prompt is read as words: no such embedding is offered here."
    named = [notation.name for notation in NOT_CARRIED_OUT if notation.pattern.search(text)]
    if named:
        yield f"Not carried out in the prompt: {'; '.join(named)}."


def _is_wrong(tag: re.Match[str], loras: Collection[str]) -> bool:
    return tag[1].lower() == "hypernet" or tag[2].strip() not in loras or _scale(tag[3]) is None
