"""The structure of a model: which tensors form which unit, and which units form which layer.

It is read from the module tree: a stack is a `ModuleList` of blocks of one class; in a block the matrices under a child
named or typed as attention are attention, and all others are MLP; the input embedding and the output head are those
that the model's own getters return. No module path of a particular model is written here, so Qwen2-Audio, Qwen, Llama,
Cohere and Whisper, in transformers 4.57 and 5.10, are all read alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from compress.errors import UserError

KINDS = ("attention", "mlp", "embedding", "head", "projector", "conv")
REST = ""  # the group of unquantized tensors outside all layers


@dataclass(frozen=True)
class Unit:
    """The smallest part with a decision of its own. `tensors` (matrices) are encoded; `unquantized` ones are biases."""

    name: str
    kind: str
    layer: str | None
    tensors: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    unquantized: tuple[str, ...]
    parameters: int  # biases included
    weights: int  # elements of the encoded tensors alone, the divisor of bits per weight

    @property
    def roles(self) -> tuple[str, ...]:
        """The name of each tensor inside the unit: gate_proj, fc1, … or just weight."""
        return tuple(_role(name) for name in self.tensors)


@dataclass(frozen=True)
class Layer:
    """A group of units that are dropped together, with the unquantized tensors that go with them."""

    name: str
    stack: str
    index: int
    units: tuple[str, ...]
    unquantized: tuple[str, ...]
    parameters: int


@dataclass(frozen=True)
class Stack:
    """A list of layers in the module tree."""

    name: str
    path: str
    length: int


@dataclass(frozen=True)
class Structure:
    """Units and layers of one model, in the order in which an artifact holds them."""

    units: dict[str, Unit]
    layers: tuple[Layer, ...]
    stacks: tuple[Stack, ...]
    unquantized: tuple[str, ...]
    parameters: int
    tied: bool  # head and embedding are one tensor
    vocabulary: int  # rows of the input embedding; 0 without one

    @cached_property
    def by_layer(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Unquantized tensors by layer name, and under REST those outside all layers."""
        groups = {layer.name: layer.unquantized for layer in self.layers}
        inside = {name for names in groups.values() for name in names}
        return {REST: tuple(name for name in self.unquantized if name not in inside), **groups}

    @property
    def tensors(self) -> tuple[str, ...]:
        """Every tensor of the model, the unquantized ones first."""
        return (*self.unquantized, *(name for unit in self.units.values() for name in unit.tensors))

    def unit(self, name: str) -> Unit:
        try:
            return self.units[name]
        except KeyError:
            raise UserError(f"no unit {name!r} in this model; it has {_listed(self.units)}") from None

    def layer(self, name: str) -> Layer:
        try:
            return self.by_layer[name]
        except KeyError:
            raise UserError(f"no layer {name!r} in this model; it has {_listed(self.by_layer)}") from None


def read_structure(model: nn.Module) -> Structure:
    """The structure of a model, with weights or on the meta device."""
    parameters: dict[str, Tensor] = dict(model.named_parameters())  # tied tensors appear once, under their first name
    embedding, head = _embedding_and_head(model)
    reader = _Reader(model, parameters, embedding, head)
    units = reader.units()
    encoded = {name for unit in units for name in unit.tensors}
    unquantized = tuple(name for name in parameters if name not in encoded)
    return Structure(
        units={unit.name: unit for unit in units},
        layers=reader.layers(units, unquantized),
        stacks=tuple(Stack(name, path, len(block)) for name, path, block in reader.stacks),
        unquantized=unquantized,
        parameters=sum(tensor.numel() for tensor in parameters.values()),
        tied=head is not None and embedding is not None and head is embedding,
        vocabulary=0 if embedding is None else embedding.shape[0],
    )


