"""Text encoders by Hub id or folder, for a video model that is to read text in its own way: a BERT or a CLIP."""

import transformers

from errors import UserError, first_line
from utils import local_or_hub

KINDS = {"bert": "BertModel", "clip": "CLIPTextModel", "clip_text_model": "CLIPTextModel"}  # of transformers
MAX_TOKENS = 77  # as CLIP; a BERT reads more, which would cost every step attention to padding


def load_text_encoder(source: str) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    """Load the encoder, in float32, and its tokenizer; raises UserError where they are of another kind or absent."""
    try:
        kind = local_or_hub(source, lambda **where: transformers.AutoConfig.from_pretrained(source, **where)).model_type
        if kind not in KINDS:
            raise UserError(f"--text-encoder {source} is a {kind}: choose a BERT or a CLIP")
        reader = getattr(transformers, KINDS[kind])
        encoder = local_or_hub(
            source, lambda **where: reader.from_pretrained(source, use_safetensors=True, dtype="float32", **where)
        )
        tokenizer = local_or_hub(source, lambda **where: transformers.AutoTokenizer.from_pretrained(source, **where))
    except (OSError, ValueError) as error:
        raise UserError(f"--text-encoder {source} cannot be loaded: {first_line(error)}") from None
    tokenizer.model_max_length = min(MAX_TOKENS, tokenizer.model_max_length)
    return encoder, tokenizer
