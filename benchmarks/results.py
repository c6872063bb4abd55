"""100,000 candidates: append, read, front, hypervolume, report; compared with plain pandas and Optuna, with memory.

    python -m benchmarks.results [--candidates 100000] [--work DIR]

Candidates have 64 translations each. The table is filled in appends of BLOCK rows, except that at each mark SINGLE
candidates are appended one by one, as a search does it; both kinds of append count the same for merging parts. Plain
pandas is what one would write in five lines: concatenate a row to the frame and write the frame again; it is timed at
the marks only, because all of it would take days. Each measurement runs in a process of its own, and its CPU time,
imports included, and peak memory are printed.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from results.candidate import Candidate
from results.html.page import write_report
from results.pareto import Front, hypervolume
from results.pareto import front as front_of
from results.rows.storage import Table

SEGMENTS = 64
WORDS = "the model of a layer is small and its bytes are few but each bit counts in this search".split()  # noqa: SIM905
MARKS = (1_000, 10_000, 100_000)
BLOCK, SINGLE = 128, 200


def candidates(count: int) -> Iterator[Candidate]:
    """Random candidates near a curve of diminishing returns, as a search makes them."""
    chance = random.Random(0)
    lines = [" ".join(chance.choices(WORDS, k=12)) for _ in range(2_000)]
    for n in range(count):
        size = chance.randrange(1_000_000_000, 2_000_000_000)
        comet = 0.8 - 0.3 * 1e9 / size - chance.expovariate(20)
        scores = tuple(comet + chance.gauss(0, 0.05) for _ in range(SEGMENTS))
        yield Candidate(
            f"c{n:06d}", "search", "Bin2", size, comet, comet - 0.01, comet + 0.01, 50.0, 30.0, SEGMENTS, 8_000_000_000,
            size / 1e9, 0, "full", 0.1, "policies/p.json", "metric:comet", order=n + 1, seconds=float(n),
            comet_segments=scores, hypotheses=tuple(chance.choices(lines, k=SEGMENTS)),
        )  # fmt: skip


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def append(folder: Path, count: int) -> dict[str, Any]:
    """Milliseconds for each of SINGLE appends at each mark, merges of parts included; and for all rows together."""
    table, total = Table(folder / "candidates.parquet"), 0.0
    waiting: list[Any] = []
    singles: dict[int, float] = {}
    marks = {min(mark, count) for mark in MARKS}
    spent = 0.0
    for n, candidate in enumerate(candidates(count), start=1):
        mark = min((m for m in marks if m >= n), default=count)
        if n > mark - SINGLE:
            if waiting:
                total += timed(partial(table.append, waiting))[0]
                waiting = []
            spent += timed(partial(table.append, [candidate]))[0]
            if n == mark:
                singles[mark] = round(1000 * spent / SINGLE, 2)
                total, spent = total + spent, 0.0
            continue
        waiting.append(candidate)
        if len(waiting) == BLOCK:
            total += timed(partial(table.append, waiting))[0]
            waiting = []
    return {"milliseconds": singles, "seconds in all": round(total, 1), "parts": len(table.parts())}


def append_pandas(folder: Path, count: int) -> dict[str, Any]:
    """One append at each mark: the frame, one row more, written again."""
    from dataclasses import asdict

    import pandas

    marks = {}
    rows = [asdict(c) for c in candidates(min(count, MARKS[-1]))]
    for mark in [m for m in MARKS if m <= count]:
        frame = pandas.DataFrame(rows[: mark - 1])
        path = folder / "plain.parquet"

        def add(frame: Any = frame, row: Any = rows[mark - 1], path: Path = path) -> None:
            pandas.concat([frame, pandas.DataFrame([row])], ignore_index=True).to_parquet(path)

        marks[mark] = round(1000 * timed(add)[0], 1)
    return {"milliseconds": marks}


def read(folder: Path, count: int) -> dict[str, Any]:  # noqa: ARG001
    seconds, rows = timed(lambda: Table(folder / "candidates.parquet", make=False).read(texts=False))
    return {"seconds": round(seconds, 2), "rows": len(rows)}


def read_pandas(folder: Path, count: int) -> dict[str, Any]:  # noqa: ARG001
    import pandas

    seconds, frame = timed(lambda: pandas.read_parquet(folder / "candidates.parquet"))
    return {"seconds": round(seconds, 2), "rows": len(frame)}


def front(folder: Path, count: int) -> dict[str, Any]:  # noqa: ARG001
    """Front and hypervolume: ours, with pandas, and Optuna's; they must agree."""
    import numpy as np
    import pandas
    from optuna._hypervolume import compute_hypervolume
    from optuna.study._multi_objective import _is_pareto_front

    rows = Table(folder / "candidates.parquet", make=False).read(texts=False)
    at_once, members = timed(lambda: front_of(rows))
    growing, grown = timed(lambda: Front(rows).members)
    frame = pandas.DataFrame({"bytes": [c.bytes for c in rows], "comet": [c.comet for c in rows]})

    def plain() -> Any:
        ordered = frame.sort_values(["bytes", "comet"], ascending=[True, False])
        return ordered[ordered.comet > ordered.comet.cummax().shift(fill_value=-1)]

    by_pandas, plainly = timed(plain)
    losses = np.array([(c.bytes, -c.comet) for c in rows], dtype=float)
    by_optuna, mask = timed(lambda: _is_pareto_front(losses, assume_unique_lexsorted=False))
    points = [(float(c.bytes), c.comet) for c in rows]
    volume_seconds, volume = timed(lambda: hypervolume(points, (2e9, -1.0)))
    optuna_seconds, theirs = timed(lambda: compute_hypervolume(losses, np.array([2e9, 1.0])))
    assert members == grown
    assert [c.bytes for c in members] == plainly.bytes.tolist() == sorted(losses[mask, 0].astype(int).tolist())
    assert abs(volume - theirs) <= 1e-9 * theirs
    return {
        "members": len(members),
        "at once": round(at_once, 3),
        "a candidate, microseconds": round(1e6 * growing / len(rows), 2),
        "pandas": round(by_pandas, 3),
        "optuna": round(by_optuna, 3),
        "hypervolume": round(volume_seconds, 3),
        "hypervolume, optuna": round(optuna_seconds, 3),
    }


