"""Table and picture of `benchmarks.search`, from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

Run = dict[str, Any]


def grouped(runs: list[Run]) -> dict[tuple[str, str], dict[str, list[Run]]]:
    """(language, bin) → method → runs of all seeds."""
    found: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in runs:
        lang, bin_name, method, _ = run["key"]
        found.setdefault((lang, bin_name), {}).setdefault(method, []).append(run)
    return found


def at(run: Run, count: int) -> float:
    """Hypervolume after that many evaluations; a method that ends early keeps what it had."""
    volumes = run["volumes"]
    return float(volumes[min(count, len(volumes)) - 1]) if volumes else 0.0


def reached(ours: list[Run], aim: float, trials: int) -> int | None:
    """Evaluations after which the mean of ours is at least `aim`."""
    for count in range(1, trials + 1):
        if np.mean([at(run, count) for run in ours]) >= aim:
            return count
    return None


def table(runs: list[Run]) -> str:
    lines = [
        "| language | bin | method | seeds | hypervolume at 1/5 | at the end | ± | best COMET | ours is there after |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (lang, name), methods in sorted(grouped(runs).items()):
        for method, found in methods.items():
            trials = found[0]["trials"]
            early, end = ([at(run, count) for run in found] for count in (max(1, trials // 5), trials))
            best = [max((comet for _, comet in run["points"]), default=0.0) for run in found]
            after = reached(methods.get("ours", []), float(np.mean(end)), trials) if method != "ours" else None
            told = "" if method == "ours" else "never" if after is None else f"{after} of {trials}"
            lines.append(
                f"| {lang} | {name} | `{method}` | {len(found)} | {np.mean(early):.4f} | {np.mean(end):.4f}"
                f" | {np.std(end):.4f} | {np.mean(best):.4f} | {told} |"
            )
    return "\n".join(lines)


def draw(runs: list[Run], path: Path) -> None:
    """Hypervolume against evaluations, a panel a language and bin, the spread over seeds shaded."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = sorted(grouped(runs).items())
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.6 * columns, 3.4 * rows), squeeze=False)
    colors = plt.get_cmap("tab10")
    names = list(dict.fromkeys(run["key"][2] for run in runs))
    for axis, ((lang, name), methods) in zip(axes.flat, groups, strict=False):
        for method, found in methods.items():
            trials = found[0]["trials"]
            values = np.array([[at(run, count) for count in range(1, trials + 1)] for run in found])
            mean, spread = values.mean(axis=0), values.std(axis=0)
            color = colors(names.index(method) % 10)
            x = np.arange(1, trials + 1)
            axis.plot(x, mean, color=color, label=method, linewidth=2.4 if method == "ours" else 1.2)
            axis.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
        axis.set_title(f"{lang}, {name}")
        axis.set_xlabel("full evaluations")
        axis.set_ylabel("hypervolume")
    for axis in list(axes.flat)[len(groups) :]:
        axis.axis("off")
    axes.flat[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
