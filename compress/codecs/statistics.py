"""What calibration knows about one matrix: how its inputs look, and how much each of its outputs matters."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Statistics:
    """`hessian` is XᵀX of the inputs. `importance` is, for each output, the mean square of the gradient of the
    model's loss there (inputs are counted once); without it all outputs count alike.
    """

    hessian: Tensor
    importance: Tensor | None = None
