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
        config = CONFIG_MAPPING[kind].from_dict(without_loading_keys(raw))
    except Exception as error:  # transformers raises whatever its many config classes raise
        raise UserError(f"config.json is not the config of a {kind} model: {first_line(error)}") from None
    if getattr(config, "use_pretrained_backbone", False):  # the default of some classes
        raise UserError(f"a {kind} model is built around another one that is fetched: it cannot be compressed")
    return config


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


def build_meta_model(config: Any) -> nn.Module:
    """The model of a config: parameters on the meta device, buffers (rotary frequencies) real, as transformers loads.

    The model gets a copy of the config, because layer dropping changes the counts in it.
    """
    import transformers
    from accelerate import init_empty_weights
    from transformers.modeling_utils import no_init_weights

    config = copy.deepcopy(config)
    names = getattr(config, "architectures", None)
    names = names if isinstance(names, list) else []
    named = [getattr(transformers, name, None) for name in names if isinstance(name, str)]
    classes = [c for c in named if isinstance(c, type) and issubclass(c, transformers.PreTrainedModel)]
    classes = [c for c in classes if isinstance(config, getattr(c, "config_class", None) or object)]
    make = classes[0] if classes else _from_model_type
    try:
        with no_init_weights(), init_empty_weights(include_buffers=True):
            trial = make(config)
        if sum(buffer.nbytes for buffer in trial.buffers()) > _MOST_BUFFERS:
            raise UserError("this config asks for buffers larger than any model's")
        with no_init_weights(), init_empty_weights(include_buffers=False):
            model = make(config)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"transformers cannot build a model of this config: {first_line(error)}") from None
    model.tie_weights()  # type: ignore[operator]
    return model.eval()


def _from_model_type(config: Any) -> nn.Module:
    import transformers

    for auto in (transformers.AutoModelForCausalLM, transformers.AutoModel):
        if type(config) in auto._model_mapping:
            return auto.from_config(config)
    raise UserError(f"config.json names no architecture, and model type {config.model_type!r} has no default one")


def set_tensor(model: nn.Module, name: str, value: Any) -> None:
    """Replace a parameter by a tensor of any shape, and adjust the feature counts of a linear layer."""
    path, _, last = name.rpartition(".")
    module = model.get_submodule(path)
    module._parameters[last] = nn.Parameter(value, requires_grad=False)
    if last == "weight" and isinstance(module, nn.Linear):
        module.out_features, module.in_features = value.shape
