"""A worker: keeps one model resident and does jobs on it. Between two jobs only the units that differ are swapped."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import compress
from cluster.jobs import ALL, BUILD, CALIBRATE, DROP, KL, PART, SCORE, TRIM, Context, read_reference_outputs
from compress.artifact.assemble import load_processor
from compress.calibration.hessians import statistics
from compress.codecs.raw import FORMATS
from compress.codecs.statistics import Statistics
from compress.model.vocabulary import FULL, trimmed_vocabulary
from compress.policy.variant import decode_unit, variant_key
from evaluate.data.types import DataSet
from evaluate.decoding.batches import FEATURES, Batch, prepare
from evaluate.decoding.encoder_cache import EncoderCache, encoder_key
from evaluate.evaluate import Evaluation, SegmentMetric, evaluate
from evaluate.metrics.divergence import ReferenceLogits, TokenMap, append_translations, divergence, reference_logits

REST = "rest"  # the segments that are not the rung "part"
ENCODER_CACHE_BYTES = 2_000_000_000  # of main memory, a worker


class Worker:
    """Source, store, resident model and prepared speech, and the jobs on them.

    `score` turns (sources, hypotheses, references) into one COMET a segment. Jobs name the original's translations
    by their key in the store.
    """

    def __init__(self, context: Context, score: SegmentMetric) -> None:
        import torch

        if context.threads:
            torch.set_num_threads(context.threads)
        self.context = context
        self.source = compress.Source.open(context.model)
        self.store = compress.Store(context.store)
        self.data: DataSet = context.spec.open_data()
        self._score = score
        self._original = original_policy(self.source)
        self.encoder_cache = EncoderCache(ENCODER_CACHE_BYTES)
        self.variants = Counter({"variants": 0, "variants_asked": 0})  # those that the store had, of those asked for
        self.forget()

    def forget(self) -> None:
        """Lets go of the model and of what lies ready, so that the next job starts afresh: after an error."""
        self._resident: Any = None
        self._batches: dict[tuple[str, str], list[Batch]] = {}  # by vocabulary, and which segments
        self._taught: dict[str, list[ReferenceLogits]] = {}  # by vocabulary
        self.encoder_cache.clear()

    def run(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Does a job; yields plain data, once for each rung of a score, each time with all that is known so far."""
        if job["kind"] == SCORE:
            yield from self.score(job["policy"], job["rungs"], job["reference"])
        elif job["kind"] == BUILD:
            yield self.build(job["actions"], job["calibration"], job["vocabulary"])
        elif job["kind"] == CALIBRATE:
            yield self.calibrate(job["reference"])
        else:
            yield self.sense(job["actions"], job["calibration"], job["reference"])

    def calibrate(self, reference: str) -> dict[str, Any]:
        """Gathers the inputs of every matrix on the speech and the original's own translations of it."""
        resident = self._load()
        resident.restore()
        texts = read_reference_outputs(self.store, reference)
        taught = [append_translations(batch, resident.processor, texts) for batch in self._ready(FULL, ALL)]
        batches, places = [inputs for inputs, _ in taught], [where for _, where in taught]
        digest = compress.calibrate(self.source, batches, self.store, target_masks=places, resident=resident)
        return {"calibration": digest}

    def build(self, actions: Sequence[Sequence[str]], calibration: str, vocabulary: str = FULL) -> dict[str, Any]:
        """Encodes variants into the store; reports the relative error of each, and what does not fit.

        Under a smaller vocabulary nothing is reported: the error is that of the whole unit, and a level that no longer
        fits is missing from the store, and so from the space.
        """
        built, unsupported = [], []
        options = compress.EncodeOptions(vocabulary, calibration)
        for unit, level in actions:
            try:
                key = variant_key(self.source, self.source.structure.unit(unit), level, options, self.store)
                known = self.store.size(key) is not None
                variant = compress.build(self.source, unit, level, self.store, options=options)
            except compress.errors.UserError as error:
                unsupported.append([unit, level, str(error)])
                continue
            self.variants["variants_asked"] += 1
            self.variants["variants"] += known
            if vocabulary == FULL:
                built.append([unit, level, self.relative_error(variant, calibration)])
        return {
            "built": built,
            "unsupported": unsupported if vocabulary == FULL else [],
            "hits": dict(self.variants),
        }

    def relative_error(self, variant: compress.Variant, calibration: str) -> float:
        """That of the function of this name, kept in the store beside the variant."""
        key = hashlib.blake2b(f"relative error {variant.key} {calibration}".encode(), digest_size=20).hexdigest()
        kept = self.store.get(key)
        if kept is not None:
            return float(kept)
        error = relative_error(self.source, self.store, variant, calibration)
        self.store.put(key, repr(error).encode())
        return error

    def score(self, policy: str | None, rungs: Sequence[str] = (ALL,), said: str = "") -> Iterator[dict[str, Any]]:
        """KL, translations and scores of one policy, as far as the rungs go and whoever iterates wants them."""
        chosen = self._original if policy is None else compress.Policy.from_json(policy)
        resident = self._load()
        swapped = resident.apply(chosen) if policy is not None else resident.restore()
        heard = encoder_key(chosen)
        outcome: dict[str, Any] = {"swapped": len(swapped or ()), "translate_seconds": 0.0}
        evaluation: Evaluation | None = None
        for rung in rungs:
            if rung == KL:
                taught = self._teach(said, chosen.vocabulary)
                resident.apply(chosen)  # teaching, at the first such job, has brought the original back
                outcome |= {"kl": divergence(resident.model, taught, self.encoder_cache, heard), "rung": rung}
                if not math.isfinite(outcome["kl"]):
                    yield outcome | {"error": "the model's outputs under this policy are not numbers"}
                    return
            else:
                batches = self._ready(chosen.vocabulary, PART if rung == PART else REST if evaluation else ALL)
                evaluation = evaluate(
                    resident.model,
                    resident.processor,
                    batches,
                    self.data,
                    self._score,
                    self.context.spec.max_new_tokens,
                    self.encoder_cache,
                    heard,
                    evaluation,
                )
                outcome |= evaluation.to_dict()
            cache = self.encoder_cache
            outcome |= {
                "rung": rung,
                "hits": {"tower": cache.hits, "tower_asked": cache.hits + cache.misses},
            }
            yield dict(outcome)

    def sense(self, actions: Sequence[Sequence[str]], calibration: str, said: str) -> dict[str, Any]:
        """KL to the original of each action alone."""
        resident = self._load()
        found = []
        for kind, name, level in actions:
            if kind == DROP:
                policy = replace(self._original, dropped=(name,))
            elif kind == TRIM:
                policy = replace(self._original, vocabulary=name)
            else:
                levels = {**self._original.levels, name: level}
                policy = replace(self._original, levels=levels, calibration=calibration)
            taught = self._teach(said, policy.vocabulary)
            resident.apply(policy)
            heard = encoder_key(policy)
            found.append([kind, name, level, divergence(resident.model, taught, self.encoder_cache, heard)])
        return {"sensed": found}

    def _teach(self, reference: str, vocabulary: str = FULL) -> list[ReferenceLogits]:
        """What the original says on the first segments, at the first job of a vocabulary that needs it."""
        if vocabulary not in self._taught:
            resident = self._load()
            smaller = trimmed_vocabulary(self.source, vocabulary, self.store)
            resident.restore()
            part = self.data.first(self.context.sense_segments)
            batches = prepare(part, resident.processor, self.context.spec.batch_size, self.context.spec.chat)
            texts = read_reference_outputs(self.store, reference)[: len(part.segments)]
            self._taught[vocabulary] = reference_logits(
                resident.model,
                resident.processor,
                batches,
                texts,
                token_map=None
                if smaller is None
                else TokenMap(smaller.ids.tolist(), load_processor(smaller.files), resident.processor),
            )
        return self._taught[vocabulary]

    def _load(self) -> Any:
        """The resident model, at the first job that needs it."""
        if self._resident is None:
            self._resident = compress.Resident(self.source, self.store, device=self.context.device)
        return self._resident

    def _ready(self, vocabulary: str, which: str) -> list[Batch]:
        """Speech as the model takes it: all segments, those of the rung "part", or the rest. The resident model has
        the vocabulary already: its processor numbers the prompt's tokens."""
        if (vocabulary, which) not in self._batches:
            everything = range(len(self.data.segments))
            part = set(self.context.part)
            wanted = [i for i in everything if which == ALL or (i in part) == (which == PART)]
            data = replace(self.data, segments=tuple(self.data.segments[i] for i in wanted))
            batches = prepare(data, self._load().processor, self.context.spec.batch_size, self.context.spec.chat)
            sounds = {
                b.indices: b.inputs for (_, those), ready in self._batches.items() if those == which for b in ready
            }
            self._batches[vocabulary, which] = [
                with_sounds(replace(batch, indices=indices), sounds.get(indices, {}))
                for batch in batches
                for indices in [tuple(wanted[index] for index in batch.indices)]
            ]
        return self._batches[vocabulary, which]


def with_sounds(batch: Batch, known: Mapping[str, Any]) -> Batch:
    """The batch, its sounds not held twice where they are known from another vocabulary's."""
    shared = {n: known[n] for n in FEATURES if n in known and known[n].equal(batch.inputs[n])}
    return replace(batch, inputs={**batch.inputs, **shared})


def original_policy(source: compress.Source) -> compress.Policy:
    """The model as it is: every unit as the checkpoint stores it."""
    level = f"raw:{FORMATS[source.dtype]}"
    return compress.Policy(model=source.digest, levels=dict.fromkeys(source.structure.units, level))


def relative_error(
    source: compress.Source, store: compress.Store, variant: compress.Variant, calibration: str
) -> float:
    """How much noise a level adds to a unit's outputs, relative to them: Σ g·(ΔW H ΔWᵀ) / Σ g·(W H Wᵀ) over outputs.

    H is the calibration's second moment of the inputs and g the importance of an output, where they are known, else
    1: then it is the relative error of the weights.
    """
    import torch

    unit = source.structure.unit(variant.unit)
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
