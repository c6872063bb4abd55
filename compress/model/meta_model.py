"""Meta models: models without weights, built from a config on the meta device, and filled tensor by tensor."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from torch import nn

from compress.errors import UserError, first_line
from compress.model.untrusted import without_loading_keys

_MOST_LAYERS = 1024
_MOST_SIZE = 1 << 31
_MOST_BUFFERS = 1 << 28  # bytes


def read_config(folder: Path) -> Any:
    """The transformers config of a folder. Only classes of transformers itself: no remote code."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no config.json; give the folder of a transformers checkpoint")
    try:
        return config_from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {first_line(error)}") from None


def config_from_dict(raw: object) -> Any:
    """The config object of a parsed config.json, for a model type that transformers knows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if not isinstance(raw, dict) or not isinstance(raw.get("model_type"), str):
        raise UserError("config.json names no model_type; give the config of a transformers model")
    _check_sizes(raw)
    kind = raw["model_type"]
    if kind not in CONFIG_MAPPING:
        raise UserError(f"model type {kind!r} is unknown to this version of transformers")
    try:
        config = CONFIG_MAPPING[kind].from_dict(with_rope_of_this_version(without_loading_keys(raw)))
    except Exception as error:  # transformers raises whatever its many config classes raise
        raise UserError(f"config.json is not the config of a {kind} model: {first_line(error)}") from None
    if getattr(config, "use_pretrained_backbone", False):  # the default of some classes
        raise UserError(f"a {kind} model is built around another one that is fetched: it cannot be compressed")
    return config


def with_rope_of_this_version(raw: dict[str, Any]) -> dict[str, Any]:
    """A config written by transformers 5 as transformers 4 reads it.

    The former keeps the settings of rotary embeddings under `rope_parameters`; the latter would not see them there, and
    rotate by its default.
    """
    import transformers

    if int(transformers.__version__.split(".")[0]) >= 5:
        return raw
    translated = {n: with_rope_of_this_version(v) if isinstance(v, dict) else v for n, v in raw.items()}
    rope = translated.pop("rope_parameters", None)
    if rope is None:
        return translated
    if not isinstance(rope, dict) or not isinstance(rope.get("rope_type", "default"), str):
        raise UserError("config.json: rope_parameters are none that this version of transformers knows")
    rope = dict(rope)
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in rope:
            translated[key] = rope.pop(key)
    if any(isinstance(value, dict) for value in rope.values()):
        raise UserError("config.json: rope_parameters differ by layer; that needs transformers 5")
    if rope.get("rope_type", "default") != "default":
        translated["rope_scaling"] = rope
    return translated


def _check_sizes(value: object, depth: int = 0) -> None:
    """Refuse counts that no model has, before a model is built from them, and models that are quantized."""
    if depth > 8:
        raise UserError("config.json is nested deeper than any config")
    if isinstance(value, dict):
        if {"quantization_config", "compression_config"} & value.keys():
            raise UserError("this model is quantized already; give the original checkpoint")
        for key, inner in value.items():
            counts = isinstance(key, str) and any(word in key for word in ("layers", "experts", "blocks"))
            if type(inner) is int and (abs(inner) > _MOST_SIZE or (counts and inner > _MOST_LAYERS)):
                raise UserError(f"config.json gives {key} as {inner}; no model has that")
            _check_sizes(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_sizes(inner, depth + 1)


def _no_init_weights() -> Any:
    """transformers' context in which a new model draws no weights; transformers 5 has it in a module of its own."""
    try:
        from transformers.initialization import no_init_weights
    except ImportError:
        from transformers.modeling_utils import no_init_weights
    return no_init_weights()


def build_meta_model(config: Any) -> nn.Module:
    """The model of a config: parameters on the meta device, buffers (rotary frequencies) real, as transformers loads.

    The model gets a copy of the config, because layer dropping changes the counts in it.
    """
    import transformers
    from accelerate import init_empty_weights

    config = copy.deepcopy(config)
    names = getattr(config, "architectures", None)
    names = names if isinstance(names, list) else []
    named = [getattr(transformers, name, None) for name in names if isinstance(name, str)]
    classes = [c for c in named if isinstance(c, type) and issubclass(c, transformers.PreTrainedModel)]
    classes = [c for c in classes if isinstance(config, getattr(c, "config_class", None) or object)]
    make = classes[0] if classes else _from_model_type
    try:
        with _no_init_weights(), init_empty_weights(include_buffers=True):
            trial = make(config)
        if sum(buffer.nbytes for buffer in trial.buffers()) > _MOST_BUFFERS:
            raise UserError("this config asks for buffers larger than any model's")
        with _no_init_weights(), init_empty_weights(include_buffers=False):
            model = make(config)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"transformers cannot build a model of this config: {first_line(error)}") from None
    tie_head(model)
    return model.eval()


def tie_head(model: Any) -> None:
    """Make head and embedding one tensor where the config says so.

    Not all versions of transformers do it for models around a language model (5 never does for Qwen2-Audio).
    """
    model.tie_weights()
    text = model.config.get_text_config(decoder=True)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    both = head is not None and embedding is not None and head.weight.shape == embedding.weight.shape
    if both and getattr(text, "tie_word_embeddings", False):
        head.weight = embedding.weight


def _from_model_type(config: Any) -> nn.Module:
    import transformers

    if type(config) in transformers.AutoModelForCausalLM._model_mapping:
        return transformers.AutoModelForCausalLM.from_config(config)
    if type(config) in transformers.AutoModel._model_mapping:
        base = transformers.AutoModel._model_mapping[type(config)]
        name = f"{base.__name__.removesuffix('Model')}ForConditionalGeneration"  # the one with an output head
        return getattr(transformers, name, base)(config)
    raise UserError(f"config.json names no architecture, and model type {config.model_type!r} has no default one")


def set_tensor(model: nn.Module, name: str, value: Any) -> None:
    """Replace a parameter by a tensor of any shape, and adjust the feature counts of a linear layer."""
    path, _, last = name.rpartition(".")
    module = model.get_submodule(path)
    module._parameters[last] = nn.Parameter(value, requires_grad=False)
    if last == "weight" and isinstance(module, nn.Linear):
        module.out_features, module.in_features = value.shape
