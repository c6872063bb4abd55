"""COMET: starts and keeps its process (comet_server.py), and never scores the same triple twice.

A process that gives no answer for many times as long as earlier answers took counts as one that died.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from compress.errors import UserError
from evaluate.metrics.comet_server import find_checkpoint
from evaluate.metrics.score_cache import ScoreCache, Triple

DEFAULT = "Unbabel/wmt22-comet-da"
ROOT = Path(__file__).resolve().parents[2]
BATCHES_A_REQUEST = 4  # scores that are lost if the process dies
SLOW = 20.0  # how many times as long as the longest answer so far an answer may take,
LEAST, FIRST = 300.0, 3600.0  # but never fewer seconds; and how many before there was one


@dataclass(frozen=True)
class Identity:
    """What a score must be quoted with: scores of other checkpoints or versions are not comparable."""

    name: str
    digest: str
    version: str

    def signature(self, data: str) -> str:
        """Of a COMET score of finished translations. `data` is the data's signature, see `DataSet.signature`."""
        return f"metric:comet|checkpoint:{self.name}|digest:{self.digest}|comet:{self.version}|{data}"


def check_comet(name: str) -> None:
    """Refuses a path without a checkpoint. Hub names are only checked when they are loaded."""
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        try:
            find_checkpoint(name)
        except ValueError as error:
            raise UserError(f"COMET: {error}; give --comet embedded, a checkpoint or a hub name") from None


class Comet:
    """Scores (source, hypothesis, reference) triples in the COMET process, which is restarted once if it dies.

    Scores are kept in memory, and in the file `cache` if there is one. Without `reuse` none are kept: every triple
    goes through comet's own `predict` every time.
    """

    def __init__(
        self,
        name: str,
        batch_size: int = 64,
        gpus: int = 0,
        threads: int = 0,
        cache: Path | None = None,
        reuse: bool = True,
    ) -> None:
        self.name = name
        self.hits = 0
        self._chunk = BATCHES_A_REQUEST * batch_size
        self._reuse = reuse
        self._arguments = ["--batch-size", str(batch_size), "--gpus", str(gpus), "--threads", str(threads)]
        if not reuse:
            self._arguments.append("--predict")
        self._known: dict[Triple, float] = {}
        self._longest: float | None = None  # seconds of an answer
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self.identity = self._start()
        metric = f"{self.identity.digest} {self.identity.version}"
        self._cache = ScoreCache(cache, metric) if cache is not None and reuse else None

    def _start(self) -> Identity:
        python = os.environ.get("COMET_PYTHON", sys.executable)
        command = [python, "-m", "evaluate.metrics.comet_server", "--checkpoint", self.name, *self._arguments]
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - lives with the process
        paths = [str(ROOT)]
        if "COMET_PYTHON" not in os.environ and os.environ.get("PYTHONPATH"):
            paths.append(os.environ["PYTHONPATH"])  # another environment would import this one's libraries from it
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TOKENIZERS_PARALLELISM": "false"}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                encoding="utf-8",
                env=environment,
            )
        except OSError as error:
            raise UserError(f"COMET: {python} cannot be started ({error.strerror}): check COMET_PYTHON") from None
        try:
            greeting = self._read()
        except BrokenPipeError as error:
            self.close()
            raise UserError(f"COMET: {self.name} could not be loaded ({error})") from None
        if "refused" in greeting:
            self.close()
            raise UserError(f"COMET: {greeting['refused']}")
        name = self.name if not Path(self.name).exists() else Path(greeting["checkpoint"]).name
        return Identity(name, greeting["digest"], greeting["version"])

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BrokenPipeError(self._last_output())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_output(self) -> str:
        """The last line that the process wrote to standard error."""
        if self._log is None:
            return "no output"
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return lines[-1][:200] if lines else "no output"

    def _deadline(self) -> float:
        """Seconds that an answer may take."""
        return FIRST if self._longest is None else max(LEAST, SLOW * self._longest)

    def _request(self, triples: Sequence[Triple]) -> list[float]:
        samples = [{"src": source, "mt": hypothesis, "ref": reference} for source, hypothesis, reference in triples]
        if self._process is None:
            raise BrokenPipeError("it is not running")
        assert self._process.stdin is not None
        deadline, started = self._deadline(), time.monotonic()
        watchdog = threading.Timer(deadline, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps({"samples": samples}) + "\n")
            self._process.stdin.flush()
            answer = self._read()
        except OSError as error:
            if time.monotonic() - started >= deadline:
                raise BrokenPipeError(f"no answer in {deadline:.0f} s") from error
            raise
        finally:
            watchdog.cancel()
        self._longest = max(self._longest or 0.0, time.monotonic() - started)
        if "error" in answer:
            raise UserError(f"COMET failed: {answer['error']}")
        scores = [float(score) for score in answer["scores"]]
        if len(scores) != len(triples):
            raise UserError(f"COMET gave {len(scores)} scores for {len(triples)} segments")
        if bad := [triple for triple, score in zip(triples, scores, strict=True) if not math.isfinite(score)]:
            raise UserError(f"COMET gave no number for {len(bad)} segments, first: {bad[0][1][:60]!r}")
        return scores

    def _request_with_restart(self, triples: Sequence[Triple], deaths: int) -> tuple[list[float], int]:
        """The scores, and how often the process has died so far; the second time is an error."""
        while True:
            try:
                return self._request(triples), deaths
            except (BrokenPipeError, OSError, json.JSONDecodeError) as error:
                deaths += 1
                reason = self._last_output() if getattr(error, "errno", None) else str(error)
                self.close()
                if deaths > 1:
                    raise UserError(
                        f"COMET: the process died twice ({reason}); earlier scores are kept, try a smaller --batch-size"
                    ) from None
                self._start()

    def score(
        self,
        sources: Sequence[str],
        hypotheses: Sequence[str],
        references: Sequence[str],
        progress: Callable[[int, int], None] | None = None,
    ) -> list[float]:
        """One score a segment. Only triples without a kept score go to the process. `progress` gets (done, total)."""
        triples = list(zip(sources, hypotheses, references, strict=True))
        if not self._reuse:
            return self._request_with_restart(triples, 0)[0]
        unknown = [triple for triple in dict.fromkeys(triples) if triple not in self._known]
        if unknown and self._cache is not None:
            self._known.update(self._cache.get(unknown))
        new = [triple for triple in unknown if triple not in self._known]
        self.hits += len(triples) - len(new)
        new.sort(key=lambda triple: len(triple[1]))
        deaths = 0
        for start in range(0, len(new), self._chunk):
            part = new[start : start + self._chunk]
            scores, deaths = self._request_with_restart(part, deaths)
            scored = list(zip(part, scores, strict=True))
            self._known.update(scored)
            if self._cache is not None:
                self._cache.put(scored)
            if progress is not None:
                progress(start + len(part), len(new))
        return [self._known[triple] for triple in triples]

    @property
    def pid(self) -> int | None:
        """Of the COMET process, if it runs."""
        return None if self._process is None else self._process.pid

    def forget(self) -> None:
        """Drops the scores in memory; the process keeps its embeddings, the file its scores."""
        self._known.clear()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            assert self._process.stdin is not None
            try:
                self._process.stdin.close()
                self._process.wait(timeout=10)
            except (subprocess.TimeoutExpired, OSError):
                self._process.kill()
        self._process = None
