"""Samplers by the names that --sampler takes.

To add one: write a `PolicySampler` (base.py) or any other Optuna sampler, and give it a name in SAMPLERS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from optuna.samplers import BaseSampler

from compress.errors import UserError
from compress.sizes import Bin
from search.sampling.evolution import EvolutionSampler
from search.sampling.optuna_samplers import OPTUNA_SAMPLERS, constrained
from search.space.constraint import SizeConstraint

BAYESIAN = "bayesian"  # made by the search itself: it needs sensitivities, and also learns KLs
ALIASES = {"house": BAYESIAN}
SAMPLERS: dict[str, Callable[[SizeConstraint, Sequence[Bin], int], BaseSampler]] = {
    "evolution": EvolutionSampler,
    **{name: partial(constrained, name) for name in OPTUNA_SAMPLERS},
}
NAMES = (BAYESIAN, *SAMPLERS)


def canonical(name: str) -> str:
    """A sampler's name in NAMES; refuses an unknown one."""
    known = ALIASES.get(name, name)
    if known not in NAMES:
        raise UserError(f"unknown sampler '{name}': known are {', '.join(NAMES)}")
    return known


def make_sampler(name: str, constraint: SizeConstraint, bins: Sequence[Bin], seed: int) -> BaseSampler:
    """Any sampler but the bayesian one."""
    return SAMPLERS[canonical(name)](constraint, bins, seed)
