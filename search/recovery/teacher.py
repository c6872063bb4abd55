"""The model that a recovery learns from: the original, or another one."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import compress
from compress import Policy
from compress.policy.recipes import original_policy
from evaluate.data.types import DataSet
from evaluate.decoding.batches import prepare
from evaluate.decoding.cleanup import clean
from evaluate.decoding.generate import translate
from results.atomic_write import write_atomically
from search.recovery.task import Task


class Teacher:
    """Loaded when it is first needed."""

    def __init__(self, task: Task, source: compress.Source, store: compress.Store) -> None:
        self.task, self.store = task, store
        self.source = compress.Source.open(task.teacher) if task.teacher else source
        self._resident: compress.Resident | None = None

    @property
    def resident(self) -> compress.Resident:
        if self._resident is None:
            self._resident = compress.Resident(self.source, self.store, device=self.task.device)
        return self._resident

    def under(self, policy: Policy) -> Any:
        """The model with the student's vocabulary, so that their tokens have the same ids."""
        self.resident.apply(replace(original_policy(self.source), vocabulary=policy.vocabulary))
        return self.resident.model

    def unload(self) -> None:
        self._resident = None

    def translations(self, data: DataSet, cache: Path) -> list[str]:
        """Greedy translations of the training speech, kept in `cache` for all tasks with the same teacher."""
        task = self.task
        parts = (self.source.digest, data.digest, task.spec.max_new_tokens, task.spec.chat)
        name = hashlib.blake2b(repr(parts).encode(), digest_size=10).hexdigest()
        path = cache / f"translations-{name}.json"
        with contextlib.suppress(OSError, ValueError):
            known = [str(text) for text in json.loads(path.read_text(encoding="utf-8"))]
            if len(known) == len(data.segments):
                return known
        resident = self.resident
        resident.restore()
        batches = prepare(data, resident.processor, task.spec.batch_size, task.spec.chat)
        raw = translate(resident.model, resident.processor, batches, task.spec.max_new_tokens)
        translations = [clean(text) for text in raw]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(translations, ensure_ascii=False))
        return translations
