"""Iterative pruning (Moslem 2025): drop the layer whose loss hurts least, measure all others again, and so on.

An object to ask and tell, so that the evaluations of a round may run side by side anywhere: `ask()` names the sets of
dropped layers still to be measured in this round, `tell(dropped, score)` takes a score (the higher the better: chrF,
COMET, or minus a KL). The state is the set of (dropped layers, score) pairs: replay them in any order to go on.
Eight of 32 layers with the first and the last kept are 30 + 29 + … + 23 = 212 evaluations.

With `heal_every` the model is trained again between rounds: `heal` then names the set to train without, nothing else is
asked until `healed(dropped, model)` says which model the next rounds are measured on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from compress import Structure
from compress.errors import UserError

Dropped = tuple[str, ...]


class IterativePruning:
    """Greedy pruning of `rounds` layers, one a round. `layers` are in the order of the model."""

    def __init__(
        self, layers: Sequence[str], keep_first_last: bool = True, rounds: int = 8, heal_every: int = 0
    ) -> None:
        self.layers = tuple(layers)
        self.candidates = self.layers[1:-1] if keep_first_last else self.layers
        self.rounds = rounds
        self.heal_every = heal_every
        most = len(self.candidates) if keep_first_last else len(self.layers) - 1
        if not 1 <= rounds <= most:
            kept = "the first and the last kept" if keep_first_last else "one kept at least"
            raise UserError(
                f"cannot drop {rounds} of {len(self.layers)} layers with {kept}: 1 to {max(most, 0)} can go"
            )
        if heal_every < 0:
            raise UserError(f"healing every {heal_every} rounds: give 0 for never, or a number of rounds")
        self._scores: dict[frozenset[str], float] = {}
        self._models: dict[frozenset[str], str] = {}
        self._chosen: list[str] = []

    @property
    def dropped(self) -> Dropped:
        """The layers chosen so far, in the order in which they went."""
        return tuple(self._chosen)

    @property
    def done(self) -> bool:
        return len(self._chosen) == self.rounds and self.heal is None

    @property
    def evaluations(self) -> int:
        """How many sets are measured in all."""
        return sum(len(self.candidates) - number for number in range(self.rounds))

    @property
    def observations(self) -> tuple[tuple[Dropped, float], ...]:
        """Everything measured so far, in order."""
        return tuple((self._ordered(gone), score) for gone, score in self._scores.items())

    @property
    def heal(self) -> Dropped | None:
        """The set the model must be trained without before the next round is measured; None when none is due."""
        count = len(self._chosen)
        due = self.heal_every > 0 and count > 0 and (count % self.heal_every == 0 or count == self.rounds)
        return self._ordered(self._chosen) if due and frozenset(self._chosen) not in self._models else None

    @property
    def model(self) -> str:
        """The model that this round is measured on: the one healed last, or '' for the one that was begun with."""
        for count in range(len(self._chosen), 0, -1):
            model = self._models.get(frozenset(self._chosen[:count]))
            if model is not None:
                return model
        return ""

    def ask(self) -> list[Dropped]:
        """The sets still to be measured in this round; none when it is done, or when healing is due."""
        if len(self._chosen) == self.rounds or self.heal is not None:
            return []
        return [self._ordered(each) for each in self._round() if each not in self._scores]

    def tell(self, dropped: Iterable[str], score: float) -> None:
        """A score of one set; one that failed is NaN and never chosen. The first score of a set stays."""
        gone = frozenset(dropped)
        unknown = sorted(gone - set(self.candidates))
        if unknown or not gone:
            raise UserError(f"{unknown[0] if unknown else 'an empty set'} is not among the layers that may be dropped")
        self._scores.setdefault(gone, float(score))
        self._advance()

    def healed(self, dropped: Iterable[str], model: str) -> None:
        """The model was trained without these layers; `model` names it, for who measures the next round."""
        self._models.setdefault(frozenset(dropped), model)
        self._advance()

    def _round(self) -> list[frozenset[str]]:
        gone = frozenset(self._chosen)
        return [gone | {layer} for layer in self.candidates if layer not in gone]

    def _advance(self) -> None:
        """Ends every round whose scores are all there. Of equal scores the earliest layer goes."""
        while len(self._chosen) < self.rounds and self.heal is None:
            round_ = self._round()
            if any(each not in self._scores for each in round_):
                return
            scores = [self._scores[each] for each in round_]
            usable = [score for score in scores if math.isfinite(score)]
            if not usable:
                raise UserError(f"none of the {len(round_)} evaluations after {len(self._chosen)} layers gave a score")
            best = round_[scores.index(max(usable))]
            self._chosen += best - frozenset(self._chosen)

    def _ordered(self, gone: Iterable[str]) -> Dropped:
        gone = set(gone)
        return tuple(layer for layer in self.layers if layer in gone)


def lm_layers(structure: Structure) -> Dropped:
    """The layers that the published loop prunes: those of the language model, the audio tower untouched."""
    layers = tuple(layer.name for layer in structure.layers if layer.stack == "lm")
    if not layers:
        raise UserError("this model has no stack of language-model layers to prune")
    return layers


def dropped_last(dropped: Sequence[str], before: Sequence[str]) -> str:
    """The layer that a set has more than the one before it."""
    return next(layer for layer in dropped if layer not in before)


def run(
    pruning: IterativePruning,
    measure: Callable[[Dropped, str], float],
    heal: Callable[[Dropped, str], str] | None = None,
    journal: Path | None = None,
) -> Dropped:
    """Asks and tells until done. `journal` (a JSON line for each answer) is what a killed run resumes from.

    `measure(dropped, model)` gives a score, `heal(dropped, model)` the name of the trained model.
    """
    if journal is not None:
        read_journal(pruning, journal)
    while not pruning.done:
        due = pruning.heal
        if due is not None:
            if heal is None:
                raise UserError("this pruning heals between rounds but there is nothing that trains")
            name = heal(due, pruning.model)
            _note(journal, {"healed": due, "model": name})
            pruning.healed(due, name)
            continue
        for dropped in pruning.ask():
            score = measure(dropped, pruning.model)
            _note(journal, {"dropped": dropped, "score": score if math.isfinite(score) else None})
            pruning.tell(dropped, score)
    return pruning.dropped


def read_journal(pruning: IterativePruning, journal: Path) -> None:
    """Tells what a journal holds. A last line that was cut off by a kill is forgotten."""
    if not journal.exists():
        return
    lines = journal.read_text(encoding="utf-8").split("\n")
    whole = [line for line in lines[:-1] if line]
    if lines[-1]:  # cut it off, or the next line would be written behind it
        journal.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
    for line in whole:
        try:
            entry = json.loads(line)
            if "healed" in entry:
                pruning.healed(entry["healed"], entry["model"])
            else:
                pruning.tell(entry["dropped"], math.nan if entry["score"] is None else entry["score"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{journal} is not the journal of a pruning: remove it to begin anew") from None


def _note(journal: Path | None, entry: dict[str, object]) -> None:
    if journal is None:
        return
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")
        stream.flush()
