"""What may stand in one front: candidates of one model, scored by one checkpoint of one metric on the same segments.

Everything else is refused, because a difference would be the metric's or the data's and not the candidates'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compress.errors import UserError
from results.candidate import Candidate
from results.runs import Run

# What of a signature makes scores comparable. The rest (versions of torch and transformers) moves the last digits.
DECISIVE = ("metric", "checkpoint", "digest", "comet", "data", "segments", "datadigest", "clean")


def parts_of(signature: str) -> dict[str, str]:
    """`name:value|name:value` as a table."""
    pairs = (part.partition(":") for part in signature.split("|"))
    return {name: value for name, found, value in pairs if found}


def metric_of(candidates: Sequence[Candidate]) -> dict[str, str]:
    """The decisive parts of the candidates' signature. Refuses candidates that disagree among themselves."""
    signed = [c for c in candidates if c.signature]
    known: dict[str, str] = {}
    for c in signed:
        found = {name: value for name, value in parts_of(c.signature).items() if name in DECISIVE}
        known = known or found
        if differs := difference(known, found):
            raise UserError(f"candidate {c.candidate} was scored otherwise than {signed[0].candidate} ({differs})")
    return known


def difference(first: dict[str, str], second: dict[str, str]) -> str:
    """What differs, in words; empty for nothing."""
    names = [name for name in DECISIVE if first.get(name) != second.get(name)]
    return ", ".join(f"{name} {first.get(name, '-')} and {second.get(name, '-')}" for name in names)


def model_of(run: Run) -> str:
    """The digest of the run's model: from model.json, or from the policy of a candidate."""
    if run.model.digest:
        return run.model.digest
    return run.policy(run.original or run.candidates[0]).model


def check_metric(runs: Sequence[Run]) -> None:
    """Refuses runs whose scores cannot stand side by side."""
    known = metric_of(scored(runs[0]))
    for run in runs[1:]:
        if differs := difference(known, metric_of(scored(run))):
            raise UserError(
                f"{runs[0].path} and {run.path} were not scored alike ({differs}): scores of different metrics,"
                " checkpoints or data are never mixed"
            )


def check_same(runs: Sequence[Run]) -> None:
    """Refuses runs whose candidates cannot be in one front."""
    check_metric(runs)
    for run in runs[1:]:
        if model_of(run) != model_of(runs[0]):
            raise UserError(
                f"{runs[0].path} and {run.path} compress different models ({model_of(runs[0])[:12]} and"
                f" {model_of(run)[:12]}): they have no common front"
            )


def together(runs: Sequence[Run]) -> list[Candidate]:
    """The candidates of all runs, each policy once, named RUN/NAME where there are several runs."""
    check_same(runs)
    if len(runs) == 1:
        return runs[0].candidates
    found: list[Candidate] = []
    seen: set[tuple[str, str]] = set()
    for run, label in zip(runs, labels(runs), strict=True):
        for c in run.candidates:
            # A policy is named by its hash: the run that comes first keeps it.
            if (c.policy, c.status) not in seen:
                seen.add((c.policy, c.status))
                parent = f"{label}/{c.parent}" if c.parent else ""
                place = str(run.path / c.policy)
                found.append(replace(c, candidate=f"{label}/{c.candidate}", parent=parent, policy=place))
    return found


def labels(runs: Sequence[Run]) -> list[str]:
    """Names that tell the runs apart."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else f"{name}#{at}" for at, name in enumerate(names, start=1)]


def scored(run: Run) -> list[Candidate]:
    from results.pareto import comparable

    return [c for c in run.candidates if comparable(c)]
