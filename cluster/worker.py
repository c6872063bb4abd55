"""A worker: keeps one model resident and does jobs on it. Between two jobs only the units that differ are swapped."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

import compress
from cluster.jobs import (
    ALL,
    BUILD,
    CALIBRATE,
    DROP,
    KL,
    PART,
    SCORE,
    SENSE,
    TRIM,
    Context,
    read_reference_outputs,
)
from compress.artifact.assemble import load_processor
from compress.calibration.relative_error import RelativeError
from compress.errors import UserError
from compress.kernels.dispatch import describe
from compress.memory import FittingRows, free_memory
from compress.model.vocabulary import FULL, trimmed_vocabulary
from compress.policy.recipes import original_policy
from compress.policy.variant import UnitEncoder
from evaluate.data.types import DataSet
from evaluate.decoding.batches import FEATURES, Batch, prepare
from evaluate.decoding.encoder_cache import EncoderCache, encoder_key
from evaluate.evaluate import Evaluation, SegmentMetric, evaluate
from evaluate.metrics.divergence import ReferenceLogits, TokenMap, append_translations, divergence, reference_logits
from results.runs import JOINT

REST = "rest"  # the segments that are not the rung "part"
ENCODER_CACHE_BYTES = 2_000_000_000  # of main memory, a worker
VARIANT_CACHE_SHARE = 1 / 16  # of the main memory that is free when a worker starts


class Worker:
    """Source, store, resident model and prepared speech, and the jobs on them.

    `score` turns (sources, hypotheses, references) into one COMET a segment. Jobs name the original's translations
    by their key in the store.
    """

    def __init__(self, context: Context, score: SegmentMetric) -> None:
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
        self.fitting = {kind: FittingRows() for kind in (CALIBRATE, SCORE, SENSE)}  # rows that fit, by kind of work
        self.forget()

    def forget(self) -> None:
        """After an error: frees the model and everything prepared, so that the next job starts afresh."""
        self._resident: compress.Resident | None = None
        self._batches: dict[tuple[str, str], list[Batch]] = {}  # by vocabulary, and which segments
        self._reference_logits: dict[str, list[ReferenceLogits]] = {}  # by vocabulary
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
        self.resident.restore()
        texts = read_reference_outputs(self.store, reference)
        completed = [append_translations(b, self.resident.processor, texts) for b in self._batches_of(FULL, ALL)]
        batches, masks = [inputs for inputs, _ in completed], [mask for _, mask in completed]
        digest = compress.calibrate(
            self.source,
            batches,
            self.store,
            target_masks=masks,
            resident=self.resident,
            fitting=self.fitting[CALIBRATE],
        )
        return {"calibration": digest}

    def build(self, actions: Sequence[Sequence[str]], calibration: str, vocabulary: str = FULL) -> dict[str, Any]:
        """Encodes variants into the store; reports the relative error of each, and what does not fit.

        Under a smaller vocabulary nothing is reported: the error is that of the whole unit, and a level that no longer
        fits is missing from the store, and so from the space.
        """
        built, unsupported = [], []
        levels: dict[str, list[str]] = {}
        for unit, level in actions:
            levels.setdefault(unit, []).append(level)
        for unit, of_unit in levels.items():
            encoder = self._encoder(unit, calibration, vocabulary, self.context.device)
            for level in of_unit:
                try:
                    try:
                        error = self._build(encoder, level)
                    except torch.cuda.OutOfMemoryError:  # the model is there too: this unit goes to the processor
                        encoder = self._encoder(unit, calibration, vocabulary, "cpu")
                        torch.cuda.empty_cache()
                        error = self._build(encoder, level)
                except UserError as reason:
                    unsupported.append([unit, level, str(reason)])
                    continue
                built.append([unit, level, error])
        if vocabulary != FULL:
            built, unsupported = [], []
        kernels = describe(torch.device(self.context.device))
        return {"built": built, "unsupported": unsupported, "hits": dict(self.variants), "kernels": kernels}

    def _encoder(self, unit: str, calibration: str, vocabulary: str, device: str) -> UnitEncoder:
        options = compress.EncodeOptions(vocabulary, calibration)
        return UnitEncoder(self.source, self.source.structure.unit(unit), self.store, options, device)

    def _build(self, encoder: UnitEncoder, level: str) -> float:
        """Encodes a variant; returns its relative error, which is kept in the store: it takes longer than decoding."""
        known = encoder.in_store(level)
        variant = encoder.build(level)
        self.variants["variants_asked"] += 1
        self.variants["variants"] += known
        if encoder.options.vocabulary != FULL:
            return math.nan
        name = f"relative error {variant.key} {encoder.options.calibration}"
        key = hashlib.blake2b(name.encode(), digest_size=20).hexdigest()
        kept = self.store.get(key)
        if kept is not None:
            return float(kept)
        error = RelativeError(encoder).of(level)
        self.store.put(key, repr(error).encode())
        return error

    def score(self, policy: str | None, rungs: Sequence[str] = (ALL,), reference: str = "") -> Iterator[dict[str, Any]]:
        """KL, translations and scores of one policy, rung by rung; each report holds all that is known so far."""
        chosen = self._original if policy is None else compress.Policy.from_json(policy)
        resident = self.resident
        swapped = resident.apply(chosen) if policy is not None else resident.restore()
        encoder = encoder_key(chosen)
        outcome: dict[str, Any] = {"swapped": len(swapped or ()), "translate_seconds": 0.0}
        evaluation: Evaluation | None = None
        for rung in rungs:
            if rung == KL:
                logits = self.reference_logits(reference, chosen.vocabulary)
                resident.apply(chosen)  # the first time, computing them has brought the original back
                outcome |= {
                    "kl": divergence(resident.model, logits, self.encoder_cache, encoder, self.fitting[SENSE]),
                    "rung": rung,
                }
                if not math.isfinite(outcome["kl"]):
                    yield outcome | {"error": "the model's outputs under this policy are not numbers"}
                    return
            else:
                batches = self._batches_of(chosen.vocabulary, PART if rung == PART else REST if evaluation else ALL)
                evaluation = evaluate(
                    resident.model,
                    resident.processor,
                    batches,
                    self.data,
                    self._score,
                    self.context.spec.max_new_tokens,
                    self.encoder_cache,
                    encoder,
                    evaluation,
                    self.fitting[SCORE],
                )
                outcome |= evaluation.to_dict()
            cache = self.encoder_cache
            outcome |= {
                "rung": rung,
                "hits": {"tower": cache.hits, "tower_asked": cache.hits + cache.misses},
            }
            yield dict(outcome)

    def sense(self, actions: Sequence[Sequence[str]], calibration: str, reference: str) -> dict[str, Any]:
        """KL to the original of each action alone."""
        measured = []
        for kind, name, level in actions:
            if kind == DROP:
                policy = replace(self._original, dropped=tuple(name.split(JOINT)))
            elif kind == TRIM:
                policy = replace(self._original, vocabulary=name)
            else:
                levels = {**self._original.levels, **dict.fromkeys(name.split(JOINT), level)}
                policy = replace(self._original, levels=levels, calibration=calibration)
            logits = self.reference_logits(reference, policy.vocabulary)
            self.resident.apply(policy)
            kl = divergence(self.resident.model, logits, self.encoder_cache, encoder_key(policy), self.fitting[SENSE])
            measured.append([kind, name, level, kl])
        return {"sensed": measured}

    def reference_logits(self, reference: str, vocabulary: str = FULL) -> list[ReferenceLogits]:
        """The original's on the first segments, computed at the first job of a vocabulary that needs them."""
        if vocabulary not in self._reference_logits:
            resident, spec = self.resident, self.context.spec
            smaller = trimmed_vocabulary(self.source, vocabulary, self.store)
            resident.restore()
            part = self.data.first(self.context.sense_segments)
            batches = prepare(part, resident.processor, spec.batch_size, spec.chat)
            texts = read_reference_outputs(self.store, reference)[: len(part.segments)]
            token_map = None
            if smaller is not None:
                token_map = TokenMap(smaller.ids.tolist(), load_processor(smaller.files), resident.processor)
            self._reference_logits[vocabulary] = reference_logits(
                resident.model, resident.processor, batches, texts, token_map=token_map, fitting=self.fitting[SENSE]
            )
        return self._reference_logits[vocabulary]

    @property
    def resident(self) -> compress.Resident:
        """The model in memory, loaded at the first job that needs it."""
        if self._resident is None:
            self._resident = compress.Resident(
                self.source,
                self.store,
                device=self.context.device,
                cache_bytes=int(VARIANT_CACHE_SHARE * free_memory()),
            )
        return self._resident

    def _batches_of(self, vocabulary: str, which: str) -> list[Batch]:
        """Speech as the model takes it: all segments, those of the rung "part", or the rest.

        The resident model must have the vocabulary already: its processor numbers the prompt's tokens.
        """
        if (vocabulary, which) not in self._batches:
            part, spec = set(self.context.part), self.context.spec
            indices = [i for i in range(len(self.data.segments)) if which == ALL or (i in part) == (which == PART)]
            data = replace(self.data, segments=tuple(self.data.segments[i] for i in indices))
            prepared = [
                replace(batch, indices=tuple(indices[index] for index in batch.indices))
                for batch in prepare(data, self.resident.processor, spec.batch_size, spec.chat)
            ]
            features = {
                b.indices: b.inputs for (_, same), known in self._batches.items() if same == which for b in known
            }
            self._batches[vocabulary, which] = [
                share_features(batch, features.get(batch.indices, {})) for batch in prepared
            ]
        return self._batches[vocabulary, which]


def share_features(batch: Batch, known: Mapping[str, Any]) -> Batch:
    """The batch with the audio features of another vocabulary's, where they are the same: held in memory once."""
    shared = {n: known[n] for n in FEATURES if n in known and known[n].equal(batch.inputs[n])}
    return replace(batch, inputs={**batch.inputs, **shared})
