"""From a checked configuration to a finished run: Ray, scorers, workers, engine, and what is left to look at."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import compress
from cluster.jobs import Context
from compress import Policy
from compress.codecs.raw import FORMATS
from compress.errors import UserError
from compress.sizes import Bin
from results.formats import to_text
from search.config import Config
from search.progress import Progress
from search.run_dir import RunDir
from search.space import bounds, vocabularies
from search.space.space import DEFAULT_LEVELS

STORE = ".store"  # in the folder of runs: variants are shared by all of them
SCORES = "scores.sqlite"


@dataclass(frozen=True)
class Prepared:
    """What was found and checked before Ray is started."""

    config: Config
    folder: RunDir
    source: compress.Source
    bins: tuple[Bin, ...]
    recipes: dict[str, Policy]
    model: str  # folder of the checkpoint
    comet: str  # checkpoint or hub name
    data_signature: str
    segments: int  # of the data
    progress: Progress


def settle(config: Config, source: compress.Source, bins: tuple[Bin, ...]) -> tuple[Config, str]:
    """The vocabularies to choose from, and a line on them. Refuses bins that are out of reach for certain. Touches
    nothing: there is no run yet."""
    earlier = config.folder / "config.json"
    if not config.vocabulary and earlier.exists():  # nothing said on --resume: those of the run
        config = replace(config, vocabulary=Config.read(earlier).vocabulary)
    frozen = {
        unit: f"raw:{FORMATS[source.dtype]}"
        for unit in source.structure.units
        if config.freeze and re.search(config.freeze, unit)
    }
    if config.freeze and not frozen:
        raise UserError(f"--freeze {config.freeze}: no unit's name matches; see --plan for the names")
    names, tokens, told = vocabularies.resolve(config, source, tuple(frozen))
    parts = bounds.parts_of(source, names)
    levels = config.levels or DEFAULT_LEVELS
    bounds.check_reachable(bins, *bounds.bounds(source.structure, parts, levels, frozen, config.drop, tokens))
    return replace(config, vocabulary=names), told


def launch(prepared: Prepared) -> int:
    """Runs to the end or to an interrupt; returns the exit code."""
    from cluster import session
    from search.engine import Engine
    from search.tuning.tuner import run_tune

    config, progress = prepared.config, prepared.progress
    joined = session.connect(config.address, config.threads)
    try:
        room_told = f"{joined.nodes} nodes, {joined.cpus} CPUs, {joined.gpus:g} GPUs"
        token = " (its token: ray get-auth-token)" if os.environ.get(session.AUTH_MODE) == "token" else ""
        progress.say(f"Ray: {room_told}; dashboard {joined.dashboard}{token}")
        workers, gpus = room(config, joined.cpus, joined.gpus)
        if gpus:  # how exactly a score can be had again depends on it
            prepared.folder.write("config.json", replace(config, device="cuda").to_json())
        handles, names = _start_scorers(prepared, workers, joined.gpus)
        context = Context(
            model=prepared.model,
            store=store_of(config),
            data=config.data,
            split="dev",
            lang=config.lang,
            segments=config.segments,
            sense_segments=config.sense_segments,
            chat=config.chat,
            batch_size=config.batch_size,
            max_new_tokens=config.max_new_tokens,
            part=config.parts(prepared.segments)[0],
            scorers=names,
            device="cuda" if gpus else "cpu",
            threads=config.threads,
        )
        store = compress.Store(context.store)
        vocabularies.store_counted(config, prepared.source, store)
        engine = Engine(
            config, prepared.folder, prepared.source, store, prepared.bins, prepared.recipes, workers, progress
        )
        engine.recorder.signature = lambda: _signature(prepared, handles)
        try:
            finished = run_tune(engine, context, gpus)
        finally:
            engine.run_status.metrics.close()
    finally:
        session.disconnect()
    _show(engine, prepared, finished)
    return 0 if finished else 130


def store_of(config: Config) -> str:
    """Where variants lie: beside the runs, or wherever --store says (a folder or an fsspec URL)."""
    if "://" in config.store:
        return config.store
    return str((Path(config.store) if config.store else Path(config.runs) / STORE).resolve())


def room(config: Config, cpus: int, gpus: float) -> tuple[int, float]:
    """Workers at once and GPUs for each. Refuses what the cluster has no room for."""
    share = config.gpus_per_worker
    if share < 0:
        share = 1.0 if gpus else 0.0
    if share and gpus < share:
        raise UserError(f"--gpus-per-worker {share:g}: the cluster has {gpus:g} GPUs; give 0 to run on CPUs")
    most = int(gpus / share) if share else max(1, cpus // max(config.threads, 1))
    if config.workers > most:
        has = f"{gpus:g} GPUs" if share else f"{cpus} CPUs"
        raise UserError(f"--workers {config.workers}: the cluster ({has}) has room for {most}")
    return config.workers or most, share


def _start_scorers(prepared: Prepared, workers: int, gpus: float) -> tuple[list[object], tuple[str, ...]]:
    from cluster.scorer import start_scorers

    share = 0.1 if gpus and prepared.config.comet != "embedded" else 0.0
    # The scorers live on this machine, and so does the file of what they scored.
    cache = str((Path(prepared.config.runs) / STORE / SCORES).resolve())
    return start_scorers(prepared.config.name, prepared.comet, workers, share, prepared.config.threads, cache)


def _signature(prepared: Prepared, handles: list[object]) -> str:
    """Waits for the first scorer, which starts while the workers do. A missing COMET is told here."""
    from cluster.scorer import identify
    from evaluate.metrics.mt import signature_of

    return signature_of(identify(handles[0]), prepared.data_signature, prepared.config.max_new_tokens)


def _show(engine: object, prepared: Prepared, finished: bool) -> None:
    from results.report import write_report
    from search.engine import Engine

    assert isinstance(engine, Engine)
    folder, config = prepared.folder, prepared.config
    front = engine.recorder.front()
    again = f"python -m search.run … --name {config.name} --resume"
    if not front:
        print(f"Stopped before anything was scored. To go on: {again}")
        return
    title = f"{config.name}: {config.model}, {config.lang}"
    write_report(folder.path, title, bins=prepared.bins)
    names = ", ".join(each.name for each in prepared.bins)
    inside = [c for c in front if any(each.holds(c.bytes) for each in prepared.bins)]
    counts = f"{len(inside)} of {len(front)} on the whole front, {len(engine.recorder.candidates)} candidates"
    print(f"\nThe front in {names} ({counts}):")
    print(to_text(inside) if inside else "  no candidate inside yet")
    if engine.asking is not None:
        engine.asking.save_tally()
        if told := engine.asking.rung_stats.summary():
            print(f"\n{told[0].upper()}{told[1:]}")
    print(f"\nPareto CSV  {folder.pareto}\nReport      {folder.path / 'report.html'}")
    if not finished:
        print(f"\nStopped before the end; nothing that was scored is lost. To go on: {again}")
