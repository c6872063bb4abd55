"""The one configuration of a run: what the command line fills, what is saved with the run and compared on --resume."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

from compress.errors import UserError, parse_json
from compress.sizes import BINS, Bin, custom_bin, parse_bins
from evaluate.spec import EvalSpec
from results.outside import STORE
from results.run_files import read_file
from search.pruning import choose_part
from search.sampling.registry import BAYESIAN, canonical

TRIALS = 120
FREE_TO_CHANGE = (
    "trials",
    "workers",
    "gpus_per_worker",
    "address",
    "runs",
    "store",
    "name",
    "threads",
    "device",
    "sensitivities",
    "score_drops",
    "log",
    "vocabulary_texts",  # what comes of them has a name of its own
)


TYPES: dict[str, Callable[[object], bool]] = {  # of the fields below: what a file may hold for them
    "str": lambda value: isinstance(value, str) and "\0" not in value,
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int and abs(value) < 2**60,
    "float": lambda value: type(value) in (int, float) and math.isfinite(cast(float, value)),
    "str | None": lambda value: value is None or (isinstance(value, str) and "\0" not in value),
    "int | None": lambda value: value is None or (type(value) is int and abs(value) < 2**60),
    "tuple[str, ...]": lambda value: isinstance(value, tuple) and all(isinstance(each, str) for each in value),
}


@dataclass(frozen=True)
class Config:
    """Settings of one search. The fields in FREE_TO_CHANGE may differ when a run is resumed."""

    bins: tuple[str, ...]
    lang: str
    model: str = "embedded"
    data: str = "embedded"
    comet: str = "embedded"
    trials: int = TRIALS
    sampler: str = BAYESIAN
    seed: int = 0
    baselines: bool = True
    score_drops: bool = False
    rungs: tuple[str, ...] = ("kl", "all")
    sensitivities: str = "quick"
    condition: str = "unconstrained"
    freeze: str = ""
    groups: str = ""
    max_bytes: int | None = None
    min_bytes: int | None = None
    levels: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ("full",)  # empty: chosen from the model before the run begins
    vocabulary_texts: str = ""
    drop: bool = True
    calibration: bool = True
    segments: int | None = None
    sense_segments: int = 32
    chat: bool = False
    batch_size: int = 32
    max_new_tokens: int = 256
    workers: int = 0  # 0: as many as the cluster has room for
    gpus_per_worker: float = -1.0  # -1: 1 where there are GPUs
    threads: int = 0  # of each worker; 0: the CPUs are shared out
    device: str = "cpu"
    address: str | None = None
    runs: str = "runs"
    store: str = ""  # folder or fsspec URL of the variants; beside the runs if empty
    name: str = ""
    log: tuple[str, ...] = ()  # trackers that candidates are logged to

    def parts(self, segments: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Segments of the rung "part" and the rest; none in the part where there is no such rung."""
        return choose_part(segments) if "part" in self.rungs else ((), tuple(range(segments)))

    def eval_spec(self, split: str) -> EvalSpec:
        """How candidates are translated and scored."""
        return EvalSpec(self.data, split, self.lang, self.segments, self.chat, self.batch_size, self.max_new_tokens)

    def bins_in_bytes(self, original_bytes: int) -> tuple[Bin, ...]:
        """The bins that are searched: those named, or the one given in bytes."""
        if self.max_bytes is not None:
            return (custom_bin(self.min_bytes or 0, self.max_bytes),)
        return parse_bins(self.bins, original_bytes)

    @property
    def folder(self) -> Path:
        return Path(self.runs) / self.name

    @property
    def variants(self) -> str:
        """Where variants lie: beside the runs, or wherever --store says (a folder or an fsspec URL)."""
        if "://" in self.store:
            return self.store
        return str((Path(self.store) if self.store else Path(self.runs) / STORE).resolve())

    def resume_command(self, recover: int = 0) -> str:
        """The whole command that goes on with the run; it takes everything else from the run."""
        runs = f" --runs {shlex.quote(self.runs)}" if self.runs != "runs" else ""
        return f"python -m search.run --resume {self.name}{runs}" + (f" --recover {recover}" if recover else "")

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @staticmethod
    def read(path: Path) -> Config:
        return Config.from_json(read_file(path, "the configuration of the run"))

    @staticmethod
    def from_json(text: str) -> Config:
        """Refuses what is not a configuration of this program."""
        try:
            settings: dict[str, Any] = dict(parse_json(text, "config.json of the run is damaged: it is not JSON"))
            known = {f.name for f in fields(Config)}
            if "merged" in settings:
                raise UserError("the run was merged from several and cannot be resumed: no single search made it")
            unknown = sorted(set(settings) - known)
            if unknown:
                raise UserError(f"the run was made with settings unknown here ({', '.join(unknown)}): use its version")
            for name in ("bins", "levels", "rungs", "vocabulary", "log"):
                if name in settings:  # a setting that the run's version did not know yet has its default
                    settings[name] = tuple(settings[name])
            if "all" in settings.get("bins", ()):  # of an older version, where all of them had to be in reach
                settings["bins"] = tuple(BINS)
            for each in fields(Config):
                if each.name in settings and not TYPES[str(each.type)](settings[each.name]):
                    raise ValueError(f"{each.name} is {str(settings[each.name])[:40]!r}")
            settings["sampler"] = canonical(settings.get("sampler", BAYESIAN))
            return Config(**settings)
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"config.json of the run is damaged ({error})") from None

    def check_same(self, earlier: Config) -> None:
        """Refuses to go on with settings that would mix two different searches, naming those that differ."""
        names = [f.name for f in fields(Config) if f.name not in FREE_TO_CHANGE]
        differ = [name for name in names if getattr(self, name) != getattr(earlier, name)]
        if differ:
            changes = ", ".join(f"{name} was {getattr(earlier, name)}, now {getattr(self, name)}" for name in differ)
            raise UserError(
                f"--resume: the run '{self.name}' was made with other settings ({changes}); leave those away, or"
                " give a new --name without --resume"
            )


def check_gpus_per_worker(share: float | None) -> None:
    """Refuses what Ray cannot give a worker: less than none, or parts of several GPUs. None is the default."""
    if share is not None and (not math.isfinite(share) or share < 0 or (share > 1 and not share.is_integer())):
        raise UserError(f"--gpus-per-worker {share:g}: give 0, a part of one GPU such as 0.5, or a whole number")


def check_name(name: str) -> str:
    if not name or name.startswith(".") or any(not (c.isalnum() or c in "-_.") for c in name):
        raise UserError(f"run name '{name}': use letters, digits, '-', '_' and '.', not starting with '.'")
    return name
