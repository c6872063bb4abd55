"""Made-up models to search: sizes and true damages known, so that answers can be checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress import Policy
from compress.sizes import Bin
from search.space.allocate import ActionCosts
from search.space.constraint import SizeConstraint
from search.space.space import Choice, Space, make_space, with_vocabularies

BITS = {"grid@1": 1.0, "grid@2": 2.0, "grid@3": 3.0, "grid@4": 4.0, "int8": 8.0}
FIXED = 700
SCRIPTS = "scripts:en,de"
TRIM_FILES, TRIM_SHARE, TRIM_DAMAGE = -300, 0.6, 0.02  # of the smaller vocabulary, where a world has one


@dataclass(frozen=True)
class World:
    """A space, exact sizes, and the true damage and COMET of every choice."""

    space: Space
    truth: ActionCosts
    sensitivities: ActionCosts

    @property
    def constraint(self) -> SizeConstraint:
        return SizeConstraint(self.space, self.exact)

    def exact(self, policy: Policy) -> int:
        """As of a real artifact: the manifest grows a little with the number of units."""
        choice = self.space.choice(policy)
        assert choice is not None
        return self.space.variable_bytes(choice) + FIXED + 3 * len(policy.levels)

    def comet(self, choice: Choice) -> float:
        return 0.8 * float(np.exp(-self.truth.total(self.space, choice)))


def world(layers: int = 6, seed: int = 0, wrong: float = 0.5, trims: bool = False) -> World:
    """`wrong` is how far measured sensitivities are from the true damages (spread of the log). `trims`: a smaller
    vocabulary may be chosen."""
    generator = np.random.default_rng(seed)
    names = [f"lm.{index}" for index in range(layers)]
    units: dict[str, str | None] = {f"{name}.{part}": name for name in names for part in ("attention", "mlp")}
    units |= {"embedding": None, "head": None}
    weights = {unit: int(generator.integers(2000, 9000)) for unit in units}
    sizes = {(unit, level): int(weights[unit] * bits / 8) for unit in units for level, bits in BITS.items()}
    space = make_space(
        model="0123456789abcdef",
        units=units,
        layers=names,
        levels=list(BITS),
        sizes=sizes,
        unquantized=dict.fromkeys(names, 40),
        droppable={name: name != "lm.0" for name in names},
    )
    damages = np.zeros(1)
    if trims:
        smaller = {(u, level): int(TRIM_SHARE * sizes[u, level]) for u in ("embedding", "head") for level in BITS}
        space = with_vocabularies(space, ("full", SCRIPTS), [smaller], [FIXED, FIXED + TRIM_FILES])
        damages = np.array([0.0, TRIM_DAMAGE])
    scale = np.exp(generator.normal(-2.0, 1.2, len(units)))
    levels = scale[:, None] * 4.0 ** (1.0 - np.array(list(BITS.values())))[None, :]
    drops = np.exp(generator.normal(-1.0, 1.2, layers))
    drops[0] = 3.0
    truth = ActionCosts(levels, np.where(space.droppable, drops, np.inf), damages)
    noise = np.exp(generator.normal(0.0, wrong, len(units)))
    measured = ActionCosts(levels * noise[:, None], drops * np.exp(generator.normal(0.0, wrong, layers)), damages)
    return World(space, truth, measured)


def middle_bin(w: World) -> Bin:
    """From a tenth to three tenths of the sizes that policies have."""
    least, most = w.constraint.size(w.constraint.smallest()), w.constraint.size(w.constraint.largest())
    return Bin("Bin2", round(least + 0.1 * (most - least)), round(least + 0.3 * (most - least)))


def some_choice(w: World, seed: int) -> Choice:
    """A random choice, of any size."""
    generator = np.random.default_rng(seed)
    columns = generator.integers(len(w.space.levels), size=len(w.space.units))
    dropped = w.space.droppable & (generator.random(len(w.space.layers)) < 0.4)
    return Choice(columns, dropped, int(generator.integers(len(w.space.vocabularies))))
