"""Several runs together: what is compatible, their candidates in one list, and one merged folder.

Only candidates of one model, scored by one checkpoint of one metric on the same segments, are compatible: otherwise a
difference would be one of the metric or the data, not of the candidates.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from compress.errors import UserError
from results.candidate import Candidate
from results.formats import write_front
from results.rows.storage import Table
from results.run_files import read_file, write_file
from results.runs import ORIGINAL, RECOVERED, TABLE, RunView

# The parts of a signature that must be equal. The others (versions of torch and transformers) move the last digits.
DECISIVE = ("metric", "checkpoint", "digest", "comet", "data", "segments", "datadigest", "clean")
ROWS = 512  # appended to a merged table at once


def parts_of(signature: str) -> dict[str, str]:
    """`name:value|name:value` as a table."""
    pairs = (part.partition(":") for part in signature.split("|"))
    return {name: value for name, colon, value in pairs if colon}


def metric_of(candidates: Iterable[Candidate]) -> dict[str, str]:
    """The decisive parts of the candidates' signatures. Raises UserError if they differ from each other."""
    signed = [c for c in candidates if c.signature]
    first: dict[str, str] = {}
    for c in signed:
        parts = {name: value for name, value in parts_of(c.signature).items() if name in DECISIVE}
        first = first or parts
        if differs := difference(first, parts):
            raise UserError(f"candidate {c.candidate} was scored otherwise than {signed[0].candidate} ({differs})")
    return first


def difference(first: dict[str, str], second: dict[str, str]) -> str:
    """The decisive parts that differ, in words; empty for none."""
    names = [name for name in DECISIVE if first.get(name) != second.get(name)]
    return ", ".join(f"{name} {first.get(name, '-')} and {second.get(name, '-')}" for name in names)


def model_of(run: RunView) -> str:
    """The digest of the run's model: from model.json, or from the policy of a candidate."""
    return run.model.digest or run.policy(run.original or run.candidates[0]).model


def check_metric(runs: Sequence[RunView]) -> None:
    """Raises UserError if scores of the runs cannot be compared."""
    metrics = [metric_of(c for c in run.candidates if c.comparable) for run in runs]
    for run, metric in zip(runs[1:], metrics[1:], strict=True):
        if differs := difference(metrics[0], metric):
            raise UserError(
                f"{runs[0].path} and {run.path} were not scored alike ({differs}): scores of different metrics,"
                " checkpoints or data are never mixed"
            )


def check_same(runs: Sequence[RunView]) -> None:
    """Raises UserError if candidates of the runs cannot be on one front."""
    check_metric(runs)
    for run in runs[1:]:
        if model_of(run) != model_of(runs[0]):
            raise UserError(
                f"{runs[0].path} and {run.path} compress different models ({model_of(runs[0])[:12]} and"
                f" {model_of(run)[:12]}): they have no common front"
            )


def labels(runs: Sequence[RunView]) -> list[str]:
    """Names that tell the runs apart."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else f"{name}#{at}" for at, name in enumerate(names, start=1)]


def together(runs: Sequence[RunView]) -> list[Candidate]:
    """The candidates of all runs, each policy once, named RUN/NAME if there are several runs."""
    check_same(runs)
    if len(runs) == 1:
        return runs[0].candidates
    candidates: list[Candidate] = []
    seen: set[tuple[str, str]] = set()
    for run, label in zip(runs, labels(runs), strict=True):
        for c in _unseen(run.candidates, seen):
            candidates.append(replace(_labelled(c, label), policy=str(run.path / c.policy)))
    return candidates


def merge_runs(runs: Sequence[RunView], folder: Path, name: str) -> tuple[int, int]:
    """Writes the folder of a merged run. Returns how many candidates it has, and how many duplicates were left out."""
    if len({json.dumps(run.config.get("lang")) for run in runs}) > 1:
        raise UserError("the runs are of different language pairs: they have no common front")
    (folder / "policies").mkdir()
    bins = list(dict.fromkeys(b for run in runs for b in run.config.get("bins") or ()))
    config = runs[0].config | {"bins": bins, "name": name, "merged": [str(run.path) for run in runs]}
    write_file(folder / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    for path in (run.path / extra for run in reversed(runs) for extra in ("model.json", "sensitivities.json")):
        if path.is_file() and not path.is_symlink():
            write_file(folder / path.name, read_file(path, "the run"))  # that of the first run which has it stays
    table = Table(folder / TABLE)
    count = total = 0
    seen: set[tuple[str, str]] = set()
    for run, label in zip(runs, labels(runs), strict=True):
        all_rows = run.table.read()
        rows: list[Candidate] = []
        total += len(all_rows)
        for c in _unseen(all_rows, seen):
            count += 1
            named = c if c.candidate == ORIGINAL else _labelled(c, label)
            row = replace(named, policy=_copy_policy(run, c, folder), order=count)
            recovery = run.recovery(c)
            if recovery is not None:
                shutil.copytree(recovery, folder / RECOVERED / row.candidate, ignore=_links)
            rows.append(row)
        for start in range(0, len(rows), ROWS):
            table.append(rows[start : start + ROWS])
    write_front(table.read(texts=False), folder / "pareto.csv")
    return count, total - count


def _unseen(candidates: Iterable[Candidate], seen: set[tuple[str, str]]) -> Iterator[Candidate]:
    """Candidates whose policy, named by its hash, is not among `seen` with the same status; adds them to `seen`."""
    for c in candidates:
        if (c.policy, c.status) not in seen:
            seen.add((c.policy, c.status))
            yield c


def _labelled(candidate: Candidate, label: str) -> Candidate:
    parent = f"{label}/{candidate.parent}" if candidate.parent else ""
    return replace(candidate, candidate=f"{label}/{candidate.candidate}", parent=parent)


def _copy_policy(run: RunView, candidate: Candidate, folder: Path) -> str:
    """Copies a policy under its own hash, so that runs cannot overwrite each other's. Returns the relative path."""
    policy = run.policy(candidate)
    relative = f"policies/{policy.digest}.json"
    (folder / relative).write_text(policy.to_json(), encoding="utf-8")
    return relative


def _links(folder: str, names: list[str]) -> list[str]:
    """Links of a run from a stranger may lead to any file of this machine: they are not copied."""
    return [name for name in names if (Path(folder) / name).is_symlink()]
