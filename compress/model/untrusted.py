"""Keys of a model's JSON files by which transformers would fetch or run code or weights from elsewhere.

A model of a stranger can be wrong, never dangerous: these keys are left out wherever they stand, whatever they say.
Which attention is used, for one, is not for the file to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from compress.errors import UserError

# Without leading underscores, which transformers uses for some of them.
LOADING_KEYS = frozenset(
    {
        "audio_tokenizer",  # a model that the processor loads
        "audio_tokenizer_class",
        "audio_tokenizer_name_or_path",
        "auto_map",  # classes in files beside the model
        "backbone",  # a checkpoint of the hub or of timm
        "backbone_kwargs",
        "code_revision",
        "custom_generate",
        "custom_pipelines",
        "kernel_config",
        "name_or_path",
        "trust_remote_code",
        "use_kernels",
        "use_pretrained_backbone",
        "use_timm_backbone",
    }
)
IMPLEMENTATION = re.compile(r".*(attn|attention|experts)_implementation.*")  # "owner/name" is a kernel of the hub
MOST_DEPTH = 16
MOST_NEW_TOKENS = 4096
# Entries of a generation config that say what the tokens of this model mean, or which it must not say. How it is
# decoded (beams, sampling, how long, with which cache) is not for the file to say.
GENERATION_KEYS = frozenset(
    {
        "bad_words_ids",
        "begin_suppress_tokens",
        "bos_token_id",
        "decoder_start_token_id",
        "encoder_no_repeat_ngram_size",
        "encoder_repetition_penalty",
        "eos_token_id",
        "forced_bos_token_id",
        "forced_decoder_ids",
        "forced_eos_token_id",
        "is_multilingual",
        "lang_to_id",
        "no_repeat_ngram_size",
        "no_timestamps_token_id",
        "pad_token_id",
        "prev_sot_token_id",
        "remove_invalid_values",
        "repetition_penalty",
        "suppress_tokens",
        "task_to_id",
        "transformers_version",
    }
)


def is_loading_key(key: object) -> bool:
    """Whether a key of this name may make transformers load code or another model."""
    return isinstance(key, str) and (key.lstrip("_") in LOADING_KEYS or IMPLEMENTATION.fullmatch(key) is not None)


def without_loading_keys(value: Any, depth: int = 0) -> Any:
    """The parsed JSON without those keys, at any depth."""
    if depth > MOST_DEPTH:
        raise UserError("a JSON file of this model is nested deeper than any config")
    if isinstance(value, dict):
        return {key: without_loading_keys(inner, depth + 1) for key, inner in value.items() if not is_loading_key(key)}
    if isinstance(value, list):
        return [without_loading_keys(inner, depth + 1) for inner in value]
    return value


def without_decoding_settings(generation: Mapping[str, Any]) -> dict[str, Any]:
    """A generation config's entries on tokens only, and how many new ones are usual: for a plain `generate`."""
    kept = {key: value for key, value in generation.items() if key in GENERATION_KEYS}
    usual = generation.get("max_new_tokens")
    return kept | ({"max_new_tokens": usual} if type(usual) is int and 0 < usual <= MOST_NEW_TOKENS else {})
