"""Chat models of transformers on this machine, as one callable, ``complete(messages) -> text``."""

import logging
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from director.director import ChatModel, Messages
from errors import DirectorError, ModelUnavailable
from model_manager.discovery import name_of
from utils import LOADING_ERRORS, local_or_hub, memory_errors

logger = logging.getLogger(__name__)
TIMEOUT_S = 300.0
MAX_NEW_TOKENS = 4096


def local(
    source: str, device: str = "cpu", *, timeout_s: float = TIMEOUT_S, max_new_tokens: int = MAX_NEW_TOKENS
) -> ChatModel:
    """Return a chat model from a folder or the Hub, loaded when first asked and kept as long as the callable is; it
    answers one request at a time. Safetensors only, no remote code.

    The callable raises ModelUnavailable, and DirectorError for an answer that takes longer than ``timeout_s``.
    """
    load, lock = cache(lambda: load_chat_model(source, device)), threading.Lock()

    def complete(messages: Messages) -> str:
        import torch

        with lock:
            tokenizer, model = load()
            begun = time.monotonic()
            try:
                with memory_errors():
                    text = _generate(tokenizer, model, messages, max_new_tokens=max_new_tokens, max_time=timeout_s)
            except torch.OutOfMemoryError:
                raise ModelUnavailable(f"the language model ran out of the memory of {device}") from None
        if time.monotonic() - begun >= timeout_s:
            raise DirectorError(f"the language model did not answer within {timeout_s:g} seconds: take a smaller one")
        return text

    return complete


def _generate(tokenizer: Any, model: Any, messages: Messages, **limits: float) -> str:
    import torch

    try:
        inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    except Exception as error:  # the template is the checkpoint's own program
        logger.info("the chat template failed", exc_info=True)
        raise ModelUnavailable(f"the language model is not one to chat with ({type(error).__name__})") from None
    with torch.inference_mode():
        tokens = model.generate(
            **inputs.to(model.device), do_sample=False, pad_token_id=tokenizer.eos_token_id, **limits
        )
    return tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def load_chat_model(source: str, device: str) -> tuple[Any, Any]:
    """Load the tokenizer and the model, in its own precision, onto the device; raises ModelUnavailable."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    name = name_of(source) if Path(source).exists() else source

    def read(**where: bool) -> tuple[Any, Any]:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False, **where)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            source, trust_remote_code=False, use_safetensors=True, dtype="auto", **where
        )
        return tokenizer, model.to(device).eval()

    logger.info("loading %s on %s", name, device)
    try:
        return local_or_hub(source, read)
    except LOADING_ERRORS as error:
        logger.info("loading %s failed", name, exc_info=True)
        raise ModelUnavailable(
            f"the language model {name} could not be loaded ({type(error).__name__}): it must be in safetensors, fit "
            "into memory, and be on this machine or the Hugging Face Hub"
        ) from error
