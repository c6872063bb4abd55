"""The published systems step by step: fine-tune, prune, compress, train again, pack, score. A system is data."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import compress
from compress import Policy, RecoveredSource, RecoveryDelta
from compress.errors import UserError
from compress.models import resolve_model
from compress.policy.recipes import recipe
from evaluate.decoding.batches import is_chat, prepare
from evaluate.decoding.cleanup import clean
from evaluate.decoding.generate import translate
from evaluate.metrics.divergence import append_translations
from evaluate.metrics.mt import chrf
from results.atomic_write import write_atomically
from search import iterative_pruning as iterative
from search.recovery import data as lessons_
from search.recovery import healing
from search.recovery.job import original, recover, reporting, scored, size
from search.recovery.methods import EMBEDDED, size_of
from search.recovery.task import Score, Task

CALIBRATED_ON = 96  # segments
SETTINGS = "settings.json"


@dataclass(frozen=True)
class System:
    """What is done to a model. `share` of its LM layers is pruned; `method` trains after compression."""

    name: str
    about: str
    levels: str  # nf4, diet or raw
    share: float = 0.0
    method: str = ""


SYSTEMS: dict[str, System] = {
    s.name: s
    for s in (
        System("moslem-a", "fine-tune, then QLoRA on gold and the teacher's translations", "nf4", 0.0, "qlora"),
        System(
            "moslem-b", "fine-tune, prune 8 of 32 layers, heal on gold and teacher, QLoRA", "nf4", 0.25, "heal+qlora"
        ),
        System(
            "wmt25",
            "a text model pruned to 24 of 32 layers (--drop 12 or 16: to 20 or 16), then trained",
            "raw",
            0.25,
            "seqkd",
        ),
        System("diet", "fine-tune, then mixed levels: 4 bits, 3 for middle MLPs, 2 for the embedding", "diet"),
    )
}


class Build:
    """One system on one model and language. `run` does what is not done yet and returns the result."""

    def __init__(self, system: System, given: Any, told: dict[str, str]) -> None:
        import torch

        self.system, self.given, self.told = system, given, told
        self.out: Path = given.out
        self.device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.store = compress.Store(self.out / "store")

    def run(self) -> dict[str, Any]:
        given = self.given
        begun = refuse_other_settings(self.out / SETTINGS, given)
        path = self.out / "result.json"
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        lessons = lessons_.open_lessons(given.train, given.train_split, given.lang, given.condition, given.held_out)
        reported, _ = reporting(self.task("", Policy("00000000", {})))
        refuse_kind(self.system, reported.is_text)
        if not begun:
            self.refuse_missing()
            self.out.mkdir(parents=True, exist_ok=True)
            write_atomically(self.out / SETTINGS, json.dumps(settings_of(given), indent=1))
        model = self.start()
        source = compress.Source.open(model)
        if size_of(source) == EMBEDDED and given.train_batch is None:
            given.train_batch = 16
        dropped, healed = self.prune(source, lessons) if self.system.share or given.drop else ((), "")
        policy = self.policy(source, dropped, lessons)
        begin = healing.encoded(source, self.store, healed, policy, self.out / "healed") if healed else ""
        score, close = self.scorer()
        try:
            task = replace(self.task(str(model), policy), begin=begin)
            if self.system.method:
                outcome = recover(task, score, _tell)
                recovery = RecoveryDelta.read(task.out)
            else:
                recovery = RecoveryDelta(policy)
                plain = RecoveredSource(source, recovery)
                outcome = scored(task, plain, self.store, reported, score) | {"bytes": size(plain, self.store)}
        finally:
            close()
        recovered = RecoveredSource(source, recovery) if self.system.method else source
        shipped = recovered.policy if isinstance(recovered, RecoveredSource) else policy
        art = self.out / "artifact"
        packed = (
            compress.inspect(art).total_bytes if art.is_dir() else compress.pack(recovered, shipped, self.store, art)
        )
        scores = outcome["comet_segments"]
        result = {
            "system": self.system.name,
            "bytes": packed,
            "comet": sum(scores) / len(scores),
            "chrf": outcome["chrf"],
            "segments": len(scores),
            "dropped": list(policy.dropped),
            "stages": outcome.get("stages", []),
        }
        write_atomically(path, json.dumps(result, indent=1))
        return result

    def refuse_missing(self) -> None:
        """A model or a COMET that is not there is told before hours of work, not after."""
        resolve_model(self.given.model)
        _, close = self.scorer()
        close()

    def start(self) -> Path:
        """The fine-tuned model that everything begins with, and the teacher."""
        from search.teach import teach

        given, tuned = self.given, self.out / "fine-tuned"
        if given.model == "embedded" or given.fine_tuned:  # the embedded model was trained on the very speech
            return resolve_model(given.model)
        if not tuned.is_dir():
            teach(
                given.model,
                given.train,
                given.train_split,
                given.lang,
                tuned,
                given.condition,
                given.held_out,
                given.train_batch or 4,
                dict(self.told),
                device=self.device,
            )
        return tuned

    def prune(self, source: compress.Source, lessons: lessons_.Lessons) -> tuple[tuple[str, ...], str]:
        """The greedy loop on held-out segments, by chrF: what goes, and the model healed last."""
        layers = iterative.lm_layers(source.structure)
        rounds = self.given.drop or max(1, round(self.system.share * len(layers)))
        pruning = iterative.IterativePruning(layers, rounds=rounds, heal_every=self.given.heal_every)
        residents = {"": compress.Resident(source, self.store, device=self.device)}
        resident = residents[""]
        task = self.task(str(source.folder), original(source))
        data = lessons.held_out.first(self.given.prune_segments)
        batches = prepare(data, resident.processor, 32, is_chat(str(source.folder)))

        def measure(dropped: tuple[str, ...], model: str) -> float:
            if model not in residents:
                residents.clear()
                now = healing.opened(source, model)
                residents[model] = compress.Resident(now, self.store, device=self.device)
            resident = residents[model]
            resident.apply(replace(original(source, dropped), model=resident.source.digest))
            raw = translate(resident.model, resident.processor, batches, self.tokens(source))
            found = chrf([clean(text) for text in raw], data.references)
            print(f"  without {', '.join(dropped)}: chrF {found:.2f}", flush=True)
            return found

        def heal(dropped: tuple[str, ...], model: str) -> str:
            place = self.out / f"healed-without-{len(dropped)}"
            return healing.heal(task, source, self.store, dropped, model, place, _tell)

        return iterative.run(pruning, measure, heal, self.out / "pruning.jsonl"), pruning.model

    def policy(self, source: compress.Source, dropped: tuple[str, ...], lessons: lessons_.Lessons) -> Policy:
        whole = original(source, dropped)
        if self.system.levels == "raw":
            return whole
        if self.system.levels == "nf4":
            units = [u for u in source.structure.units.values() if u.layer not in dropped]
            linear = {u.name: "nf4" for u in units if u.kind in {"attention", "mlp", "projector"}}
            return replace(whole, levels={**whole.levels, **linear})
        found = recipe("diet", source.structure, source.digest)
        return replace(found, calibration=self.calibrate(source, lessons))

    def calibrate(self, source: compress.Source, lessons: lessons_.Lessons) -> str:
        path = self.out / "calibration"
        if path.is_file():
            return path.read_text(encoding="utf-8")
        resident = compress.Resident(source, self.store, device=self.device)
        data = lessons.train.first(CALIBRATED_ON)
        made = prepare(data, resident.processor, 16, is_chat(str(source.folder)))
        taught = [append_translations(batch, resident.processor, data.references) for batch in made]
        batches, places = [inputs for inputs, _ in taught], [where for _, where in taught]
        found = compress.calibrate(source, batches, self.store, target_masks=places, resident=resident)
        write_atomically(path, found)
        return found

    def tokens(self, source: compress.Source) -> int:
        return 64 if size_of(source) == EMBEDDED else 256

    def task(self, model: str, policy: Policy) -> Task:
        given = self.given
        small = given.model == "embedded"
        return Task(
            name=self.system.name,
            parent=f"the compressed model of {self.system.name}",
            method=self.system.method or "qlora",
            model=model,
            policy=policy.to_json(),
            store=self.store.root,
            lang=given.lang,
            data=given.data,
            split=given.split,
            train=given.train,
            train_split=given.train_split,
            condition=given.condition,
            held_out=given.held_out,
            out=str(self.out / "recovery"),
            work=str(self.out / "training"),
            chat=is_chat(given.model),
            train_batch=given.train_batch or (16 if small else 4),
            max_new_tokens=64 if small else 256,
            device=self.device,
            settings=dict(self.told),
            stage_epochs={"whole": 1.0} if self.system.name == "wmt25" and "epochs" not in self.told else {},
        )

    def scorer(self) -> tuple[Score, Any]:
        import embedded
        from evaluate.metrics.comet import DEFAULT, Comet

        name = self.given.comet or ("embedded" if self.given.data == "embedded" else DEFAULT)
        found = Comet(str(embedded.COMET) if name == "embedded" else name, gpus=int(self.device == "cuda"))
        return found.score, found.close


def _tell(entry: dict[str, Any]) -> None:
    if "held_out" in entry:
        print(
            f"  {entry['stage']}, step {entry['step']} of {entry['steps']}: held out {entry['held_out']:.4f}",
            flush=True,
        )


def settings_of(given: Any) -> dict[str, str]:
    return {name: str(value) for name, value in vars(given).items() if name not in ("out", "device")}


def refuse_other_settings(path: Path, given: Any) -> bool:
    """What is kept in a folder belongs to one system, language and data. Returns whether something was begun there."""
    if not path.is_file():
        return False
    try:
        before, now = dict(json.loads(path.read_text(encoding="utf-8"))), settings_of(given)
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged: give another --out") from None
    if other := [name for name in now if before.get(name) != now[name]]:
        told = ", ".join(f"--{name.replace('_', '-')} {before.get(name)} (now {now[name]})" for name in other)
        raise UserError(f"{path.parent} was made with {told}: give another --out")
    return True


def refuse_kind(system: System, text: bool) -> None:
    """`wmt25` is a text system, the others translate speech."""
    if (system.name == "wmt25") != text:
        kind = "text (text:SRC,REF)" if system.name == "wmt25" else "speech"
        raise UserError(f"system {system.name} is trained on {kind}; give such data with --train and --data")
