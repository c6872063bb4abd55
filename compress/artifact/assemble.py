"""A working model and processor from tensors and auxiliary files: what loading and residents share."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.errors import UserError, first_line, parse_json
from compress.model.aux_files import ALWAYS, SLOW
from compress.model.meta_model import tie_head
from compress.model.untrusted import without_decoding_settings, without_loading_keys

# What processors and tokenizers are made by.
_CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json")


def prepare_model(model: nn.Module, device: str | torch.device, files: Mapping[str, bytes]) -> None:
    """Tie weights, move buffers, read the generation config, set eval mode. Refuses missing weights."""
    from transformers import GenerationConfig

    tie_head(model)
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)
    missing = [name for name, value in model.named_parameters() if value.is_meta]
    if missing:
        raise UserError(f"no weights for {missing[0]} ({len(missing)} tensors missing in total)")
    if "generation_config.json" in files:
        settings = without_decoding_settings(without_loading_keys(_json_object(files, "generation_config.json")))
        with tempfile.TemporaryDirectory() as folder:  # generate accepts only what from_pretrained makes
            (Path(folder) / "generation_config.json").write_text(json.dumps(settings))
            try:
                model.generation_config = GenerationConfig.from_pretrained(folder)
            except Exception as error:  # transformers raises many kinds
                raise UserError(f"generation_config.json of this model is not valid: {first_line(error)}") from None
    elif isinstance(of_config := getattr(model, "generation_config", None), GenerationConfig):
        model.generation_config = GenerationConfig(**without_decoding_settings(of_config.to_dict()))
    model.eval()


def load_processor(files: Mapping[str, bytes]) -> Any:
    """The processor of a model with audio or images, the tokenizer of a text model; None without either."""
    from transformers import AutoProcessor, AutoTokenizer

    names = set(files)
    if "preprocessor_config.json" in names:
        _check_features(_json_object(files, "preprocessor_config.json"))
    if "tokenizer.json" in names:
        _check_merges(_json_object(files, "tokenizer.json"))
    with tempfile.TemporaryDirectory() as folder:
        for name in names & {*ALWAYS, *SLOW}:  # whatever else there is, transformers must not find it
            (Path(folder) / name).write_bytes(files[name])
        for name in names & set(_CONFIGS):
            settings = without_loading_keys(_json_object(files, name))
            (Path(folder) / name).write_text(json.dumps(settings))
        try:
            if names & {"preprocessor_config.json", "processor_config.json"}:
                return AutoProcessor.from_pretrained(folder, trust_remote_code=False)
            if names & {"tokenizer.json", "vocab.json", "tokenizer.model", "vocab.txt"}:
                return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic of tokenizers is not an Exception
            raise UserError(f"the processor of this model does not load: {first_line(error)}") from None
    return None


def _check_features(table: dict[str, Any]) -> None:
    """Refuse sizes of filter banks that would take gigabytes of memory."""
    sizes = {key: table.get(key, 1) for key in ("feature_size", "n_fft", "chunk_length", "sampling_rate", "n_samples")}
    for key, size in sizes.items():
        if not isinstance(size, (int, float)) or not 0 < size < 1 << 24:
            raise UserError(f"preprocessor_config.json gives {key} as {str(size)[:40]}; no model has that")
    if sizes["feature_size"] * sizes["n_fft"] > 1 << 24 or sizes["chunk_length"] * sizes["sampling_rate"] > 1 << 26:
        raise UserError("preprocessor_config.json asks for features larger than any model's")


def _check_merges(table: dict[str, Any]) -> None:
    """`tokenizers` cuts the prefix off the second half of each merge unchecked, and panics where it is missing."""
    model = table.get("model")
    prefix = model.get("continuing_subword_prefix") if isinstance(model, dict) else None
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(prefix, str) or not prefix or not isinstance(merges, list):
        return
    for merge in merges:
        halves = merge.split(" ") if isinstance(merge, str) else merge
        second = halves[1] if isinstance(halves, list) and len(halves) == 2 else None
        if not isinstance(second, str) or not second.startswith(prefix):
            raise UserError("tokenizer.json has a continuing_subword_prefix that its merges do not begin with")


def _json_object(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    complaint = f"{name} of this model is not a JSON object"
    table = parse_json(files[name], complaint)
    if not isinstance(table, dict):
        raise UserError(complaint)
    return table
