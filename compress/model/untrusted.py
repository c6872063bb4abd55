"""Keys of a model's JSON files by which transformers would fetch or run code or weights from elsewhere.

A model of a stranger can be wrong, never dangerous: these keys are left out wherever they stand, whatever they say.
Which attention is used, for one, is not for the file to say.
"""

from __future__ import annotations

from typing import Any

from compress.errors import UserError

# Without leading underscores, which transformers uses for some of them.
LOADING_KEYS = frozenset(
    {
        "attn_implementation",  # "owner/name" is a kernel of the hub
        "attn_implementation_internal",
        "audio_tokenizer",  # a model that the processor loads
        "auto_map",  # classes in files beside the model
        "backbone",  # a checkpoint of the hub or of timm
        "backbone_kwargs",
        "custom_generate",
        "custom_pipelines",
        "experts_implementation",
        "name_or_path",
        "trust_remote_code",
        "use_kernels",
        "use_pretrained_backbone",
        "use_timm_backbone",
    }
)
MOST_DEPTH = 16


def without_loading_keys(value: Any, depth: int = 0) -> Any:
    """The parsed JSON without those keys, at any depth."""
    if depth > MOST_DEPTH:
        raise UserError("a JSON file of this model is nested deeper than any config")
    if isinstance(value, dict):
        return {
            key: without_loading_keys(inner, depth + 1)
            for key, inner in value.items()
            if not (isinstance(key, str) and key.lstrip("_") in LOADING_KEYS)
        }
    if isinstance(value, list):
        return [without_loading_keys(inner, depth + 1) for inner in value]
    return value
