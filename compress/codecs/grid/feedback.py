"""Error feedback: what rounding one input column gets wrong, the columns after it make good.

With H = XᵀX of a layer's inputs and H⁻¹ = UᵀU (U upper triangular), rounding the columns in order and
passing each column's error on along its row of U (GPTQ, Frantar 2022) leaves the damage
Σⱼ errorⱼ² / Uⱼⱼ². Entropy-coded integers cost log2(spread / step) bits, so the least damage for the bits is
had with a step proportional to Uⱼⱼ in each column: "water-filling" (WaterSIC, 2026).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from compress.codecs.grid.steps import step_codes
from compress.errors import UserError

DAMPING = 0.01  # share of the mean diagonal that is added to H: rows of calibration are never enough
_KNOWN = WeakTensorKeyDictionary()  # factors by Hessian: one unit is often encoded at many levels
_STEPWISE = WeakTensorKeyDictionary()
_STRETCH = 512  # columns inverted together


@dataclass(frozen=True)
class HessianFactor:
    """What feedback needs of one Hessian. Rows and columns of `upper` are in the order of `order`."""

    order: Tensor  # input columns, the least used first
    upper: Tensor  # U, float32
    relative: Tensor  # the step each input column should have, in the original order; the largest is 1
    widest: float  # that largest step, as Uⱼⱼ of the Hessian as it came
    hessian: Tensor  # damped, in the original order, mean diagonal 1


def factor(hessian: Tensor) -> HessianFactor:
    """Damp, invert and factorise; more damping where a Hessian is too singular for it."""
    known = _KNOWN.get(hessian)
    if known is None:
        damped = _damp(hessian)
        relative = torch.empty_like(damped.steps)
        relative[damped.order] = damped.steps / damped.steps.max()
        known = _KNOWN[hessian] = damped.with_steps(damped.order, damped.root, relative, damped.widest)
    return known


def stepwise(hessian: Tensor) -> HessianFactor:
    """The same with columns in the order of their steps, which a decoder knows, and steps that never grow in it.

    They are those nearest to what `factor` would have in that order; it costs some hundredths of a dB.
    """
    known = _STEPWISE.get(hessian)
    if known is None:
        known = _STEPWISE[hessian] = _stepwise(_damp(hessian))
    return known


@dataclass(frozen=True)
class _DampedHessian:
    hessian: Tensor  # float64, mean diagonal 1
    order: Tensor  # of its columns
    root: Tensor  # upper triangular R with R·Rᵀ the Hessian in that order
    scale: float  # the mean diagonal of the Hessian as it came

    @property
    def steps(self) -> Tensor:
        """The diagonal of U = R⁻¹."""
        return 1 / self.root.diagonal()

    @property
    def widest(self) -> float:
        return float(self.steps.max()) / self.scale**0.5

    def with_steps(self, order: Tensor, root: Tensor, relative: Tensor, widest: float) -> HessianFactor:
        return HessianFactor(order, _inverse(root).float(), relative.float(), widest, self.hessian.float())


def _damp(hessian: Tensor) -> _DampedHessian:
    h = hessian.to(torch.float64)
    h = (h + h.T) / 2
    mean = float(h.diagonal().mean())
    if float(h.diagonal().min()) < -1e-6 * abs(mean):
        raise UserError("the Hessian is not XᵀX of anything: its diagonal has negative values")
    if not mean > 0:
        h, mean = torch.eye(h.shape[0], dtype=torch.float64, device=h.device), 1.0
    h = h / mean
    # The least used columns first: below two bits that is worth up to 0.15 bit a weight against any other order.
    order = torch.argsort(h.diagonal(), stable=True)
    damping = DAMPING
    for _ in range(8):
        damped = h.clone()
        damped.diagonal().add_(damping)
        root = _root(damped, order)
        if root is not None:
            return _DampedHessian(damped, order, root, mean)
        damping *= 4
    raise UserError("the Hessian is not XᵀX of anything: it has large negative eigenvalues")


def _root(damped: Tensor, order: Tensor) -> Tensor | None:
    """R of a Hessian with its rows and columns in an order; None where it is too singular.

    U of H⁻¹ = UᵀU is R⁻¹, so its diagonal, which is all that steps depend on, takes no inversion.
    """
    backwards = order.flip(0)
    lower, failed = torch.linalg.cholesky_ex(damped[backwards][:, backwards])
    return None if int(failed) else lower.flip(0, 1)


def _inverse(root: Tensor) -> Tensor:
    """U = R⁻¹, a stretch of columns at a time: nothing below the diagonal is computed."""
    size = len(root)
    upper = torch.zeros_like(root)
    for begin in range(0, size, _STRETCH):
        end = min(begin + _STRETCH, size)
        unit = torch.zeros(end, end - begin, dtype=root.dtype, device=root.device)
        unit[begin:end].fill_diagonal_(1)
        upper[:end, begin:end] = torch.linalg.solve_triangular(root[:end, :end], unit, upper=True)
    return upper


def _stepwise(damped: _DampedHessian) -> HessianFactor:
    from scipy.optimize import isotonic_regression

    def ordered(codes: NDArray[np.int16], last: Tensor, root: Tensor | None) -> tuple[Tensor, Tensor]:
        order = torch.from_numpy(np.argsort(codes, kind="stable")).to(last.device)
        if not torch.equal(order, last):
            root = _root(damped.hessian, order)
        if root is None:
            raise UserError("the Hessian is not XᵀX of anything: it cannot be factorised twice")
        return order, root

    relative = torch.empty_like(damped.steps)
    relative[damped.order] = damped.steps
    order, root = ordered(step_codes(relative / relative.max()), damped.order, damped.root)
    for _ in range(2):  # the second time in the order that the held steps tell
        wish = -root.diagonal().log2().cpu().numpy()
        held = torch.from_numpy(isotonic_regression(wish, increasing=False).x.copy()).to(order.device)
        relative = torch.empty_like(held)
        relative[order] = torch.exp2(held - held[0])
        order, root = ordered(step_codes(relative), order, root)
    return damped.with_steps(order, root, relative, float(torch.exp2(held[0])) / damped.scale**0.5)
