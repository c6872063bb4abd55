"""A GPU that is not there: tensors that say they are on `cuda:0` and whose numbers lie in main memory.

What a GPU would refuse is refused: operations on tensors of two devices, and numpy. So the way of weights through the
code can be tested on a machine without a GPU; how fast, and whether they fit, cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("cuda", 0)
_MOVES = {"to", "cpu", "cuda", "copy_"}  # from one device to another
_INDEXES = {"__getitem__", "__setitem__"}  # places may be named by integers in main memory
_NO_TENSORS = {"item", "tolist", "__float__", "__int__", "__bool__", "__len__", "data_ptr"}


class OnGpu(Tensor):
    """A tensor that says it is on the GPU. `numbers` holds what is in it."""

    numbers: Tensor

    @staticmethod
    def __new__(cls: Any, values: Tensor) -> OnGpu:
        with torch._C.DisableTorchFunction():
            made: OnGpu = Tensor._make_wrapper_subclass(
                cls, values.size(), strides=values.stride(), dtype=values.dtype, device=GPU
            )
        made.numbers = values
        return made

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise AssertionError(f"{function} passed by")


class _Machine(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation, on the numbers; the result is where PyTorch would put it."""
    if function is torch.device:
        return function(*args, **kwargs)
    name = getattr(function, "__name__", "")
    if name == "__get__":  # an attribute, such as `device`
        name = function.__self__.__name__
        if name not in ("T", "mT", "data", "grad"):
            with torch._C.DisableTorchFunction():
                return function(*args, **kwargs)
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    on_gpu = [x for x in tensors if isinstance(x, OnGpu)]
    devices = [torch.device(x) for x in tree_flatten((args, kwargs))[0] if _is_device(x)]
    if name == "numpy" and on_gpu:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")
    if on_gpu and name not in _MOVES:
        for x in tensors:
            if not isinstance(x, OnGpu) and x.dim() > 0 and not (name in _INDEXES and x is not args[0]):
                raise RuntimeError(f"Expected all tensors to be on the same device: cuda:0 and cpu in {name}")
    if name == "copy_":
        there = isinstance(args[0], OnGpu)
    elif devices:
        there = devices[0].type == "cuda"
    else:
        there = bool(on_gpu) and name != "cpu"
    args, kwargs = tree_map(_plain, (args, kwargs))
    with torch._C.DisableTorchFunction():
        result = function(*args, **kwargs)
    if not there or name in _NO_TENSORS:
        return result
    same = {id(x.numbers): x for x in on_gpu}  # in-place operations give back the tensor that they were given
    flat = result if isinstance(result, (tuple, list)) else [result]
    placed = [same[id(x)] if id(x) in same else OnGpu(x) if isinstance(x, Tensor) else x for x in flat]
    return placed if isinstance(result, (tuple, list)) else placed[0]


def _is_device(x: Any) -> bool:
    return isinstance(x, torch.device) or (isinstance(x, str) and x.split(":")[0] in ("cpu", "cuda"))


def _plain(x: Any) -> Any:
    if _is_device(x):
        return torch.device("cpu")
    return x.numbers if isinstance(x, OnGpu) else x


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """A machine with one GPU, for the code in this block."""
    with mock.patch("torch.cuda._lazy_init"), _Machine():
        yield
