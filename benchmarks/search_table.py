"""Table and picture of `benchmarks.search`, from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

Run = dict[str, Any]
Recipe = dict[str, Any]
HEAD = (
    "language", "bin", "method", "seeds", "hypervolume at 1/5", "at the end", "±", "best COMET at 1/5", "at the end",
    "±", "ours has its hypervolume after", "its COMET after",
)  # fmt: skip


def grouped(runs: list[Run]) -> dict[tuple[str, str], dict[str, list[Run]]]:
    """(language, bin) → method → runs of all seeds."""
    found: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in runs:
        lang, bin_name, method, _ = run["key"]
        found.setdefault((lang, bin_name), {}).setdefault(method, []).append(run)
    return found


def volume(run: Run, count: int) -> float:
    """Hypervolume after that many evaluations; a method that ends early keeps what it had."""
    volumes = run["volumes"]
    return float(volumes[min(count, len(volumes)) - 1]) if volumes else 0.0


def best(run: Run, count: int) -> float:
    """Best COMET after that many evaluations."""
    return max((comet for _, comet in run["points"][:count]), default=0.0)


def mean(runs: list[Run], of: Any, count: int) -> float:
    return float(np.mean([of(run, count) for run in runs]))


def reached(ours: list[Run], of: Any, aim: float, trials: int) -> str:
    """Evaluations after which the mean of ours is at least `aim`."""
    after = next((count for count in range(1, trials + 1) if mean(ours, of, count) >= aim), None)
    return "never" if after is None else str(after)


def table(runs: list[Run], recipes: list[Recipe]) -> str:
    """Markdown. A recipe is one evaluation; those that lie in no bin are left out by the benchmark."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for (lang, name), methods in sorted(grouped(runs).items()):
        mine = methods.get("ours", [])
        for method, found in methods.items():
            trials = found[0]["trials"]
            early = max(1, trials // 5)
            cells = [lang, name, f"`{method}`", str(len(found))]
            for of in (volume, best):
                end = [of(run, trials) for run in found]
                cells += [f"{mean(found, of, early):.4f}", f"{np.mean(end):.4f}", f"{np.std(end):.4f}"]
            for of in (volume, best):
                cells.append("" if method == "ours" else reached(mine, of, mean(found, of, trials), trials))
            lines.append("| " + " | ".join(cells) + " |")
        for recipe in _inside(recipes, lang, name):
            size, comet = recipe["point"]
            _, low, high = next(iter(methods.values()))[0]["bin"]
            top = next(iter(methods.values()))[0]["original"]
            share = (high - size) * comet / ((high - low) * top)
            cells = [lang, name, f"recipe `{recipe['recipe']}`", "1", "", f"{share:.4f}", "", "", f"{comet:.4f}", ""]
            trials = next(iter(methods.values()))[0]["trials"]
            cells += [reached(mine, volume, share, trials), reached(mine, best, comet, trials)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(runs: list[Run]) -> str:
    """Whether ours has after a fifth of the evaluations what the best of the others has in the end, and ends above."""
    lines = []
    for what, of in (("hypervolume", volume), ("best COMET", best)):
        early, above = 0, 0
        groups = {key: methods for key, methods in grouped(runs).items() if len(methods) > 1 and "ours" in methods}
        for methods in groups.values():
            trials = methods["ours"][0]["trials"]
            rival = max(mean(found, of, trials) for method, found in methods.items() if method != "ours")
            early += mean(methods["ours"], of, max(1, trials // 5)) >= rival
            above += mean(methods["ours"], of, trials) > rival
        lines.append(
            f"{what}: ours has after a fifth of the evaluations what the best of the others has in the end in {early}"
            f" of {len(groups)} (language, bin), and ends above all of them in {above} of {len(groups)}"
        )
    return "\n".join(lines)


def outside(runs: list[Run], recipes: list[Recipe]) -> str:
    """The recipes that lie in none of the bins searched, and what ours has at no more bytes."""
    lines = ["| language | recipe outside these bins | bytes | COMET | best of ours at no more bytes | its bytes |"]
    lines.append("|---|---|---|---|---|---|")
    searched = {tuple(run["key"][:2]) for run in runs}
    mine = [(run["key"][0], *point) for run in runs if run["key"][2] == "ours" for point in run["points"]]
    for recipe in recipes:
        size, comet = recipe["point"]
        if (recipe["lang"], recipe["bin"]) in searched or not any(key[0] == recipe["lang"] for key in searched):
            continue
        rivals = [(found, at) for lang, at, found in mine if lang == recipe["lang"] and at <= size]
        top, at = max(rivals, default=(float("nan"), 0))
        lines.append(f"| {recipe['lang']} | `{recipe['recipe']}` | {size:,} | {comet:.4f} | {top:.4f} | {at:,} |")
    return "\n".join(lines)


def _inside(recipes: list[Recipe], lang: str, name: str) -> list[Recipe]:
    return [recipe for recipe in recipes if (recipe["lang"], recipe["bin"]) == (lang, name)]


def draw(runs: list[Run], recipes: list[Recipe], path: Path) -> None:
    """Hypervolume and best COMET against evaluations, a column a language and bin, the spread over seeds shaded."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = sorted(grouped(runs).items())
    figure, axes = plt.subplots(2, len(groups), figsize=(3.6 * len(groups), 6.4), squeeze=False)
    colors = plt.get_cmap("tab10")
    names = list(dict.fromkeys(run["key"][2] for run in runs))
    for column, ((lang, name), methods) in enumerate(groups):
        for row, of in enumerate((volume, best)):
            axis = axes[row, column]
            for method, found in methods.items():
                x = np.arange(1, found[0]["trials"] + 1)
                values = np.array([[of(run, count) for count in x] for run in found])
                middle, spread = values.mean(axis=0), values.std(axis=0)
                color = colors(names.index(method) % 10)
                axis.plot(x, middle, color=color, label=method, linewidth=2.4 if method == "ours" else 1.2)
                axis.fill_between(x, middle - spread, middle + spread, color=color, alpha=0.15, linewidth=0)
            axis.set_ylabel("hypervolume" if of is volume else "best COMET")
        for recipe in _inside(recipes, lang, name):
            axes[1, column].plot(1, recipe["point"][1], "kx", markersize=5)
            axes[1, column].annotate(recipe["recipe"], (1, recipe["point"][1]), fontsize=6, xytext=(4, -2),
                                     textcoords="offset points")  # fmt: skip
        axes[0, column].set_title(f"{lang}, {name}")
        axes[1, column].set_xlabel("full evaluations")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
