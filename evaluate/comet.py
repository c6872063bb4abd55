"""COMET as a function from texts to scores: keeps the COMET process alive and never scores the same text twice."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from compress.errors import Refusal
from evaluate.comet_server import find_checkpoint

DEFAULT = "Unbabel/wmt22-comet-da"
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Identity:
    """What a score must be quoted with: scores of other checkpoints or versions are not comparable."""

    name: str
    digest: str
    version: str


def check_comet(name: str) -> None:
    """Refuses a path at which no checkpoint lies. Hub names are only known when they are loaded."""
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        try:
            find_checkpoint(name)
        except ValueError as error:
            raise Refusal(f"COMET: {error}; give --comet embedded, a checkpoint or a hub name") from None


class Comet:
    """Scores (source, hypothesis, reference) triples through the COMET process; restarts it once if it dies."""

    def __init__(self, name: str, batch_size: int = 64, gpus: int = 0, threads: int = 0) -> None:
        self.name = name
        self.hits = 0
        self._arguments = ["--batch-size", str(batch_size), "--gpus", str(gpus), "--threads", str(threads)]
        self._known: dict[tuple[str, str, str], float] = {}
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self.identity = self._start()

    def _start(self) -> Identity:
        python = os.environ.get("COMET_PYTHON", sys.executable)
        command = [python, "-m", "evaluate.comet_server", "--checkpoint", self.name, *self._arguments]
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - lives with the process
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        try:
            hello = self._read()
        except BrokenPipeError as error:
            self.close()
            raise Refusal(f"COMET: {self.name} could not be loaded ({error})") from None
        if "refused" in hello:
            self.close()
            raise Refusal(f"COMET: {hello['refused']}")
        name = self.name if not Path(self.name).exists() else Path(hello["checkpoint"]).name
        return Identity(name, hello["digest"], hello["version"])

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BrokenPipeError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        """The last line the process wrote before it died."""
        if self._log is None:
            return "no output"
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return lines[-1] if lines else "no output"

    def _ask(self, samples: list[dict[str, str]]) -> list[float]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"samples": samples}) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise RuntimeError(f"COMET failed: {answer['error']}")
        return list(answer["scores"])

    def score(self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
        """One score a segment. Only triples never seen before reach the model."""
        triples = list(zip(sources, hypotheses, references, strict=True))
        new = [triple for triple in dict.fromkeys(triples) if triple not in self._known]
        self.hits += len(triples) - len(new)
        if new:
            samples = [{"src": source, "mt": hypothesis, "ref": reference} for source, hypothesis, reference in new]
            try:
                scores = self._ask(samples)
            except (BrokenPipeError, OSError):
                self.close()
                self._start()
                scores = self._ask(samples)
            if bad := [triple for triple, score in zip(new, scores, strict=True) if not math.isfinite(score)]:
                raise RuntimeError(f"COMET gave no number for {len(bad)} segments, first: {bad[0][1][:60]!r}")
            self._known.update(zip(new, scores, strict=True))
        return [self._known[triple] for triple in triples]

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            assert self._process.stdin is not None
            try:
                self._process.stdin.close()
                self._process.wait(timeout=10)
            except (subprocess.TimeoutExpired, OSError):
                self._process.kill()
        self._process = None
