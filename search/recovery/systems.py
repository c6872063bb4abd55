"""The published systems step by step: fine-tune, prune, compress, train again, pack, score. A system is data."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import compress
import embedded
from compress import Policy, RecoveredSource, RecoveryDelta
from compress.errors import UserError
from compress.models import resolve_model
from compress.policy.recipes import original_policy, recipe
from evaluate.decoding.batches import is_chat, prepare
from evaluate.decoding.cleanup import clean
from evaluate.decoding.generate import translate
from evaluate.evaluate import SegmentMetric
from evaluate.metrics.comet import DEFAULT, Comet
from evaluate.metrics.divergence import append_translations
from evaluate.metrics.mt import chrf
from evaluate.spec import EvalSpec
from results.atomic_write import write_atomically
from search import iterative_pruning as iterative
from search.recovery import data as training_data
from search.recovery import healing
from search.recovery.job import recover, reporting, scored, size
from search.recovery.methods import EMBEDDED, size_of
from search.recovery.task import Task
from search.teach import teach

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


class SystemBuild:
    """One system on one model and language. `run` does what is not done yet and returns the result."""

    def __init__(self, system: System, options: Any, settings: dict[str, str]) -> None:
        import torch

        self.system, self.options, self.settings = system, options, settings
        self.out: Path = options.out
        self.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.store = compress.Store(self.out / "store")

    def run(self) -> dict[str, Any]:
        options = self.options
        begun = refuse_other_settings(self.out / SETTINGS, options)
        path = self.out / "result.json"
        if path.is_file():
            known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return known
        lessons = training_data.open_lessons(
            options.train, options.train_split, options.lang, options.condition, options.held_out
        )
        reported, _ = reporting(self.task("", Policy("00000000", {})).spec, lessons, options.train)
        refuse_kind(self.system, reported.is_text)
        if not begun:
            self.refuse_missing()
            self.out.mkdir(parents=True, exist_ok=True)
            write_atomically(self.out / SETTINGS, json.dumps(settings_of(options), indent=1))
        model = self.start()
        source = compress.Source.open(model)
        if size_of(source) == EMBEDDED and options.train_batch is None:
            options.train_batch = 16
        dropped, healed = self.prune(source, lessons) if self.system.share or options.drop else ((), "")
        policy = self.policy(source, dropped, lessons)
        begin = healing.encoded(source, self.store, healed, policy, self.out / "healed") if healed else ""
        score, close = self.scorer()
        try:
            task = replace(self.task(str(model), policy), begin=begin)
            if self.system.method:
                outcome = recover(task, score, _print_entry)
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
        """Raises UserError for a missing model or COMET, before hours of work."""
        resolve_model(self.options.model)
        _, close = self.scorer()
        close()

    def start(self) -> Path:
        """The fine-tuned model that everything begins with, and the teacher."""
        options, tuned = self.options, self.out / "fine-tuned"
        if options.model == "embedded" or options.fine_tuned:  # the embedded model was trained on the very speech
            return resolve_model(options.model)
        if not tuned.is_dir():
            teach(
                options.model,
                options.train,
                options.train_split,
                options.lang,
                tuned,
                options.condition,
                options.held_out,
                options.train_batch or 4,
                dict(self.settings),
                device=self.device,
            )
        return tuned

    def prune(self, source: compress.Source, lessons: training_data.TrainingData) -> tuple[tuple[str, ...], str]:
        """The greedy loop on held-out segments, by chrF: what goes, and the model healed last."""
        layers = iterative.lm_layers(source.structure)
        rounds = self.options.drop or max(1, round(self.system.share * len(layers)))
        pruning = iterative.IterativePruning(layers, rounds=rounds, heal_every=self.options.heal_every)
        residents = {"": compress.Resident(source, self.store, device=self.device)}
        resident = residents[""]
        task = self.task(str(source.folder), original_policy(source))
        data = lessons.held_out.first(self.options.prune_segments)
        batches = prepare(data, resident.processor, 32, is_chat(str(source.folder)))

        def measure(dropped: tuple[str, ...], model: str) -> float:
            if model not in residents:
                residents.clear()
                now = healing.opened(source, model)
                residents[model] = compress.Resident(now, self.store, device=self.device)
            resident = residents[model]
            resident.apply(replace(original_policy(source, dropped), model=resident.source.digest))
            raw = translate(resident.model, resident.processor, batches, self.tokens(source))
            score = chrf([clean(text) for text in raw], data.references)
            print(f"  without {', '.join(dropped)}: chrF {score:.2f}", flush=True)
            return score

        def heal(dropped: tuple[str, ...], model: str) -> str:
            place = self.out / f"healed-without-{len(dropped)}"
            return healing.heal(task, source, self.store, dropped, model, place, _print_entry)

        return iterative.run(pruning, measure, heal, self.out / "pruning.jsonl"), pruning.model

    def policy(self, source: compress.Source, dropped: tuple[str, ...], lessons: training_data.TrainingData) -> Policy:
        whole = original_policy(source, dropped)
        if self.system.levels == "raw":
            return whole
        if self.system.levels == "nf4":
            units = [u for u in source.structure.units.values() if u.layer not in dropped]
            linear = {u.name: "nf4" for u in units if u.kind in {"attention", "mlp", "projector"}}
            return replace(whole, levels={**whole.levels, **linear})
        diet = recipe("diet", source.structure, source.digest)
        return replace(diet, calibration=self.calibrate(source, lessons))

    def calibrate(self, source: compress.Source, lessons: training_data.TrainingData) -> str:
        path = self.out / "calibration"
        if path.is_file():
            return path.read_text(encoding="utf-8")
        resident = compress.Resident(source, self.store, device=self.device)
        data = lessons.train.first(CALIBRATED_ON)
        made = prepare(data, resident.processor, 16, is_chat(str(source.folder)))
        completed = [append_translations(batch, resident.processor, data.references) for batch in made]
        batches, masks = [inputs for inputs, _ in completed], [mask for _, mask in completed]
        digest = compress.calibrate(source, batches, self.store, target_masks=masks, resident=resident)
        write_atomically(path, digest)
        return digest

    def tokens(self, source: compress.Source) -> int:
        return 64 if size_of(source) == EMBEDDED else 256

    def task(self, model: str, policy: Policy) -> Task:
        options = self.options
        small = options.model == "embedded"
        return Task(
            name=self.system.name,
            parent=f"the compressed model of {self.system.name}",
            method=self.system.method or "qlora",
            model=model,
            policy=policy.to_json(),
            store=self.store.root,
            spec=EvalSpec(
                data=options.data,
                split=options.split,
                lang=options.lang,
                chat=is_chat(options.model),
                max_new_tokens=64 if small else 256,
            ),
            train=options.train,
            train_split=options.train_split,
            condition=options.condition,
            held_out=options.held_out,
            out=str(self.out / "recovery"),
            work=str(self.out / "training"),
            train_batch=options.train_batch or (16 if small else 4),
            device=self.device,
            settings=dict(self.settings),
            stage_epochs={"whole": 1.0} if self.system.name == "wmt25" and "epochs" not in self.settings else {},
        )

    def scorer(self) -> tuple[SegmentMetric, Any]:
        name = self.options.comet or ("embedded" if self.options.data == "embedded" else DEFAULT)
        comet = Comet(str(embedded.COMET) if name == "embedded" else name, gpus=int(self.device == "cuda"))
        return comet.score, comet.close


def _print_entry(entry: dict[str, Any]) -> None:
    if "held_out" in entry:
        print(
            f"  {entry['stage']}, step {entry['step']} of {entry['steps']}: held out {entry['held_out']:.4f}",
            flush=True,
        )


def settings_of(options: Any) -> dict[str, str]:
    return {name: str(value) for name, value in vars(options).items() if name not in ("out", "device")}


def refuse_other_settings(path: Path, options: Any) -> bool:
    """What is kept in a folder belongs to one system, language and data. Returns whether something was begun there."""
    if not path.is_file():
        return False
    try:
        before, now = dict(json.loads(path.read_text(encoding="utf-8"))), settings_of(options)
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged: give another --out") from None
    if other := [name for name in now if before.get(name) != now[name]]:
        changes = ", ".join(f"--{name.replace('_', '-')} {before.get(name)} (now {now[name]})" for name in other)
        raise UserError(f"{path.parent} was made with {changes}: give another --out")
    return True


def refuse_kind(system: System, text: bool) -> None:
    """`wmt25` is a text system, the others translate speech."""
    if (system.name == "wmt25") != text:
        kind = "text (text:SRC,REF)" if system.name == "wmt25" else "speech"
        raise UserError(f"system {system.name} is trained on {kind}; give such data with --train and --data")
