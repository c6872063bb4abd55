"""What calibration knows about one matrix: how its inputs look, and how much each of its outputs matters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Statistics:
    """`hessian` is XᵀX of the inputs. `importance` is, for each output, the mean square of the gradient of the
    model's loss there (inputs are counted once); without it all outputs count alike.
    """

    hessian: Tensor
    importance: Tensor | None = None

    @cached_property
    def diagonal(self) -> Tensor | None:
        """Of a Hessian that has nothing else, such as that of an embedding, whose inputs are one-hot."""
        diagonal = self.hessian.diagonal()
        return diagonal if int(self.hessian.count_nonzero()) == int(diagonal.count_nonzero()) else None

    def of(self, outputs: Tensor | slice) -> Statistics:
        """Those of some outputs."""
        return self if self.importance is None else Statistics(self.hessian, self.importance[outputs])