class _Reader:
    """Reads the units and layers of one model."""

    def __init__(
        self, model: nn.Module, parameters: dict[str, Tensor], embedding: Tensor | None, head: Tensor | None
    ) -> None:
        self.model = model
        self.parameters = parameters
        self.modules = dict(model.named_modules())
        self.embedding = embedding
        self.head = head
        self.stacks = self._stacks()

    def _stacks(self) -> list[tuple[str, str, nn.ModuleList]]:
        stacks: list[tuple[str, str, nn.ModuleList]] = []
        names: set[str] = set()
        for path, module in self.modules.items():
            if not _is_stack(module) or any(path.startswith(outer + ".") for _, outer, _ in stacks):
                continue
            assert isinstance(module, nn.ModuleList)
            owner = self.modules[path.rpartition(".")[0]]
            name = base = self._stack_name(owner, path)
            while name in names:
                name = f"{base}{sum(n.startswith(base) for n in names) + 1}"
            names.add(name)
            stacks.append((name, path, module))
        return stacks

    def _stack_name(self, owner: nn.Module, path: str) -> str:
        children = list(owner.children())
        embeds = [c for c in children if isinstance(c, nn.Embedding) and c.weight is self.embedding]
        if embeds:
            return "lm"
        if any(isinstance(c, nn.Conv1d) for c in children):
            return "audio"
        if any(isinstance(c, nn.Conv2d) for c in children):
            return "vision"
        parts = [p for p in path.split(".") if p not in {"model", "layers", "blocks", "h"}]
        return parts[-1] if parts else "stack"

    def units(self) -> list[Unit]:
        inside: dict[str, list[str]] = {}
        for name in self.parameters:
            unit = self._unit_of(name)
            if unit is not None:
                inside.setdefault(unit, []).append(name)
        return [self._unit(unit, names) for unit, names in sorted(inside.items(), key=self._order)]

    def _order(self, item: tuple[str, list[str]]) -> tuple[int, int, str]:
        """Model order, and in a layer attention before MLP."""
        name = item[0]
        first = list(self.parameters).index(item[1][0])
        layer, _, kind = name.rpartition(".")
        if kind in {"attention", "mlp"}:
            stack = layer.rpartition(".")[0]
            return (self._first(stack), int(layer.rpartition(".")[2]) + 1, kind)
        return (first, 0, name)

    def _first(self, stack: str) -> int:
        path = next(path for name, path, _ in self.stacks if name == stack)
        return next(i for i, name in enumerate(self.parameters) if name.startswith(path + "."))

    def _unit_of(self, tensor: str) -> str | None:
        """The unit of a matrix or of the bias next to one; None for any other tensor."""
        value = self.parameters[tensor]
        owner = self.modules[tensor.rpartition(".")[0]]
        if value is self.embedding:
            return "embedding"
        if value is self.head:
            return "head"
        for stack, path, _ in self.stacks:
            if tensor.startswith(path + "."):
                index, _, rest = tensor[len(path) + 1 :].partition(".")
                matrix = value.dim() >= 2 or _has_matrix(owner)
                return f"{stack}.{index}.{self._attention_or_mlp(path, index, rest)}" if matrix else None
        if isinstance(owner, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            return self._conv_unit(tensor)
        if isinstance(owner, nn.Linear):
            return "head" if owner.weight is self.head else "projector"
        return None

    def _attention_or_mlp(self, path: str, index: str, rest: str) -> str:
        child = rest.partition(".")[0]
        module = self.modules[f"{path}.{index}.{child}"] if "." in rest else None
        attends = "att" in child.lower() or (module is not None and "attention" in type(module).__name__.lower())
        return "attention" if attends else "mlp"

    def _conv_unit(self, tensor: str) -> str:
        for stack, path, _ in self.stacks:
            owner = path.rpartition(".")[0]
            if tensor.startswith(owner + ".") or not owner:
                return f"{stack}.conv"
        return "conv"

    def _unit(self, name: str, tensors: list[str]) -> Unit:
        kind = name.rpartition(".")[2]
        layer = name.rpartition(".")[0] if kind in {"attention", "mlp"} else None
        matrices = [t for t in tensors if self.parameters[t].dim() >= 2]
        return Unit(
            name=name,
            kind=kind,
            layer=layer,
            tensors=tuple(matrices),
            shapes=tuple(tuple(self.parameters[t].shape) for t in matrices),
            unquantized=tuple(t for t in tensors if t not in matrices),
            parameters=_count(self.parameters[t] for t in tensors),
            weights=_count(self.parameters[t] for t in matrices),
        )

    def layers(self, units: list[Unit], unquantized: tuple[str, ...]) -> tuple[Layer, ...]:
        layers = []
        for stack, path, block in self.stacks:
            for index in range(len(block)):
                name, prefix = f"{stack}.{index}", f"{path}.{index}."
                layers.append(
                    Layer(
                        name=name,
                        stack=stack,
                        index=index,
                        units=tuple(unit.name for unit in units if unit.layer == name),
                        unquantized=tuple(t for t in unquantized if t.startswith(prefix)),
                        parameters=_count(v for t, v in self.parameters.items() if t.startswith(prefix)),
                    )
                )
        return tuple(layers)


def _embedding_and_head(model: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    """The weights of the input embedding and of the output head, where the model has them."""
    try:
        first = model.get_input_embeddings()  # type: ignore[operator]
        last = model.get_output_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None, None
    embedding = first.weight if isinstance(first, nn.Embedding) else None
    return embedding, None if last is None else last.weight


def _role(tensor: str) -> str:
    path, _, last = tensor.rpartition(".")
    return path.rpartition(".")[2] if last == "weight" and path else last


def _is_stack(module: nn.Module) -> bool:
    """A list of blocks of one class, each holding more than one matrix."""
    if not isinstance(module, nn.ModuleList) or len(module) == 0:
        return False
    alike = len({type(block) for block in module}) == 1
    return alike and all(sum(p.dim() >= 2 for p in block.parameters()) > 1 for block in module)


def _has_matrix(module: nn.Module) -> bool:
    return any(p.dim() >= 2 for p in module.parameters(recurse=False))


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() for t in tensors)


def _listed(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f", … ({len(names)} in total)" if len(names) > most else "")
