"""Damaged and hostile run folders: every reader of results takes them, or refuses them in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from compress.artifact.recovered import RecoveryDelta
from compress.errors import UserError
from compress.policy.policy import Policy
from results import compare, front, select
from results.candidate import STATUSES, Candidate
from results.compatibility import check_same, merge_runs
from results.formats import FORMATS
from results.html.data import report_data
from results.html.page import page
from results.rows.storage import Table
from results.run_files import write_file
from results.runs import RECOVERED, RunView
from search.config import Config
from search.sampling.sensitivity import read_sensitivities
from search.tuning.journal import Journal, JournalEntry
from tests.mutations import NASTY, count_outcomes, mutated, mutated_json, one_line, within
from tests.results.examples import add_model, candidate, make_run, policy

DISTRIBUTIONS = {"x": optuna.distributions.CategoricalDistribution(["a", "b"])}
optuna.logging.set_verbosity(optuna.logging.WARNING)
SECONDS = 5.0  # nobody waits longer for a refusal


class Runs:
    """A good run, and damaged copies of it."""

    def __init__(self, work: Path) -> None:
        self.work, self.good, self.bad = work, work / "good", work / "bad"
        rows = [candidate(f"c{n:05d}", 1000 + 300 * n, 0.3 + 0.05 * n) for n in range(1, 6)]
        rows = [candidate("original", 20_000, 0.9, recipe="original"), *rows, candidate("c00006", status="failed")]
        make_run(self.good, rows, [policy(), policy("grid@1"), policy("grid@2", ("lm.0",))])
        add_model(self.good)
        config = Config(bins=("Bin2",), lang="en-zh", name="good", runs=str(work), max_bytes=9000, segments=2)
        write_file(self.good / "config.json", config.to_json())
        for name in ("model.json", "sensitivities.json"):
            write_file(self.good / name, (self.good / name).read_text())
        self.entries = [JournalEntry.of(c.candidate, "search", {"x": "a"}, c.status, c.comet, c.bytes) for c in rows]
        Journal(self.good / "study.journal", DISTRIBUTIONS, self.entries)
        shutil.copytree(self.good, work / "other")
        RecoveryDelta(policy(), about={"method": "cheap"}).save(self.good / RECOVERED / "c00001")
        self.rows = rows
        self.files = [path for path in sorted(self.good.rglob("*")) if path.is_file()]

    def attempt(self, rng: random.Random) -> str:
        shutil.rmtree(self.bad, ignore_errors=True)
        shutil.copytree(self.good, self.bad)
        kinds = (self.bytes_of_a_file, self.values_of_a_file, self.rows_of_a_table)
        kind: Callable[[random.Random], None] = rng.choice(kinds)
        kind(rng)
        refusals = 0
        for reader in self.readers():
            try:
                with within(SECONDS), contextlib.redirect_stdout(io.StringIO()):
                    reader()
            except UserError as refusal:
                refusals += 1
                one_line(refusal, "")
        return f"{kind.__name__.replace('_', ' ')} {'refused' if refusals else 'read'}"

    def bytes_of_a_file(self, rng: random.Random) -> None:
        path = self.bad / rng.choice(self.files).relative_to(self.good)
        path.write_bytes(mutated(path.read_bytes(), rng))

    def values_of_a_file(self, rng: random.Random) -> None:
        """A JSON file with other values; in half of the cases without checksums, as somebody with intentions would."""
        path = self.bad / rng.choice([p for p in self.files if p.suffix == ".json"]).relative_to(self.good)
        path.write_bytes(mutated_json(path.read_text(), rng))
        if rng.random() < 0.5:
            (self.bad / "checksums.json").unlink(missing_ok=True)

    def rows_of_a_table(self, rng: random.Random) -> None:
        """A table in perfect order whose rows say nonsense."""
        names: dict[type, list[Any]] = {
            str: [each for each in NASTY if isinstance(each, str) and each != "\ud800"] + list(STATUSES),
            float: [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, 5e-324],
            int: [0, -1, 1, 2**62, -(2**62), 7],
            bool: [True, False],
            tuple: [(), (0.5,), ("x",), (math.nan,) * 3, ("\x1b[2J",)],
        }
        fields = [field.name for field in dataclasses.fields(Candidate)]
        rows = Table(self.bad / "candidates.parquet").read()
        for _ in range(rng.randint(1, 3)):
            at, name = rng.randrange(len(rows)), rng.choice(fields)
            value = rng.choice(names[type(getattr(rows[at], name))])
            rows[at] = dataclasses.replace(rows[at], **{name: value})
        shutil.rmtree(self.bad / "candidates.parquet")
        with contextlib.suppress(Exception):  # what no table can hold
            Table(self.bad / "candidates.parquet").append(rows)

    def readers(self) -> list[Callable[[], object]]:
        bad, other = str(self.bad), str(self.work / "other")
        return [
            *(lambda kind=kind: front.main([bad, "--format", kind]) for kind in sorted(FORMATS)),
            lambda: front.main([bad, "--per-bin"]),
            lambda: select.main([bad]),
            lambda: select.main([bad, "--json"]),
            lambda: compare.main([bad, other, "--json", "--candidates", "c00001", "c00002"]),
            self.report,
            self.policies,
            self.merge,
            self.resume,
        ]

    def report(self) -> None:
        run = RunView.open(self.bad)
        page(run, report_data(run, ["c00001"]))

    def policies(self) -> None:
        run = RunView.open(self.bad)
        for each in run.candidates:
            assert isinstance(run.policy(each), Policy)
            if (folder := run.recovery(each)) is not None:
                RecoveryDelta.read(folder)

    def merge(self) -> None:
        out = self.work / "merged"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        runs = [RunView.open(self.bad), RunView.open(self.work / "other")]
        check_same(runs)
        merge_runs(runs, out, "merged")
        RunView.open(out)

    def resume(self) -> None:
        """What a run reads of its folder before it goes on."""
        config = Config.read(self.bad / "config.json")
        config.check_same(config)
        config.bins_in_bytes(20_000)
        read_sensitivities(self.bad / "sensitivities.json")
        Journal(self.bad / "study.journal", DISTRIBUTIONS, self.entries)
        Table(self.bad / "candidates.parquet").append([candidate("c00007")])


def fuzz(rounds: int, seed: int, work: Path) -> Counter[str]:
    """How often what happened. Any exception but a UserError goes through to the caller."""
    inputs = Runs(work)
    return count_outcomes(rounds, seed, lambda _, rng: inputs.attempt(rng))
