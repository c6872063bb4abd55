"""A search while everything goes wrong: kill -9 at random moments, stopped workers, full disks, a damaged store.

    python -m benchmarks.soak [--minutes 60] [--candidates 60] [--kills 50] [--seed 0]

Searches on the embedded model, one after the other, each gone on with until it has its candidates. After whatever ended
a driver, its table is read: no row may be lost, changed or doubled. At the end of each search the front must be the one
computed anew from the table, the counts those of its rows, and the study one that Optuna opens. Needs the right to
mount small file systems.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from results.candidate import Candidate
from results.formats import to_csv
from results.pareto import front
from results.rows.storage import Table
from search.pruning import RungStats
from search.tuning.journal import candidates_in

ROOT = Path(__file__).resolve().parent.parent
MARK = "COMPRESSION_SEARCH_SOAK"  # in the environment of every process of a driver
DISKS = {"run": "96m", "store": "512m", "tmp": "768m"}  # small file systems, by what lies on them
STOPPED_FOR = 40  # seconds after which a job counts as stuck here; 600 are the least elsewhere
MOST_WAIT = 240  # seconds that a driver may take to end once it has to
DRIVER = f"""
import sys
import cluster.deadlines, cluster.pool

class Deadlines(cluster.deadlines.Deadlines):
    def __init__(self):
        super().__init__(times=3.0, least={STOPPED_FOR})

