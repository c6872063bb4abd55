"""A model that stays in memory while policies change: only the units whose variant differs are swapped.

After `apply` the model is bit for bit what loading the artifact of that policy gives. Original weights are read from
the checkpoint again when they are needed, so that one copy of the model is held and not two.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compress.artifact.adapters import merge_adapter
from compress.artifact.artifact import load
from compress.artifact.assemble import load_processor, prepare_model
from compress.codecs import Codec, codec
from compress.kernels.dispatch import ahead
from compress.model.layers import LayerDropper
from compress.model.meta_model import build_meta_model, config_from_dict, set_tensor, tie_head
from compress.model.source import Source
from compress.model.structure import Unit
from compress.model.vocabulary import FULL, vocabulary_files
from compress.policy.policy import Policy
from compress.policy.store import Store
from compress.policy.variant import EncodeOptions, is_original, unit_vocabulary, variant_key, variant_payload
from compress.policy.variant_cache import VariantCache

_ORIGINAL, _UNDEFINED = "original", "undefined"


@dataclass(frozen=True)
class _Swap:
    """A unit that changes: as the checkpoint has it, as the vocabulary leaves it, and the variant that it becomes."""

    unit: Unit
    resized: Unit
    codec: Codec
    key: str


class Resident:
    """One model on one device, and the policy applied to it.

    Up to `cache_bytes` of main memory hold variants as they were read, so that one that comes again costs neither the
    disk nor the entropy coder. `model` and `processor` are new objects after a policy with another vocabulary, and the
    same ones otherwise: read these attributes each time.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        dtype: torch.dtype | None = None,
        device: str | torch.device = "cpu",
        cache_bytes: int = 0,
    ) -> None:
        self.source = source
        self.store = store
        self.device = torch.device(device)
        self.model, self.processor = load(source, dtype, self.device)
        self.dtype: torch.dtype = self.model.dtype
        self._vocabulary = FULL
        self._layers = LayerDropper(self.model, source.structure)
        self._cache = VariantCache(cache_bytes)
        self._applied = dict.fromkeys(source.structure.units, _ORIGINAL)  # unit -> key of its variant

    def apply(self, policy: Policy) -> tuple[str, ...]:
        """Make the model that of a policy. Returns the units that were swapped."""
        policy.check(self.source.structure, self.source.digest)
        options = EncodeOptions(policy.vocabulary, policy.calibration)
        # Parameters have their names in the whole model: put every layer in place before touching any.
        self._layers.set_dropped(())
        self._use_vocabulary(policy.vocabulary)
        swaps: list[_Swap] = []
        for unit in policy.remaining_units(self.source.structure):
            level = policy.levels[unit.name]
            original = is_original(self.source, unit, level, options)
            key = _ORIGINAL if original else variant_key(self.source, unit, level, options, self.store)
            if self._applied[unit.name] != key:
                vocabulary = unit_vocabulary(self.source, unit, options.vocabulary, self.store)
                swaps.append(_Swap(unit, unit if vocabulary is None else vocabulary.resize(unit), codec(level), key))
        reads = ahead(self._read, [swap for swap in swaps if swap.key != _ORIGINAL])
        for swap in swaps:
            if swap.key == _ORIGINAL:
                self._restore(swap.unit)
            else:
                self._swap(swap, next(reads), options)
        self._finish(policy.dropped)
        return tuple(swap.unit.name for swap in swaps)

    def restore(self) -> tuple[str, ...]:
        """Make the model the original again. Returns the units that were read again."""
        self._layers.set_dropped(())
        self._use_vocabulary(FULL)
        swapped = []
        for unit in self.source.structure.units.values():
            if self._applied[unit.name] != _ORIGINAL:
                self._restore(unit)
                swapped.append(unit.name)
        self._finish(())
        return tuple(swapped)

    def add_noise(self, noise: float, seed: int) -> None:
        """Add normal noise to every matrix, `noise` times its root mean square; `restore` removes it."""
        generator = torch.Generator(device=self.device).manual_seed(seed)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for unit in self.source.structure.units.values():
                self._applied[unit.name] = _UNDEFINED
                for name in unit.tensors:
                    value = parameters[name]
                    scale = noise * float(value.float().square().mean().sqrt())
                    drawn = torch.randn(value.shape, generator=generator, device=self.device)
                    value.add_((scale * drawn).to(value.dtype))

    def _restore(self, unit: Unit) -> None:
        self._set(unit, (self.source.tensor(name) for name in unit.tensors), _ORIGINAL)

    def _read(self, swap: _Swap) -> Any | None:
        """A variant as `Codec.weights` takes it; None where the store lacks it."""
        read = self._cache.get(swap.key)
        if read is None:
            payload = self.store.get(swap.key)
            read = None if payload is None else swap.codec.read(payload, swap.resized.shapes)
            if read is not None:
                self._cache.put(swap.key, read)
        return read

    def _swap(self, swap: _Swap, read: Any | None, options: EncodeOptions) -> None:
        if read is None:
            payload = variant_payload(self.source, swap.unit, swap.codec.level, self.store, options)
            read = swap.codec.read(payload, swap.resized.shapes)
        adapted = swap.unit.name in self.source.adapters  # an adapter is added to the weights as float32
        wanted = None if adapted else self.dtype
        values = swap.codec.weights(read, swap.resized.shapes, self.source.dtype, self.device, wanted)
        if adapted:
            values = merge_adapter(self.source.adapters, swap.unit, [value.cpu() for value in values])
        self._set(swap.unit, values, swap.key)

    def _set(self, unit: Unit, values: Iterable[Tensor], key: str) -> None:
        """Write a unit's weights into the memory that is there, where they have the shape of those before."""
        self._applied[unit.name] = _UNDEFINED  # if this fails, the unit is swapped again next time
        for name, value in zip(unit.tensors, values, strict=True):
            present = self.model.get_parameter(name)
            if present.shape == value.shape:
                with torch.no_grad():
                    present.copy_(value)
            else:
                set_tensor(self.model, name, value.to(self.device, self.dtype))
        self._applied[unit.name] = key

    def _use_vocabulary(self, vocabulary: str) -> None:
        """Another vocabulary means another config: build a model of that config around the present weights."""
        if vocabulary == self._vocabulary:
            return
        files = vocabulary_files(self.source, vocabulary, self.store)
        processor = load_processor(files)
        weights = dict(self.model.named_parameters())
        model: Any = build_meta_model(config_from_dict(json.loads(files["config.json"])))
        for unit in self.source.structure.units.values():
            if unit.kind in {"embedding", "head"}:
                self._applied[unit.name] = _UNDEFINED
                for name in unit.tensors:
                    shape = model.get_parameter(name).shape
                    weights[name] = torch.nn.Parameter(torch.zeros(shape, dtype=self.dtype, device=self.device))
        for name, value in weights.items():
            set_tensor(model, name, value.data)
        prepare_model(model, self.device, files)
        self.model, self.processor, self._vocabulary = model, processor, vocabulary
        self._layers = LayerDropper(model, self.source.structure)

    def _finish(self, dropped: tuple[str, ...]) -> None:
        if self.source.structure.tied:
            tie_head(self.model)
        self._layers.set_dropped(dropped)
