"""Table and picture of the measurements of `benchmarks.search`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from search.space.uniform import LOW_END

Run = dict[str, Any]
Recipe = dict[str, Any]
Measure = Callable[[Run, int], float]  # of a run after a number of evaluations
HEAD = (
    "language", "bin", "method", "seeds", "hypervolume at 1/5", "at the end", "±", "best COMET at 1/5", "at the end",
    "±", "ours has its hypervolume after", "its COMET after",
)  # fmt: skip


def group(runs: list[Run]) -> dict[tuple[str, str], dict[str, list[Run]]]:
    """Groups runs by (language, bin), then by method."""
    groups: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in runs:
        lang, bin_name, method, _ = run["key"]
        groups.setdefault((lang, bin_name), {}).setdefault(method, []).append(run)
    return groups


def volume(run: Run, count: int) -> float:
    """Hypervolume after that many evaluations; a method that ended earlier keeps its last value."""
    volumes = run["volumes"]
    return float(volumes[min(count, len(volumes)) - 1]) if volumes else 0.0


def best(run: Run, count: int) -> float:
    """Best COMET after that many evaluations."""
    return max((comet for _, comet in run["points"][:count]), default=0.0)


def mean(runs: list[Run], measure: Measure, count: int) -> float:
    return float(np.mean([measure(run, count) for run in runs]))


def evaluations_to_reach(ours: list[Run], measure: Measure, target: float, trials: int) -> str:
    """Evaluations after which the mean of ours is at least `target`."""
    after = next((count for count in range(1, trials + 1) if mean(ours, measure, count) >= target), None)
    return "never" if after is None else str(after)


def table(runs: list[Run], recipes: list[Recipe]) -> str:
    """Markdown table. A recipe counts as one evaluation; recipes outside the bins are left out."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for (lang, name), methods in sorted(group(runs).items()):
        mine = methods.get("ours", [])
        for method, method_runs in methods.items():
            trials = method_runs[0]["trials"]
            early = max(1, trials // 5)
            cells = [lang, name, f"`{method}`", str(len(method_runs))]
            for measure in (volume, best):
                end = [measure(run, trials) for run in method_runs]
                cells += [f"{mean(method_runs, measure, early):.4f}", f"{np.mean(end):.4f}", f"{np.std(end):.4f}"]
            for measure in (volume, best):
                cells.append(
                    ""
                    if method == "ours"
                    else evaluations_to_reach(mine, measure, mean(method_runs, measure, trials), trials)
                )
            lines.append("| " + " | ".join(cells) + " |")
        for recipe in _inside(recipes, lang, name):
            size, comet = recipe["point"]
            _, low, high = next(iter(methods.values()))[0]["bin"]
            top = next(iter(methods.values()))[0]["original"]
            share = (high - size) * comet / ((high - low) * top)
            cells = [lang, name, f"recipe `{recipe['recipe']}`", "1", "", f"{share:.4f}", "", "", f"{comet:.4f}", ""]
            trials = next(iter(methods.values()))[0]["trials"]
            cells += [
                evaluations_to_reach(mine, volume, share, trials),
                evaluations_to_reach(mine, best, comet, trials),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(runs: list[Run]) -> str:
    """How often ours reaches the others' final best in a fifth of the evaluations, and how often it ends above it."""
    lines = []
    for label, measure in (("hypervolume", volume), ("best COMET", best)):
        early, above = 0, 0
        groups = {
            key: methods
            for key, methods in group(runs).items()
            if "ours" in methods and any(not method.startswith("ours") for method in methods)
        }
        for methods in groups.values():
            trials = methods["ours"][0]["trials"]
            rival = max(
                mean(others, measure, trials) for method, others in methods.items() if not method.startswith("ours")
            )
            early += mean(methods["ours"], measure, max(1, trials // 5)) >= rival
            above += mean(methods["ours"], measure, trials) > rival
        lines.append(
            f"{label}: ours has after a fifth of the evaluations what the best of the others has in the end in {early}"
            f" of {len(groups)} (language, bin), and ends above all of them in {above} of {len(groups)}"
        )
    return "\n".join(lines)


def below_uniform(runs: list[Run], recipes: list[Recipe]) -> str:
    """Markdown table: by how much COMET the best found lies below a uniform policy of no more bytes, at the size inside
    the bin where that is most. 0 where it does at none."""
    lines = ["| language | bin | method | seeds below a uniform policy somewhere | COMET below it, most | at bytes |"]
    lines.append("|---|---|---|---|---|---|")
    for (lang, name), methods in sorted(group(runs).items()):
        uniform = [r["point"] for r in recipes if r["lang"] == lang and r["recipe"].startswith("uniform:")]
        for method, method_runs in methods.items():
            worst = [shortfall(run, uniform) for run in method_runs]
            most, size = max(worst)
            below = sum(value > 0 for value, _ in worst)
            at = f"{size:,}" if below else ""
            lines.append(f"| {lang} | {name} | `{method}` | {below} of {len(worst)} | {most:.4f} | {at} |")
    return "\n".join(lines)


def shortfall(run: Run, uniform: list[list[float]]) -> tuple[float, int]:
    """By how much the best found lies below a uniform policy of no more bytes, and at which size: from the lower end of
    the bin to its top."""
    _, low, high = run["bin"]
    begin = low + LOW_END * (high - low)
    sizes = {begin, *(size for size, _ in run["points"]), *(size for size, _ in uniform)}
    worst = (0.0, 0)
    for size in sorted(size for size in sizes if begin <= size < high):
        best_found = max((comet for other, comet in run["points"] if other <= size), default=0.0)
        plain = max((comet for other, comet in uniform if other <= size), default=0.0)
        worst = max(worst, (plain - best_found, int(size)))
    return worst


def outside(runs: list[Run], recipes: list[Recipe]) -> str:
    """Markdown table of the recipes outside the searched bins, each with the best of ours at no more bytes."""
    lines = ["| language | recipe outside these bins | bytes | COMET | best of ours at no more bytes | its bytes |"]
    lines.append("|---|---|---|---|---|---|")
    searched = {tuple(run["key"][:2]) for run in runs}
    mine = [(run["key"][0], *point) for run in runs if run["key"][2] == "ours" for point in run["points"]]
    for recipe in recipes:
        size, comet = recipe["point"]
        if (recipe["lang"], recipe["bin"]) in searched or not any(key[0] == recipe["lang"] for key in searched):
            continue
        rivals = [
            (rival, rival_size) for lang, rival_size, rival in mine if lang == recipe["lang"] and rival_size <= size
        ]
        top, top_size = max(rivals, default=(float("nan"), 0))
        lines.append(f"| {recipe['lang']} | `{recipe['recipe']}` | {size:,} | {comet:.4f} | {top:.4f} | {top_size:,} |")
    return "\n".join(lines)


def _inside(recipes: list[Recipe], lang: str, name: str) -> list[Recipe]:
    return [recipe for recipe in recipes if (recipe["lang"], recipe["bin"]) == (lang, name)]


def draw(runs: list[Run], recipes: list[Recipe], path: Path) -> None:
    """Plots hypervolume and best COMET against evaluations, a column for each (language, bin)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = sorted(group(runs).items())
    figure, axes = plt.subplots(2, len(groups), figsize=(3.6 * len(groups), 6.4), squeeze=False)
    colors = plt.get_cmap("tab10")
    names = list(dict.fromkeys(run["key"][2] for run in runs))
    for column, ((lang, name), methods) in enumerate(groups):
        for row, measure in enumerate((volume, best)):
            axis = axes[row, column]
            for method, method_runs in methods.items():
                x = np.arange(1, method_runs[0]["trials"] + 1)
                values = np.array([[measure(run, count) for count in x] for run in method_runs])
                middle, spread = values.mean(axis=0), values.std(axis=0)
                color = colors(names.index(method) % 10)
                axis.plot(x, middle, color=color, label=method, linewidth=2.4 if method == "ours" else 1.2)
                axis.fill_between(x, middle - spread, middle + spread, color=color, alpha=0.15, linewidth=0)
            axis.set_ylabel("hypervolume" if measure is volume else "best COMET")
        for recipe in _inside(recipes, lang, name):
            axes[1, column].plot(1, recipe["point"][1], "kx", markersize=5)
            axes[1, column].annotate(recipe["recipe"], (1, recipe["point"][1]), fontsize=6, xytext=(4, -2),
                                     textcoords="offset points")  # fmt: skip
        axes[0, column].set_title(f"{lang}, {name}")
        axes[1, column].set_xlabel("full evaluations")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
