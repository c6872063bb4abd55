"""A worker: keeps one model resident and does jobs on it. Between two jobs only the units that differ are swapped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import compress
from cluster.jobs import BUILD, CALIBRATE, DROP, SCORE, Context
from compress.codecs.raw import FORMATS
from compress.codecs.statistics import Statistics
from compress.hessians import statistics
from compress.variant import decode_unit
from evaluate.batches import Batch, prepare
from evaluate.cleanup import clean
from evaluate.closeness import Taught, append_translations, closeness, teach
from evaluate.dataset import DataSet, open_data
from evaluate.metrics import bleu, chrf
from evaluate.translate import translate

Score = Callable[[Sequence[str], Sequence[str], Sequence[str]], list[float]]


class Worker:
    """Source, store, resident model and prepared speech, and the three jobs on them."""

    def __init__(self, context: Context, score: Score) -> None:
        import torch

        if context.threads:
            torch.set_num_threads(context.threads)
        self.context = context
        self.source = compress.Source.open(context.model)
        self.store = compress.Store(context.store)
        self.data: DataSet = open_data(context.data, context.split, context.lang).first(context.segments)
        self._score = score
        self._resident: Any = None
        self._batches: list[Batch] = []
        self._taught: list[Taught] = []

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Does a job and returns plain data."""
        if job["kind"] == BUILD:
            return self.build(job["treatments"], job["calibration"])
        if job["kind"] == SCORE:
            return self.score(job["policy"])
        if job["kind"] == CALIBRATE:
            return self.calibrate(job["translations"])
        return self.sense(job["treatments"], job["translations"], job["calibration"])

    def calibrate(self, translations: Sequence[str]) -> dict[str, Any]:
        """Gathers the inputs of every matrix on the speech and the original's own translations of it."""
        resident = self._load()
        processor = resident.processor
        taught = [append_translations(batch, processor, translations) for batch in self._batches]
        batches, places = [inputs for inputs, _ in taught], [where for _, where in taught]
        digest = compress.calibrate(self.source, batches, self.store, places=places, resident=resident)
        return {"calibration": digest}

    def build(self, treatments: Sequence[Sequence[str]], calibration: str) -> dict[str, Any]:
        """Encodes variants into the store; tells each one's relative error. What does not fit is told, not raised."""
        built, unfit = [], []
        for unit, level in treatments:
            try:
                wanted = compress.Wanted(calibration=calibration)
                variant = compress.build(self.source, unit, level, self.store, wanted=wanted)
            except compress.errors.Refusal as refusal:
                unfit.append([unit, level, str(refusal)])
            else:
                built.append([unit, level, relative_error(self.source, self.store, variant, calibration)])
        return {"built": built, "unfit": unfit}

    def score(self, policy: str | None) -> dict[str, Any]:
        """Translations and every score of one policy."""
        resident = self._load()
        swapped = resident.apply(compress.Policy.from_json(policy)) if policy is not None else resident.restore()
        started = time.perf_counter()
        raw = translate(resident.model, resident.processor, self._batches, self.context.max_new_tokens)
        seconds = time.perf_counter() - started
        hypotheses = [clean(text) for text in raw]
        references = self.data.references
        return {
            "comet_segments": self._score(self.data.sources, hypotheses, references),
            "chrf": chrf(hypotheses, references),
            "bleu": bleu(hypotheses, references, self.data.lang),
            "hypotheses": hypotheses,
            "translate_seconds": seconds,
            "swapped": len(swapped or ()),
        }

    def sense(
        self, treatments: Sequence[Sequence[str]], translations: Sequence[str], calibration: str
    ) -> dict[str, Any]:
        """KL to the original of each treatment alone."""
        resident = self._load()
        if not self._taught:
            resident.restore()
            part = self.data.first(self.context.sense_segments)
            batches = prepare(part, resident.processor, self.context.batch_size, self.context.chat)
            self._taught = teach(resident.model, resident.processor, batches, translations[: len(part.segments)])
        untouched = original_policy(self.source)
        found = []
        for kind, name, level in treatments:
            if kind == DROP:
                resident.apply(replace(untouched, dropped=(name,)))
            else:
                levels = {**untouched.levels, name: level}
                resident.apply(replace(untouched, levels=levels, calibration=calibration))
            found.append([kind, name, level, closeness(resident.model, self._taught)])
        return {"sensed": found}

    def _load(self) -> Any:
        """The resident model and the prepared speech, at the first job that needs them."""
        if self._resident is None:
            self._resident = compress.Resident(self.source, self.store, device=self.context.device)
            self._batches = prepare(self.data, self._resident.processor, self.context.batch_size, self.context.chat)
        return self._resident


def original_policy(source: compress.Source) -> compress.Policy:
    """The model as it is: every unit as the checkpoint stores it."""
    level = f"raw:{FORMATS[source.dtype]}"
    return compress.Policy(model=source.digest, levels=dict.fromkeys(source.anatomy.units, level))


def relative_error(
    source: compress.Source, store: compress.Store, variant: compress.Variant, calibration: str
) -> float:
    """How much noise a level adds to a unit's outputs, relative to them: Σ g·(ΔW H ΔWᵀ) / Σ g·(W H Wᵀ) over outputs.

    H is the calibration's second moment of the inputs and g the importance of an output, where they are known, else
    1: then it is the relative error of the weights.
    """
    import torch

    unit = source.anatomy.unit(variant.unit)
    payload = store.get(variant.key)
    assert payload is not None
    known = statistics(store.root, calibration, unit) if calibration else [None] * len(unit.tensors)
    noise = power = 0.0
    decoded = decode_unit(payload, unit, variant.level, torch.float32)
    for name, weight, known_of in zip(unit.tensors, decoded, known, strict=True):
        stored = source.tensor(name)
        original = stored.float().flatten(1)
        # A pruned FFN has fewer rows or columns: there all of the weight counts as error.
        error = weight.float().flatten(1) - original if weight.shape == stored.shape else original
        noise += energy(error, known_of)
        power += energy(original, known_of)
    return max(noise, 0.0) / max(power, 1e-30)


def energy(matrix: Any, known: Statistics | None) -> float:
    """Σ g·(M H Mᵀ) over outputs."""
    if known is None:
        return float(matrix.square().sum())
    outputs = ((matrix @ known.hessian) * matrix).sum(dim=1)
    return float((outputs if known.importance is None else outputs * known.importance).sum())


def model_folder(model: str) -> str:
    """Where a model's files lie: a folder as it is, a hub name through the local cache or the hub."""
    from huggingface_hub import snapshot_download

    if Path(model).is_dir():
        return str(Path(model).resolve())
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise compress.errors.Refusal(
            f"model '{model}' is not there: give a folder, a hub name (owner/name), or embedded"
        )
    try:
        return str(snapshot_download(model, ignore_patterns=["*.bin", "*.pt", "*.gguf"]))
    except Exception as error:
        raise compress.errors.Refusal(
            f"model '{model}' is neither in the local cache nor to be had from the hub ({type(error).__name__}):"
            " download it where there is a network and give its folder with --model"
        ) from None