def report(folder: Path, count: int) -> dict[str, Any]:  # noqa: ARG001
    seconds, path = timed(lambda: write_report(folder))
    return {"seconds": round(seconds, 2), "bytes": path.stat().st_size}


def opened(folder: Path, count: int) -> dict[str, Any]:  # noqa: ARG001
    """Seconds until the report is drawn in a headless Chromium, where there is one."""
    import asyncio

    from tests.results.chromium import Tab, find, in_tab

    if find() is None:
        return {"seconds": None}
    result: dict[str, Any] = {}

    async def work(tab: Tab) -> None:
        started = time.perf_counter()
        await tab.open((folder / "report.html").as_uri(), "document.documentElement?.dataset.ready === 'yes'")
        result["seconds"] = round(time.perf_counter() - started, 2)
        result["points"] = await tab.value("document.querySelectorAll('#over circle').length")
        await asyncio.sleep(0)

    in_tab(work)
    return result


MEASURED: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "append": append,
    "append_pandas": append_pandas,
    "read": read,
    "read_pandas": read_pandas,
    "front": front,
    "report": report,
    "opened": opened,
}


def prepare(folder: Path) -> None:
    """The other files of a run's folder."""
    (folder / "policies").mkdir(parents=True, exist_ok=True)
    units = [f"lm.{layer}.{kind}" for layer in range(32) for kind in ("attention", "mlp")]
    levels = {unit: f"grid@{2 + n % 5 / 4:g}" for n, unit in enumerate(units)}
    (folder / "policies/p.json").write_text(json.dumps({"model": "0" * 16, "levels": levels}))
    config = {"lang": "en-zh", "bins": ["Bin2"], "model": "", "data": "", "name": folder.name}
    (folder / "config.json").write_text(json.dumps(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--only", choices=MEASURED, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        result = MEASURED[options.only](options.work, options.candidates)
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = round(used.ru_utime + used.ru_stime, 1)
        print(json.dumps(result | {"CPU seconds in all": cpu, "MiB": round(used.ru_maxrss / 1024)}))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch) / "run"
        prepare(folder)
        for name in MEASURED:
            command = [sys.executable, "-m", "benchmarks.results", "--only", name, "--work", str(folder)]
            done = subprocess.run(
                [*command, "--candidates", str(options.candidates)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(f"{name} failed: {done.stderr[-800:]}")
            figures = json.loads(done.stdout.splitlines()[-1])
            memory = figures.pop("MiB")
            print(f"| {name} | {'; '.join(f'{k} {_plain(v)}' for k, v in figures.items())} | {memory:,} |", flush=True)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{v} at {int(k):,}" for k, v in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
