"""What a checkpoint is really told: the user's words, its own trigger words, and placeholders for learned embeddings.

What the user wrote is what is recorded; this is made of it again for every job.
"""

import re
from collections.abc import Iterator
from typing import Any

from model_manager.textual_inversion import mentions, placeholder, with_placeholders


def told(settings: Any, row: Any, tokenizer: Any) -> Any:
    """Settings with their texts as a row's text encoders get them; ``tokenizer`` knows the embeddings that fit."""
    negative_prompt = with_placeholders(settings.negative_prompt, row.embeddings, tokenizer.get_added_vocab())
    return settings.model_copy(
        update={"prompt": told_prompt(settings.prompt, row, tokenizer), "negative_prompt": negative_prompt}
    )


def told_prompt(prompt: str, row: Any, tokenizer: Any) -> str:
    """A prompt as a row's text encoders get it."""
    return with_placeholders(with_trigger(prompt, row.trigger), row.embeddings, tokenizer.get_added_vocab())


def plain_words(row: Any, tokenizer: Any) -> Iterator[str]:
    """A remark for each embedding that is mentioned and does not fit the checkpoint."""
    for name in row.embeddings:
        if placeholder(name, 0) not in tokenizer.get_added_vocab():
            yield f"The embedding {name} was made for another kind of checkpoint and is read as plain words."


def file_name(prompt: str, suffix: str) -> str:
    """A file name that says the prompt: ``a-red-circle-moving-right.gif``."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    return f"{'-'.join(words)[:80].strip('-') or 'clip'}{suffix}"


def with_trigger(prompt: str, trigger: str) -> str:
    """The prompt with a checkpoint's trigger words before it, where it does not have them already."""
    return prompt if not trigger or mentions(prompt, trigger) else f"{trigger}, {prompt}"
