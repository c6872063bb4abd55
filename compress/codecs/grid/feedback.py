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
_BLOCK = 128  # columns between two updates of all the rest
_KNOWN = WeakTensorKeyDictionary()  # factors by Hessian: one unit is often encoded at many levels
_STEPWISE = WeakTensorKeyDictionary()


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
        known = _KNOWN[hessian] = _factor(hessian)
    return known


def _factor(hessian: Tensor) -> HessianFactor:
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
    eye = torch.eye(h.shape[0], dtype=torch.float64, device=h.device)
    damping = DAMPING
    for _ in range(8):
        damped = h + damping * eye
        upper = _inverse_root(damped, order)
        if upper is not None:
            relative = torch.empty_like(order, dtype=torch.float64)
            relative[order] = upper.diagonal() / upper.diagonal().max()
            widest = float(upper.diagonal().max()) / mean**0.5
            return HessianFactor(order, upper.float(), relative.float(), widest, damped.float())
        damping *= 4
    raise UserError("the Hessian is not XᵀX of anything: it has large negative eigenvalues")


def _inverse_root(damped: Tensor, order: Tensor) -> Tensor | None:
    """U of a Hessian with its rows and columns in an order; None where it is too singular."""
    lower, failed = torch.linalg.cholesky_ex(damped[order][:, order])
    if int(failed):
        return None
    inverse = torch.cholesky_inverse(lower)
    upper, failed = torch.linalg.cholesky_ex((inverse + inverse.T) / 2, upper=True)
    return None if int(failed) else upper


def stepwise(hessian: Tensor) -> HessianFactor:
    """The same with columns in the order of their steps, which a decoder knows, and steps that never grow in it.

    They are those nearest to what `factor` would have in that order; it costs some hundredths of a dB.
    """
    known = _STEPWISE.get(hessian)
    if known is None:
        known = _STEPWISE[hessian] = _stepwise(factor(hessian))
    return known


def _stepwise(first: HessianFactor) -> HessianFactor:
    from scipy.optimize import isotonic_regression

    h = first.hessian.to(torch.float64)

    def ordered(codes: NDArray[np.int16]) -> tuple[Tensor, Tensor]:
        order = torch.from_numpy(np.argsort(codes, kind="stable"))
        upper = _inverse_root(h, order.to(h.device))
        if upper is None:
            raise UserError("the Hessian is not XᵀX of anything: it cannot be factorised twice")
        return order, upper

    order, upper = ordered(step_codes(first.relative))
    for _ in range(2):  # the second time in the order that the held steps tell
        wish = upper.diagonal().log2().cpu().numpy()
        held = torch.from_numpy(isotonic_regression(wish, increasing=False).x.copy())
        relative = torch.empty_like(held)
        relative[order] = torch.exp2(held - held[0])
        order, upper = ordered(step_codes(relative))
    widest = first.widest * float(torch.exp2(held[0])) / float(first.upper.diagonal().max())
    return HessianFactor(order.to(h.device), upper.float(), relative.float().to(h.device), widest, first.hessian)


def quantise_columns(
    columns: Tensor, upper: Tensor, steps: Tensor, shifts: tuple[float, float], stop: int | None = None
) -> Tensor:
    """Integers for the first `stop` of `columns` (inputs × outputs, which is used up), one step an input column.

    What they get wrong is taken up by the columns behind them, `stop` or not. `shifts` are how far the value of
    |q| = 1 and of |q| > 1 lies towards zero from its grid point, in steps.
    """
    first, others = shifts
    inputs = columns.shape[0]
    stop = inputs if stop is None else stop
    integers = torch.empty_like(columns[:stop])
    for begin in range(0, stop, _BLOCK):
        end = min(begin + _BLOCK, stop)
        block, errors = columns[begin:end], torch.empty_like(columns[begin:end])
        local = upper[begin:end, begin:end]
        for i in range(end - begin):
            step = steps[begin + i]
            scaled = block[i] / step
            q = torch.round(scaled)
            integers[begin + i] = q
            error = (scaled - shifted(q, first, others)) * (step / local[i, i])
            errors[i] = error
            if i + 1 < end - begin:
                block[i + 1 :].addr_(local[i, i + 1 :], error, alpha=-1)
        if end < inputs:
            columns[end:].addmm_(upper[begin:end, end:].T, errors, alpha=-1)
    return integers


def shifted(q: Tensor, first: float, others: float) -> Tensor:
    """The centroids of the cells of integers, in steps."""
    if not first and not others:
        return q
    sign = torch.sign(q)
    return q - torch.where(q == sign, first * sign, others * sign)
