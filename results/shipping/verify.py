"""Verifies an artifact in a process of its own, which loads it afresh, translates and scores.

That process knows nothing of the run, the store and the original model. It gets its settings as JSON on standard input
and writes the result to a file, because libraries write to standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import compress
import embedded
from compress.cli import run as run_command
from compress.errors import UserError
from evaluate.data.types import DataSet
from evaluate.decoding.batches import prepare
from evaluate.evaluate import score_hypotheses, translate_cleaned
from evaluate.metrics.comet import Comet
from evaluate.spec import EvalSpec
from results.outside import confirmed

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class VerifySettings:
    """An artifact, and how it is translated with and scored."""

    artifact: str
    spec: EvalSpec
    comet: str
    device: str
    threads: int = 0

    @staticmethod
    def of(
        config: Mapping[str, Any],
        artifact: Path,
        data: str | None = None,
        comet: str | None = None,
        device: str | None = None,
        batch_size: int | None = None,
    ) -> VerifySettings:
        """Those of a run's configuration, with what was given in place of what it names (results/outside.py)."""
        checkpoint = confirmed(config, "comet", comet)
        return VerifySettings(
            artifact=str(artifact.resolve()),
            spec=spec_of(config, data, batch_size),
            comet=str(embedded.COMET) if checkpoint == "embedded" else checkpoint,
            device=device or default_device(),
            threads=int(config.get("threads") or 0),
        )


def spec_of(config: Mapping[str, Any], data: str | None = None, batch_size: int | None = None) -> EvalSpec:
    """How a run translated and scored. Refuses a configuration that does not say so."""
    try:
        return EvalSpec(
            data=confirmed(config, "data", data),
            split="dev",
            lang=str(config["lang"]),
            segments=config["segments"],
            chat=bool(config["chat"]),
            batch_size=batch_size or int(config["batch_size"]),
            max_new_tokens=int(config["max_new_tokens"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the run's config.json lacks what scoring needs ({error})") from None


def default_device() -> str:
    """A GPU if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def translations(settings: VerifySettings, data: DataSet) -> tuple[dict[int, str], float, dict[str, Any]]:
    """The artifact's translations, cleaned, by segment; the seconds they took; and facts about the loaded model."""
    import torch

    if settings.threads:
        torch.set_num_threads(settings.threads)
    started = time.perf_counter()
    model, processor = compress.load(settings.artifact, device=settings.device)
    load_seconds = time.perf_counter() - started
    spec = settings.spec
    batches = prepare(data, processor, spec.batch_size, spec.chat)
    hypotheses, seconds = translate_cleaned(model, processor, batches, spec.max_new_tokens)
    facts = {
        "load_seconds": round(load_seconds, 3),
        "seconds_per_segment": round(seconds / max(len(hypotheses), 1), 4),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "model_parameters": sum(p.numel() for p in model.parameters()),
    }
    return hypotheses, seconds, facts


def verify(settings: VerifySettings) -> dict[str, Any]:
    """Translations and scores of the artifact, as plain data. COMET starts after the model is gone from memory."""
    data = settings.spec.open_data()
    hypotheses, seconds, facts = translations(settings, data)
    comet = Comet(settings.comet, threads=settings.threads, gpus=int(settings.device != "cpu"))
    try:
        evaluation = score_hypotheses(hypotheses, data, comet.score, seconds)
    finally:
        comet.close()
    return {**evaluation.to_dict(), "comet": asdict(comet.identity), **facts}


def verify_in_process(settings: VerifySettings) -> dict[str, Any]:
    """The result of `verify` in another process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.run(
            [sys.executable, "-m", "results.shipping.verify", str(out)],
            input=json.dumps(asdict(settings)),
            text=True,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, "TOKENIZERS_PARALLELISM": "false"},
            check=False,
        )
        if process.returncode != 0 or not out.exists():
            lines = [line for line in process.stderr.splitlines() if line.strip()]
            raise UserError(f"the artifact could not be used afresh: {lines[-1] if lines else 'no output'}"[:500])
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return result


def main(arguments: list[str]) -> None:
    (out,) = arguments
    settings = json.load(sys.stdin)
    settings["spec"] = EvalSpec(**settings["spec"])
    Path(out).write_text(json.dumps(verify(VerifySettings(**settings))), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_command(main))
