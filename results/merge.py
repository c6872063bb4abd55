"""Command line: several runs of one model, data and metric become one, with one front.

python -m results.merge RUN... --out RUN

The result is a run's folder that everything here reads (report, select, export, compare). It cannot be resumed: no one
search made it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compress.cli import Parser
from compress.errors import UserError
from results.atomic_write import full_disk
from results.candidate import Candidate
from results.compatibility import check_same, labels
from results.formats import write_front
from results.report import write_report
from results.runs import ORIGINAL, RECOVERED, TABLE, Run
from results.table.storage import Table

ALIKE = ("model", "lang", "data", "comet", "segments", "max_new_tokens", "chat")
ROWS = 512  # written at once


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m results.merge", description="Runs of one model, data and metric as one run.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs")
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="folder of the new run; must not exist")
    given = parser.parse_args(arguments)
    if len(given.runs) < 2:
        raise UserError("merging takes at least two runs")
    if given.out.exists():
        raise UserError(f"{given.out} exists already; give another --out or remove it")
    runs = [Run.open(folder) for folder in given.runs]
    check_same(runs)
    partial = given.out.with_name(f".{given.out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        counts = merge(runs, partial, given.out.name)
        os.rename(partial, given.out)
    except OSError as error:
        refused = full_disk(error, given.out)
        raise (refused if isinstance(refused, UserError) else UserError(f"cannot write {given.out}: {error}")) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    kept, doubles = counts
    merged = Run.open(given.out)
    print(f"{given.out}: {kept} candidates of {len(runs)} runs, {doubles} that several had left out")
    print(f"{len(merged.front)} on the front: {given.out / 'pareto.csv'}")
    if merged.front:
        print(write_report(given.out))


def merge(runs: Sequence[Run], folder: Path, name: str) -> tuple[int, int]:
    """Writes the merged run; returns how many candidates it holds, and how many doubles were left out."""
    differ = [key for key in ALIKE if len({json.dumps(run.config.get(key)) for run in runs}) > 1]
    if "lang" in differ:
        raise UserError("the runs are of different language pairs: they have no common front")
    (folder / "policies").mkdir()
    bins = list(dict.fromkeys(b for run in runs for b in run.config.get("bins") or ()))
    config = runs[0].config | {"bins": bins, "name": name, "merged": [str(run.path) for run in runs]}
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for extra in ("model.json", "sensitivities.json"):
        found = next((run.path / extra for run in runs if (run.path / extra).is_file()), None)
        if found is not None:
            shutil.copyfile(found, folder / extra)
    table = Table(folder / TABLE)
    seen: set[tuple[str, str]] = set()
    everything: list[Candidate] = []
    doubles = 0
    for run, label in zip(runs, labels(runs), strict=True):
        rows: list[Candidate] = []
        for c in Table(run.path / TABLE, make=False).read():
            if (c.policy, c.status) in seen:
                doubles += 1
                continue
            seen.add((c.policy, c.status))
            named = replace(
                c,
                candidate=c.candidate if c.candidate == ORIGINAL else f"{label}/{c.candidate}",
                parent=f"{label}/{c.parent}" if c.parent else "",
                policy=_copy_policy(run, c, folder),
                order=len(everything) + 1,
            )
            place = run.recovery(c)
            if place is not None:
                shutil.copytree(place, folder / RECOVERED / named.candidate)
            everything.append(replace(named, hypotheses=(), comet_segments=()))
            rows.append(named)
            if len(rows) == ROWS:
                table.append(rows)
                rows = []
        table.append(rows)
    write_front(everything, folder / "pareto.csv")
    return len(everything), doubles


def _copy_policy(run: Run, candidate: Candidate, folder: Path) -> str:
    """Under its own hash, so two runs cannot take each other's names."""
    policy = run.policy(candidate)
    relative = f"policies/{policy.digest}.json"
    if not (folder / relative).exists():
        (folder / relative).write_text(policy.to_json(), encoding="utf-8")
    return relative


if __name__ == "__main__":
    from compress.cli import run as command

    sys.exit(command(main))