cluster.pool.Deadlines = Deadlines
from search.run import main
sys.exit(main(sys.argv[1:]))
"""
SEARCH = ["--bin", "Bin2", "--lang", "en-zh", "--levels", "raw:bf16,grid@1,grid@2", "--trellis", "--no-baselines"]
SEARCH += ["--segments", "24", "--rungs", "all", "--threads", "1", "--workers", "2"]
PROCESS = {"worker": "ray::WorkerActor", "scorer": "ray::Scorer", "raylet": "raylet"}
SEARCHING = 0.75  # share of the moments that come after a new row, not while the run is prepared
ERROR = re.compile(r"^error: \S")


@dataclass
class Outcome:
    """What was seen so far."""

    events: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)  # of drivers: how they ended
    broken: list[str] = field(default_factory=list)  # promises


class Soak:
    """One store and one folder of runs on small disks, and a driver that is always going on with some run."""

    def __init__(self, work: Path, candidates: int, seed: int) -> None:
        self.work, self.candidates, self.rng = work, candidates, random.Random(seed)
        self.runs, self.store, self.tmp = work / "run", work / "store", work / "tmp"
        (work / "driver.py").write_text(DRIVER)
        self.known: dict[str, dict[str, str]] = {}  # run → candidate → its row, as it was read first
        self.seen = Outcome()

    def start(self, name: str) -> Driver:
        resume = ["--resume"] if (self.runs / name / "config.json").exists() else []
        command = [sys.executable, str(self.work / "driver.py"), *SEARCH, "--trials", str(self.candidates)]
        command += ["--runs", str(self.runs), "--store", str(self.store), "--name", name, *resume]
        return Driver(name, command, self.work, self.tmp)

    def rows(self, name: str) -> list[Candidate]:
        folder = self.runs / name / "candidates.parquet"
        return Table(folder, make=False).read() if folder.is_dir() else []

    def done(self, name: str) -> bool:
        return sum(c.recipe == "search" for c in self.rows(name)) >= self.candidates

    def check_rows(self, name: str) -> None:
        """Rows that were there are there, unchanged, once."""
        rows = self.rows(name)
        now = {c.candidate: repr(c) + repr(c.comet_segments) + repr(c.hypotheses) for c in rows}
        if len(now) != len(rows):
            self.seen.broken.append(f"{name}: a candidate is in the table twice")
        searched = [c.policy for c in rows if c.recipe == "search" and c.status == "scored"]
        if len(set(searched)) != len(searched):
            self.seen.broken.append(f"{name}: a policy was scored twice")
        for candidate, row in self.known.get(name, {}).items():
            if now.get(candidate) != row:
                self.seen.broken.append(f"{name}: the row of {candidate} is lost or another")
        self.known[name] = now

    def check_end(self, name: str, driver: Driver) -> None:
        """A finished run agrees with its table."""
        folder, rows = self.runs / name, self.rows(name)
        if (folder / "pareto.csv").read_text() != to_csv(front(rows)):
            self.seen.broken.append(f"{name}: pareto.csv is not the front of the table")
        ids = [c.candidate for c in rows]
        trials = optuna.load_study(
            storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))), study_name=None
        ).get_trials()
        if [t.user_attrs["candidate"] for t in trials] != candidates_in(folder / "study.journal"):
            self.seen.broken.append(f"{name}: the study is not the table's")
        if set(candidates_in(folder / "study.journal") or ()) - set(ids):
            self.seen.broken.append(f"{name}: the study has candidates that the table has not")
        summary = RungStats.of([c for c in rows if c.recipe == "search"], {c.candidate for c in front(rows)}).summary()
        if summary and summary[1:] not in driver.output():
            self.seen.broken.append(f"{name}: the counts printed are not those of the table ({summary})")
        for file, end in (("report.html", b"</html>\n"), ("pareto.png", b"IEND\xaeB`\x82")):
            if not (folder / file).read_bytes().endswith(end):
                self.seen.broken.append(f"{name}: {file} is not whole")

    def check_report(self, name: str) -> None:
        """What a report that was killed left: each file whole, or not there."""
        for file, end in (("report.html", b"</html>\n"), ("pareto.png", b"IEND\xaeB`\x82")):
            path = self.runs / name / file
            if path.exists() and not path.read_bytes().endswith(end):
                self.seen.broken.append(f"{name}: {file} is torn")

    def ended(self, driver: Driver, killed: bool) -> None:
        """Reads how a driver ended; whatever it did not clean up is ended."""
        code = driver.wait(MOST_WAIT)
        errors = [line for line in driver.errors().splitlines() if ERROR.match(line)]
        if code is None:
            driver.kill()
            self.seen.broken.append(f"{driver.name}: the driver did not end in {MOST_WAIT} s")
            self.seen.ends["hung"] += 1
        elif killed:
            self.seen.ends["killed"] += 1
        elif code == 0:
            self.seen.ends["came to its end"] += 1
        else:
            self.seen.ends[f"exit {code}"] += 1
            if len(errors) != 1 or "Traceback" in driver.errors():
                self.seen.broken.append(f"{driver.name}: exit {code} with {len(errors)} error lines: {driver.kept()}")
            else:
                print(f"    {errors[0][:200]}", flush=True)
        driver.sweep()
        self.check_rows(driver.name)

    def settle(self, driver: Driver) -> bool:
        """Waits for the first worker, or in most cases for a row of this driver; False if it ended meanwhile."""
        begin, rows = time.monotonic(), len(self.rows(driver.name))
        searching = self.rng.random() < SEARCHING
        while driver.code is None and time.monotonic() - begin < MOST_WAIT:
            if len(self.rows(driver.name)) > rows or self.done(driver.name):
                return True
            if not searching and driver.processes(PROCESS["worker"]):
                return True
            time.sleep(0.5)
        return driver.code is None

    def settle_report(self, driver: Driver) -> bool:
        """Waits until the report is under way; False if the driver ended first."""
        while driver.code is None and not driver.draws():
            time.sleep(0.05)
        return driver.code is None

    def pause(self, driver: Driver, seconds: float, done: bool) -> None:
        """Waits so long, or until the driver ends, or the search is done that was not."""
        end = time.monotonic() + seconds
        while driver.code is None and time.monotonic() < end and self.done(driver.name) == done:
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))

    # What goes wrong. Each returns whether the driver must end of it.

    def kill(self, driver: Driver, what: str) -> bool:
        if what == "driver":
            driver.kill()
            return True
        processes = driver.processes(PROCESS[what])
        if not processes:
            return False
        os.kill(self.rng.choice(processes), signal.SIGKILL)
        return what == "raylet"

    def stop(self, driver: Driver) -> bool:
        for process in driver.processes(PROCESS["worker"])[:1]:
            os.kill(process, signal.SIGSTOP)
        return False

    def fill(self, driver: Driver, disk: str) -> bool:
        ballast = self.work / disk / "ballast"
        with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(b"x" * 65536)
        driver.wait(25)
        ballast.unlink()
        return driver.code is not None

    def read_only(self, driver: Driver) -> bool:
        mount("--bind", str(self.runs), str(self.runs))  # another view of it: the first has files open for writing
        mount("-o", "remount,ro,bind", str(self.runs))
        driver.wait(25)
        subprocess.run(["umount", "-l", str(self.runs)], check=True)
        return driver.code is not None

    def damage_store(self, how: str) -> bool:
        variants = [path for path in self.store.glob("*/*") if path.is_file() and not path.name.endswith(".partial")]
        for path in self.rng.sample(variants, min(3, len(variants))):
            if how == "deleted":
                path.unlink(missing_ok=True)
                continue
            content = bytearray(path.read_bytes())
            content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
            path.write_bytes(bytes(content))
        return False


class Driver:
    """A process of search.run with all that it started."""

    def __init__(self, name: str, command: list[str], work: Path, tmp: Path) -> None:
        self.name, self.mark = name, f"{os.getpid()}-{time.monotonic_ns()}"
        self._out, self._err = (work / f"{name}.{kind}" for kind in ("out", "err"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp), MARK: self.mark}
        with self._out.open("w") as out, self._err.open("w") as err:
            streams: dict[str, IO[str]] = {"stdout": out, "stderr": err}
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, **streams)  # type: ignore[call-overload]

    @property
    def code(self) -> int | None:
        code: int | None = self._process.poll()
        return code

    def draws(self) -> bool:
        """Whether it draws the plots of its report: matplotlib's fonts are in memory then, and not before."""
        with contextlib.suppress(OSError):
            return "ft2font" in Path(f"/proc/{self._process.pid}/maps").read_text()
        return False

    def wait(self, seconds: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.code

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def errors(self) -> str:
        return self._err.read_text(errors="replace")

    def output(self) -> str:
        return self._out.read_text(errors="replace")

    def kept(self) -> Path:
        """A copy of what it said, which the next driver would overwrite."""
        return Path(shutil.copy(self._err, self._err.with_suffix(f".{time.monotonic_ns()}")))

    def processes(self, title: str = "") -> list[int]:
        """Its processes whose command begins so."""
        processes: list[int] = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{MARK}={self.mark}".encode() not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                command = (folder / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                if Path(command).name.startswith(title) or command.startswith(title):
                    processes.append(int(folder.name))
        return processes

    def sweep(self) -> None:
        """Ends what a killed driver left running."""
        for _ in range(20):
            left = self.processes()
            for process in left:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            if not left:
                return
            time.sleep(0.2)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


@contextlib.contextmanager
def small_disks(work: Path) -> Iterator[None]:
    made = []
    try:
        for name, size in DISKS.items():
            (work / name).mkdir()
            mount("-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(work / name))
            made.append(work / name)
        yield
    finally:
        for folder in made:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def plan(kills: int, rng: random.Random) -> list[tuple[str, str]]:
    """All that will go wrong, in a random order."""
    targets = ["driver", "worker", "scorer", "raylet", "report"]
    events = [("kill -9", targets[n % len(targets)]) for n in range(kills)]
    events += [("SIGSTOP", "worker")] * 5
    events += [("full disk", disk) for disk in ("run", "store", "tmp", "run", "store")]
    events += [("read-only", "run"), *(("variants", how) for how in ("deleted", "flipped") * 2)]
    rng.shuffle(events)
    return events


def soak(work: Path, options: argparse.Namespace) -> Outcome:
    here = Soak(work, options.candidates, options.seed)
    waiting = [event for event in plan(options.kills, here.rng) if options.only in " ".join(event)]
    begin, number, driver = time.monotonic(), 1, None
    while waiting and time.monotonic() - begin < 60 * options.minutes:
        name = f"run{number}"
        driver = here.start(name)
        over = killed = False
        while not over:
            reporting = here.done(name)
            left = [event for event in waiting if (event == ("kill -9", "report")) == reporting]
            if not left:
                here.pause(driver, MOST_WAIT, reporting)
                if driver.code is not None or here.done(name) == reporting:
                    break
                continue
            if not (here.settle_report(driver) if reporting else here.settle(driver)):
                break
            here.pause(driver, here.rng.uniform(0, 1.5) if reporting else here.rng.uniform(3, 14), reporting)
            if driver.code is not None:
                break
            if here.done(name) != reporting:
                continue
            event = left[0]
            waiting.remove(event)
            here.seen.events[" ".join(event)] += 1
            print(
                f"{time.monotonic() - begin:5.0f} s {name} {len(here.rows(name)):3} rows: {' '.join(event)}", flush=True
            )
            over = happen(here, driver, event)
            killed = over and event[0] == "kill -9" and event[1] in ("driver", "report")
        here.ended(driver, killed)
        if killed:
            here.check_report(name)
        if here.done(name) and not killed and driver.code == 0:
            here.check_end(name, driver)
            number += 1
    finish(here, number, driver)
    return here.seen


def happen(here: Soak, driver: Driver, event: tuple[str, str]) -> bool:
    """Lets it happen; whether the driver ended, or must end, of it."""
    what, where = event
    if what == "kill -9":
        return here.kill(driver, "driver" if where == "report" else where)
    if what == "SIGSTOP":
        return here.stop(driver)
    if what == "full disk":
        return here.fill(driver, where)
    if what == "read-only":
        return here.read_only(driver)
    return here.damage_store(where)


def finish(here: Soak, number: int, driver: Driver | None) -> None:
    """The last search comes to its end undisturbed; then two at once on one store."""
    if driver is not None and not here.done(f"run{number}"):
        driver = here.start(f"run{number}")
        here.ended(driver, False)
        here.check_end(f"run{number}", driver)
    shutil.rmtree(here.store, ignore_errors=True)
    pair = [here.start("left"), here.start("right")]
    here.seen.events["two searches on one empty store"] += 1
    for each in pair:
        each.wait(4 * MOST_WAIT)
        here.ended(each, False)
        here.check_end(each.name, each)


def report(seen: Outcome, here: argparse.Namespace, seconds: float) -> str:
    lines = ["| what happened | times |", "|---|---|", *(f"| {n} | {c} |" for n, c in sorted(seen.events.items()))]
    lines += [
        "",
        "| how drivers ended | times |",
        "|---|---|",
        *(f"| {n} | {c} |" for n, c in sorted(seen.ends.items())),
    ]
    lines += ["", f"{seconds / 60:.0f} minutes, {here.candidates} candidates a search, seed {here.seed}."]
    lines += [f"Broken promises: {len(seen.broken)}", *(f"- {each}" for each in seen.broken)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="no further event after these")
    parser.add_argument("--candidates", type=int, default=60, help="of each search")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="EVENT", default="", help='such as "kill -9 report"')
    options = parser.parse_args()
    begin = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="soak-"))  # short: Ray's sockets are below it
    try:
        with small_disks(work):
            seen = soak(work, options)
    except BaseException:
        print(f"what was said is in {work}", file=sys.stderr)
        raise
    print(report(seen, options, time.monotonic() - begin))
    print(json.dumps({"broken": seen.broken}, ensure_ascii=False), file=sys.stderr)
    if not seen.broken:
        shutil.rmtree(work, ignore_errors=True)
    return bool(seen.broken)


if __name__ == "__main__":
    sys.exit(main())
