"""Loads an artifact afresh, translates and scores: what `results.export` runs in a process of its own.

It has never seen the run, the store or the original model. Settings come as JSON on standard input, the result goes
into a file, because libraries write to standard output as they like.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import compress
from compress.errors import UserError
from evaluate.data.types import DataSet
from evaluate.decoding.batches import prepare
from evaluate.evaluate import score_hypotheses, translate_cleaned
from evaluate.metrics.comet import Comet
from evaluate.spec import EvalSpec


@dataclass(frozen=True)
class Settings:
    """An artifact, and how it is translated with and scored."""

    artifact: str
    spec: EvalSpec
    comet: str
    device: str
    threads: int = 0

    @staticmethod
    def of(config: dict[str, Any], artifact: Path, comet: str, device: str, batch_size: int | None) -> Settings:
        """Those of a run's configuration. Refuses one that lacks any."""
        try:
            spec = EvalSpec(
                data=str(config["data"]),
                split="dev",
                lang=str(config["lang"]),
                segments=config["segments"],
                chat=bool(config["chat"]),
                batch_size=batch_size or int(config["batch_size"]),
                max_new_tokens=int(config["max_new_tokens"]),
            )
            return Settings(str(artifact.resolve()), spec, comet, device, int(config.get("threads", 0)))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the run's config.json lacks what scoring needs ({error})") from None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Settings:
        fields = json.loads(text)
        return Settings(**{**fields, "spec": EvalSpec(**fields["spec"])})


def translations(settings: Settings, data: DataSet) -> tuple[dict[int, str], float, dict[str, Any]]:
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


def recheck(settings: Settings) -> dict[str, Any]:
    """Translations and scores of the artifact, as plain data. COMET starts after the model is gone from memory."""
    data = settings.spec.open_data()
    hypotheses, seconds, facts = translations(settings, data)
    comet = Comet(settings.comet, threads=settings.threads, gpus=int(settings.device != "cpu"))
    try:
        evaluation = score_hypotheses(hypotheses, data, comet.score, seconds)
    finally:
        comet.close()
    return {**evaluation.to_dict(), "comet": asdict(comet.identity), **facts}


def main(arguments: list[str]) -> None:
    (out,) = arguments
    outcome = recheck(Settings.from_json(sys.stdin.read()))
    Path(out).write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    from compress.cli import run as command

    sys.exit(command(main))
