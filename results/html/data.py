"""The data of `report.html` as plain values: points, policies, bits, sensitivities, progress, translations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import compress
from compress.codecs.levels import bits_of
from compress.errors import UserError
from compress.sizes import Bin
from evaluate.data.open import open_data
from results.candidate import SCORED, Candidate
from results.compatibility import parts_of
from results.formats import finite_or_none
from results.html.downsample import by_interest, downsample, shown_comet
from results.outside import confirmed
from results.pareto import Front, hypervolume
from results.runs import JOINT, ORIGINAL, RunView
from results.series import recipe_series

MOST_POLICIES = 1500
MOST_TRANSLATED = 30
MOST_SEGMENTS = 40
UNIT_NAME = re.compile(r"(.+)\.(\d+)\.([^.]+)")  # stack.index.kind


def points(candidates: Sequence[Candidate]) -> dict[str, list[Any]]:
    """One list a property, one entry a candidate; NaN and infinity become None."""
    columns: dict[str, list[Any]] = {
        "name": [c.candidate for c in candidates],
        "comet": [_rounded(shown_comet(c)) for c in candidates],
        "status": [c.status_word for c in candidates],
        "low": [_rounded(c.comet_low) if c.status == SCORED else None for c in candidates],
        "high": [_rounded(c.comet_high) if c.status == SCORED else None for c in candidates],
        "bits": [_rounded(c.bits_per_weight) for c in candidates],
        "kl": [_rounded(c.kl) for c in candidates],
        "why": [c.error[:200] for c in candidates],
        "chrf": [_rounded(c.chrf, 3) for c in candidates],
        "bleu": [_rounded(c.bleu, 3) for c in candidates],
    }
    for name in ("recipe", "bin", "bytes", "rung", "parent", "policy", "parameters", "order", "vocabulary"):
        columns[name] = [getattr(c, name) for c in candidates]
    return columns


def _rounded(value: float | None, digits: int = 5) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def series(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """The recipes by label; points by index, that of the label first; the path of what a recipe kept."""
    index_of = {id(c): i for i, c in enumerate(candidates)}
    return [
        {
            "label": each.label,
            "points": [index_of[id(c)] for c in each.members],
            "path": [index_of[id(c)] for c in each.path],
        }
        for each in recipe_series(candidates)
    ]


def progress(candidates: Iterable[Candidate], bins: Sequence[Bin], top: float) -> list[list[float]]:
    """[candidates finished, share of the bins' hypervolume], a pair at each increase, and at the end."""
    fronts = [Front() for _ in bins]
    areas = [0.0] * len(bins)
    total = sum(each.high - each.low for each in bins) * top
    steps: list[list[float]] = []
    count = 0
    for count, candidate in enumerate(sorted(candidates, key=lambda c: c.order), start=1):
        for n, each in enumerate(bins):
            if each.holds(candidate.bytes) and fronts[n].add(candidate):
                areas[n] = hypervolume([(c.bytes, c.comet) for c in fronts[n].members], (each.high, 0.0))
                steps.append([count, sum(areas) / total if total else 0.0])
    return [*steps, [count, steps[-1][1]]] if steps and steps[-1][0] < count else steps


def policies(run: RunView, candidates: Sequence[Candidate]) -> dict[int, compress.Policy]:
    """Policies of the most interesting candidates, by index; missing and damaged ones are left out."""
    by_index: dict[int, compress.Policy] = {}
    for i in by_interest(candidates)[:MOST_POLICIES]:
        with suppress(UserError):
            by_index[i] = run.policy(candidates[i])
    return by_index


def units(run: RunView, known: Iterable[compress.Policy]) -> list[dict[str, Any]]:
    """Every unit of the model: those of model.json, then others that a policy names, in natural order."""
    layers: dict[str, str | None] = {name: unit.layer for name, unit in run.model.units.items()}
    for name in sorted({unit for policy in known for unit in policy.levels}, key=_natural):
        if name not in layers:
            match = UNIT_NAME.fullmatch(name)
            layers[name] = f"{match[1]}.{match[2]}" if match else None
    rows = []
    for name, layer in layers.items():
        stack, _, index = (layer or "").rpartition(".")
        inside = bool(layer and index.isdecimal())
        kind = name.removeprefix(f"{layer}.") if layer else name
        place = {"stack": stack, "index": int(index)} if inside else {"stack": None, "index": 0}
        rows.append({"name": name, "kind": kind, "layer": layer, **place})
    return rows


def _natural(name: str) -> list[Any]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def bits(run: RunView, levels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Bits a weight of each unit at each level, from the bytes in model.json."""
    return {
        name: {level: round(8 * unit.sizes[level] / unit.weights, 4) for level in levels if level in unit.sizes}
        for name, unit in run.model.units.items()
        if unit.weights > 0
    }


def translations(chosen: Mapping[int, Candidate]) -> dict[str, list[list[int | float | str | None]]]:
    """For each candidate [segment, COMET, text], the worst segments first."""
    rows: dict[str, list[list[int | float | str | None]]] = {}
    for i, candidate in chosen.items():
        scores, texts = candidate.comet_segments, candidate.hypotheses
        order = sorted(range(min(len(scores), len(texts))), key=lambda n: (scores[n], n))[:MOST_SEGMENTS]
        rows[str(i)] = [[n, _rounded(float(scores[n]), 4), texts[n]] for n in order]
    return rows


def sources_and_references(run: RunView, original: Candidate | None, data: str | None) -> tuple[list[str], list[str]]:
    """Of `data`, or of the embedded one if the run is on that; empty if the original was not scored on just these."""
    signature = parts_of(original.signature) if original else {}
    try:
        opened = open_data(confirmed(run.config, "data", data), "dev", str(run.config["lang"]))
        opened = opened.first(run.config.get("segments"))
    except (UserError, OSError, TypeError):
        return [], []
    return (opened.sources, opened.references) if signature.get("datadigest") == opened.digest else ([], [])


def report_data(run: RunView, more: Sequence[str] = (), data: str | None = None) -> dict[str, Any]:
    """Everything the page needs. `more`: names of candidates whose translations are included beside the front's.

    `data` is that of the run, as `open_data` takes it, for sources and references: what a run names is not obeyed.
    """
    shown = [run.candidates[i] for i in downsample(run.candidates)]
    names = {c.candidate for c in shown}
    shown += [c for name in more if (c := run.find(name)).candidate not in names]
    known = policies(run, shown)
    all_units = units(run, known.values())
    levels = sorted({level for policy in known.values() for level in policy.levels.values()}, key=_natural)
    column = {level: n for n, level in enumerate(levels)}
    index_of = {id(c): i for i, c in enumerate(shown)}
    on_front = [index_of[id(c)] for c in run.front]
    inside = [index_of[id(c)] for c in run.front_in_bins]
    # Translations of a part of the segments cannot be shown beside the references, which are of all.
    named = [i for i, c in enumerate(shown) if c.candidate in more and c.status == SCORED]
    by_importance = dict.fromkeys([*named, *reversed(inside), *reversed(on_front)])
    translated = list(by_importance)[: max(MOST_TRANSLATED, len(more))]
    rows = run.with_texts([*(shown[i].candidate for i in translated), ORIGINAL])
    original = rows.get(ORIGINAL)
    sources, references = sources_and_references(run, original, data)
    # The best inside the bins of the run, else the best of all.
    chosen = more[0] if more else next((c.candidate for c in reversed(run.front_in_bins or run.front)), None)
    measured = {level for _, _, level, _ in run.sensitivities if level}
    return {
        "title": run.title,
        "run": str(run.path),
        "bins": [each._asdict() | {"target": each in run.bins} for each in run.shown_bins],
        "points": points(shown),
        "front": on_front,
        "series": series(shown),
        "units": all_units,
        "levels": levels,
        "policies": {
            i: [column.get(policy.levels.get(u["name"], ""), -1) for u in all_units] for i, policy in known.items()
        },
        "bits": bits(run, levels),
        "nominal": {level: value for level in levels if (value := bits_of(level).nominal) is not None},
        "bitsCaption": "bits a weight, " + ("side information counted" if run.model.units else "by the level's name"),
        "sensitivities": [
            [kind, single, level, finite_or_none(kl)]
            for kind, name, level, kl in run.sensitivities
            for single in name.split(JOINT)
        ],
        "sensitivityLevels": sorted(measured, key=_natural),
        "progress": progress(run.candidates, run.bins, run.top_comet),
        "texts": translations({i: rows[shown[i].candidate] for i in translated if shown[i].candidate in rows}),
        "originalTexts": list(original.hypotheses) if original else [],
        "originalScores": [_rounded(float(s), 4) for s in original.comet_segments] if original else [],
        "sources": sources,
        "references": references,
        "byCharacter": str(run.config["lang"]).endswith("-zh"),
        "chosen": next((i for i, c in enumerate(shown) if c.candidate == chosen), -1),
    }
