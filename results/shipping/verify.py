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

from compress.errors import UserError


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
    from evaluate.data.open import open_data
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
    from evaluate.data.open import open_data
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


def main(arguments: list[str]) -> None:
    (out,) = arguments
    found = recheck(Settings(**json.load(sys.stdin)))
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    from compress.cli import run as command

    sys.exit(command(main))
