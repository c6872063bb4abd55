"""A model without weights: built from its config on the meta device, so that even 16.8 GB cost nothing."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from torch import nn

from compress.errors import Refusal


def read_config(folder: Path) -> Any:
    """The transformers config of a folder. Only classes of transformers itself: no remote code."""
    import transformers

    path = folder / "config.json"
    if not path.is_file():
        raise Refusal(f"{folder} holds no config.json; give the folder of a transformers checkpoint")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return config_from_dict(raw)
    except Refusal:
        raise
    except Exception as error:  # transformers raises whatever its many config classes raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refusal(f"{path} is not a config transformers {transformers.__version__} reads: {first}") from None


def config_from_dict(raw: object) -> Any:
    """A config object from the parsed config.json, for a model type that transformers knows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if not isinstance(raw, dict) or not isinstance(raw.get("model_type"), str):
        raise Refusal("config.json names no model_type; give the config of a transformers model")
    kind = raw["model_type"]
    if kind not in CONFIG_MAPPING:
        raise Refusal(f"model type {kind!r} is unknown to this version of transformers")
    return CONFIG_MAPPING[kind].from_dict({k: v for k, v in raw.items() if k != "auto_map"})


def build_skeleton(config: Any) -> nn.Module:
    """The model of a config: parameters on the meta device, buffers (rotary frequencies) real.

    The model gets a config of its own, since dropping layers changes what its config counts.
    """
    import transformers
    from accelerate import init_empty_weights

    config = copy.deepcopy(config)
    names = getattr(config, "architectures", None) or []
    found = [getattr(transformers, name, None) for name in names if isinstance(name, str)]
    classes = [c for c in found if isinstance(c, type) and issubclass(c, transformers.PreTrainedModel)]
    try:
        with init_empty_weights(include_buffers=False):
            model = classes[0](config) if classes else _by_type(config)
    except Refusal:
        raise
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refusal(f"transformers cannot build a model of this config: {first}") from None
    model.tie_weights()  # type: ignore[operator]
    return model.eval()


def _by_type(config: Any) -> nn.Module:
    import transformers

    for auto in (transformers.AutoModelForCausalLM, transformers.AutoModel):
        if type(config) in auto._model_mapping:
            return auto.from_config(config)
    raise Refusal(f"config.json names no architecture, and model type {config.model_type!r} has no default one")
