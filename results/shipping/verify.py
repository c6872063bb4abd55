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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.cli import run as run_command
from compress.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """How a run translates and scores."""

    artifact: str
    data: str
    split: str
    lang: str
    segments: int | None
    comet: str
    chat: bool
    batch_size: int
    max_new_tokens: int
    device: str
    threads: int = 0

    @staticmethod
    def of(config: dict[str, Any], artifact: Path, comet: str, device: str, batch_size: int | None) -> Settings:
        """Those of a run's configuration. Refuses one that lacks any."""
        try:
            return Settings(
                artifact=str(artifact.resolve()),
                data=str(config["data"]),
                split="dev",
                lang=str(config["lang"]),
                segments=config["segments"],
                comet=comet,
                chat=bool(config["chat"]),
                batch_size=batch_size or int(config["batch_size"]),
                max_new_tokens=int(config["max_new_tokens"]),
                device=device,
                threads=int(config.get("threads", 0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the run's config.json lacks what scoring needs ({error})") from None


def translations(settings: Settings) -> tuple[list[str], dict[str, Any]]:
    """What the artifact says, cleaned, and facts about the model that said it."""
    import torch

    import compress
    from evaluate.data.dataset import open_data
    from evaluate.decoding.batches import prepare
    from evaluate.decoding.cleanup import clean
    from evaluate.decoding.generate import translate

    if settings.threads:
        torch.set_num_threads(settings.threads)
    data = open_data(settings.data, settings.split, settings.lang).first(settings.segments)
    started = time.perf_counter()
    model, processor = compress.load(settings.artifact, device=settings.device)
    loaded = time.perf_counter()
    batches = prepare(data, processor, settings.batch_size, settings.chat)
    begin = time.perf_counter()
    raw = translate(model, processor, batches, settings.max_new_tokens)
    facts = {
        "load_seconds": round(loaded - started, 3),
        "seconds_per_segment": round((time.perf_counter() - begin) / max(len(raw), 1), 4),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "model_parameters": sum(p.numel() for p in model.parameters()),
    }
    return [clean(text) for text in raw], facts


def recheck(settings: Settings) -> dict[str, Any]:
    from evaluate.data.dataset import open_data
    from evaluate.metrics.comet import Comet
    from evaluate.metrics.mt import bleu, chrf

    hypotheses, facts = translations(settings)
    data = open_data(settings.data, settings.split, settings.lang).first(settings.segments)
    comet = Comet(settings.comet, threads=settings.threads, gpus=int(settings.device != "cpu"))
    try:
        scores = comet.score(data.sources, hypotheses, data.references)
        identity = asdict(comet.identity)
    finally:
        comet.close()
    return {
        "hypotheses": hypotheses,
        "comet_segments": scores,
        "chrf": chrf(hypotheses, data.references),
        "bleu": bleu(hypotheses, data.references, settings.lang),
        "comet": identity,
        **facts,
    }


def verify_in_process(settings: Settings) -> dict[str, Any]:
    """The result of `recheck` in another process."""
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
    result = recheck(Settings(**json.load(sys.stdin)))
    Path(out).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_command(main))
