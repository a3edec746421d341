"""Texts of a job: a prompt for each frame, and what the text encoders get, with the words of a style, trigger words and
placeholders for learned words. Settings hold only what the user wrote; the rest is made of it again for every job.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from director.director import ChatModel, direct
from director.storyboard import load_storyboard, save_storyboard
from errors import InvalidSettings
from model_manager.builtin_models import ModelRow
from model_manager.prompt_notation import words_of
from model_manager.styles import Style
from model_manager.textual_inversion import mentions, placeholder, with_placeholders
from settings import DirectorSettings
from settings.user_files import words_for_name

MAX_QUOTED_CHARS = 160


@dataclass(frozen=True)
class EncoderPrompts:
    """Texts as a checkpoint's text encoders get them; ``frame_prompts``, if any, has one for each frame in place of
    ``prompt``, empty where the frame is a blend of its neighbours."""

    prompt: str
    negative_prompt: str
    frame_prompts: tuple[str, ...] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Return all of them."""
        return (self.prompt, self.negative_prompt, *(self.frame_prompts or ()))


def styled(written: EncoderPrompts, style: Style | None) -> EncoderPrompts:
    """Return the prompts with the words of a style, each frame's as well; without one as they are."""
    if style is None:
        return written
    frames = written.frame_prompts
    return EncoderPrompts(
        style.around(written.prompt),
        style.against(written.negative_prompt),
        None if frames is None else tuple(style.around(prompt) if prompt else "" for prompt in frames),
    )


def style_notes(prompts: EncoderPrompts, style: Style | None) -> Iterator[str]:
    """Yield a remark with the full texts that a style made of what the user wrote, of frame prompts the first."""
    if style is None:
        return
    label, text = "the prompt is", prompts.prompt
    if prompts.frame_prompts is not None:
        label, text = "the prompts of the frames begin with", next(filter(None, prompts.frame_prompts), "")
    against = f', the negative prompt "{prompts.negative_prompt}"' if prompts.negative_prompt else ""
    yield f'With the style {style.name} {label} "{text}"{against}.'


def encoder_prompts(written: EncoderPrompts, row: ModelRow, *, tokenizer: Any) -> EncoderPrompts:
    """Add a row's trigger words to prompts, and put placeholders, as far as ``tokenizer`` knows
    them, in place of learned words."""
    tokens = tokenizer.get_added_vocab()

    def expand(text: str, trigger: str = row.trigger) -> str:
        return with_placeholders(with_trigger(words_of(text), trigger), row.embeddings, tokens)

    frames = written.frame_prompts
    return EncoderPrompts(
        expand(written.prompt),
        expand(written.negative_prompt, trigger=""),
        None if frames is None else tuple(expand(prompt) if prompt else "" for prompt in frames),
    )


def frame_prompts(texts: Iterable[str], frames: int) -> tuple[str, ...] | None:
    """Return each frame's own prompt, empty where it is a blend, from the first of the texts that is not empty: a
    storyboard. None where all are empty; raises UserError."""
    storyboard = next(filter(str.strip, texts), None)
    if storyboard is None:
        return None
    prompts = load_storyboard(storyboard, frames)
    if len(prompts) != frames:
        raise InvalidSettings(f"storyboard: has {len(prompts)} frames, the video {frames}: make them the same number")
    return prompts


def directed(settings: DirectorSettings, chat_model: ChatModel) -> DirectorSettings:
    """Fill in the storyboard with prompts by a language model; those that are written are kept."""
    kept = {}
    if settings.storyboard.strip():
        prompts = load_storyboard(settings.storyboard, settings.num_frames)
        kept = {frame: prompt for frame, prompt in enumerate(prompts) if prompt}
    prompts = direct(settings.prompt, settings.num_frames, chat_model, kept)
    return settings.model_copy(update={"storyboard": save_storyboard(prompts)})


def prompt_notes(prompts: EncoderPrompts, row: ModelRow, *, tokenizer: Any) -> Iterator[str]:
    """Yield a remark for each learned word that does not fit the checkpoint, and for each text that is longer than the
    checkpoint reads."""
    for name in row.embeddings:
        if placeholder(name, 0) not in tokenizer.get_added_vocab():
            yield f"The embedding {name} was made for another kind of checkpoint and is read as plain words."
    from pipelines.prompt_weights import plain_text

    limit = tokenizer.model_max_length
    shown = [("prompt", prompts.prompt)]
    if prompts.frame_prompts is not None:
        shown = [(f"prompt of frame {frame}", prompt) for frame, prompt in enumerate(prompts.frame_prompts)]
    texts = (*shown, ("negative prompt", prompts.negative_prompt))
    for label, text in ((label, plain_text(text)) for label, text in texts):
        tokens = len(tokenizer(text, truncation=False, verbose=False).input_ids)
        if tokens > limit:
            rest = shortened(_beyond(text, limit, tokenizer))
            read = f"this checkpoint reads the first {limit} and ignores the rest: {rest}"
            yield f"The {label} is {tokens} tokens long; {read}"


def _beyond(text: str, limit: int, tokenizer: Any) -> str:
    """The end of a text that is left out where ``limit`` tokens are read, of which the last marks the end."""
    if getattr(tokenizer, "is_fast", False):
        places = tokenizer(text, truncation=False, verbose=False, return_offsets_mapping=True).offset_mapping
        return text[places[limit - 1][0] :].strip()
    left_out = tokenizer(text, truncation=False, verbose=False).input_ids[limit - 1 :]
    return tokenizer.decode(left_out, skip_special_tokens=True).strip()


def shortened(text: str) -> str:
    """A text in MAX_QUOTED_CHARS, its middle left out."""
    half = MAX_QUOTED_CHARS // 2
    return text if len(text) <= MAX_QUOTED_CHARS else f"{text[:half].rstrip()} … {text[-half:].lstrip()}"


def file_name(prompt: str, suffix: str) -> str:
    """A file name that says the prompt, in its own script: ``a-red-circle-moving-right.gif``."""
    return f"{words_for_name(prompt) or 'clip'}{suffix}"


def with_trigger(prompt: str, trigger: str) -> str:
    """The prompt with a checkpoint's trigger words before it, where it does not have them already."""
    return prompt if not trigger or mentions(prompt, trigger) else f"{trigger}, {prompt}"
