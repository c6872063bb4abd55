"""Plots of a front for papers: bytes on a log axis with the bins shaded, COMET with intervals, recipes marked.

Fonts and colours are made for print; clouds of points are rasterised inside the SVG, so that it stays small.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import Any

from compress.sizes import Bin
from results.candidate import HELD_OUT, PRUNED, Candidate
from results.html.downsample import downsample, shown_comet
from results.pareto import front

INK, FAINT, RECIPE, ORIGINAL = "#1566b0", "#9fb0be", "#c2571a", "#1d2733"
UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "KB"))


def size(nbytes: float) -> str:
    """Three figures and a unit."""
    for least, unit in UNITS:
        if nbytes >= least:
            return f"{nbytes / least:.3g} {unit}"
    return f"{nbytes:.3g} B"


def canvas(sizes: Sequence[int], bins: Sequence[Bin], targets: Collection[str] = ()) -> tuple[Any, Any]:
    """Figure and axes with a log axis of bytes and the bins shaded, those named in `targets` darker."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(8.4, 4.8), layout="constrained")
    known = [size for size in sizes if size > 0]  # a candidate that failed before its bytes were known has 0
    low, high = min(known, default=1), max(known, default=10)
    pad = (high / low) ** 0.05 if high > low else 1.3
    left, right = low / pad, high * pad
    for index, (name, start, end) in enumerate(bins):
        a, b = max(start, left), min(end, right)
        if a >= b:
            continue
        axes.axvspan(a, b, color="#dfeaf5" if name in targets else ("#f1f5f8", "#f8fafb")[index % 2], zorder=0, lw=0)
        if b / a > (right / left) ** 0.05:
            axes.text(
                (a * b) ** 0.5,
                1.01,
                name,
                ha="center",
                va="bottom",
                fontsize=8,
                color="#5d6b79",
                weight="bold" if name in targets else "normal",
                transform=axes.get_xaxis_transform(),
            )
    axes.set(xscale="log", xlim=(left, right), xlabel="bytes of the artifact", ylabel="COMET")
    wide = right / left
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if wide > 20 else (1, 1.5, 2, 3, 4, 6, 8)))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: size(value)))
    axes.tick_params(labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e1e7ec", lw=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def scatter(axes: Any, candidates: Sequence[Candidate], **style: Any) -> None:
    axes.scatter([c.bytes for c in candidates], [c.comet for c in candidates], **style)


def steps(axes: Any, best: Sequence[Candidate], colour: str, label: str, mark: str = "o") -> None:
    """A front with its intervals, as steps: between two candidates there is nothing."""
    if not best:
        return
    sizes, scores = [c.bytes for c in best], [c.comet for c in best]
    axes.step([*sizes, axes.get_xlim()[1]], [*scores, scores[-1]], where="post", color=colour, lw=1.3, zorder=3)
    spread = [[max(c.comet - c.comet_low, 0) for c in best], [max(c.comet_high - c.comet, 0) for c in best]]
    thin = {"elinewidth": 0.7, "ecolor": colour + "80"}
    axes.errorbar(sizes, scores, yerr=spread, fmt=mark, ms=4, color=colour, label=label, zorder=4, **thin)


def draw(candidates: Sequence[Candidate], bins: Sequence[Bin], title: str, targets: Collection[str] = ()) -> Any:
    """A matplotlib figure. The caller closes it."""
    shown = [candidates[i] for i in downsample(candidates)]
    scored = [c for c in shown if c.comparable]
    figure, axes = canvas([c.bytes for c in shown], bins, targets)
    searched = [c for c in scored if c.recipe == "search"]
    dots: dict[str, Any] = {"zorder": 2, "rasterized": True}
    scatter(axes, searched, s=10, color=FAINT, lw=0, label="candidates", **dots)
    for status, label, colour in ((PRUNED, "pruned", FAINT), (HELD_OUT, "held-out talks only", RECIPE)):
        partly = [c for c in shown if c.status == status and shown_comet(c) is not None]
        if partly:
            scatter(axes, partly, s=9, facecolor="none", edgecolor=colour, lw=0.6, alpha=0.6, label=label, **dots)
    best = front(scored)
    steps(axes, best, INK, "front, 95 % interval")
    series = recipe_series(scored)
    single = [members[0] for members in series.values() if len(members) == 1]
    scatter_some(axes, [c for c in single if c not in best], marker="x", s=26, color=RECIPE, label="recipes", zorder=5)
    for name, members in series.items():
        if len(members) > 1:
            scatter(
                axes,
                members,
                marker="x",
                s=9,
                color=RECIPE,
                lw=0.7,
                alpha=0.7,
                label=f"{name}, {len(members)} candidates",
                zorder=5,
            )
    on_front = [c for members in series.values() for c in members if c in best]
    scatter_some(axes, on_front, marker="o", s=20, color=RECIPE, label="recipes on the front", zorder=7)
    for c in scored:
        if c.recipe == "original":
            scatter(axes, [c], marker="*", s=100, color=ORIGINAL, label="original", zorder=6)
    axes.set_title(title, fontsize=10, pad=16)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    name_recipes(figure, axes, [members[0] for members in series.values()])
    return figure


def recipe_series(scored: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """Candidates of each recipe, the smallest first, of several so small the best: the steps of iterative pruning are
    one series."""
    series: dict[str, list[Candidate]] = {}
    for c in sorted(scored, key=lambda c: (c.bytes, -c.comet)):
        if c.recipe not in ("search", "original"):
            series.setdefault(c.recipe, []).append(c)
    return series


def scatter_some(axes: Any, candidates: Sequence[Candidate], **style: Any) -> None:
    """A scatter that is not in the legend where there is nothing to draw."""
    if candidates:
        scatter(axes, candidates, **style)


def name_recipes(figure: Any, axes: Any, recipes: Sequence[Candidate]) -> None:
    """Names beside their marks; one that would overlap another name or the legend, or leave the axes, is left out (the
    table has it)."""
    from matplotlib.transforms import Bbox

    figure.canvas.draw()
    point = figure.dpi / 72
    taken: list[Bbox] = [axes.get_legend().get_window_extent()]
    inside = axes.get_window_extent()
    for c in recipes:
        x, y = axes.transData.transform((c.bytes, c.comet))
        wide, tall = 3.6 * point * len(c.recipe), 7 * point
        for dx, dy in ((4, -8), (4, 4), (4, -15), (4, 11), (-4, 4), (-4, -8), (4, -22), (4, 18)):
            box = Bbox.from_bounds(x + dx * point - (wide if dx < 0 else 0), y + dy * point, wide, tall)
            if box.count_overlaps(taken) or not (inside.x0 <= box.x0 and box.x1 <= inside.x1):
                continue
            if not (inside.y0 <= box.y0 and box.y1 <= inside.y1):
                continue
            taken.append(box)
            axes.annotate(
                c.recipe,
                (c.bytes, c.comet),
                fontsize=6,
                color=RECIPE,
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right",
                zorder=5,
            )
            break


def encode(figure: Any) -> dict[str, bytes]:
    """The figure as `png` and `svg`. Closes it."""
    from matplotlib import pyplot

    images = {}
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
        images[kind] = buffer.getvalue()
    pyplot.close(figure)
    return images


def draw_two(a: Sequence[Candidate], b: Sequence[Candidate], bins: Sequence[Bin], names: Sequence[str]) -> Any:
    """Two fronts in one matplotlib figure. The caller closes it."""
    figure, axes = canvas([c.bytes for c in (*a, *b) if c.comparable], bins)
    for candidates, name, colour, mark in zip((a, b), names, (INK, RECIPE), ("o", "s"), strict=True):
        scored = [c for c in candidates if c.comparable]
        cloud = [scored[i] for i in downsample(scored)]
        scatter(axes, cloud, s=8, lw=0, color=colour, alpha=0.3, zorder=2, rasterized=True)
        best = front(scored)
        steps(axes, best, colour, f"{name}: {len(best)} on its front", mark)
    axes.set_title(" and ".join(names), fontsize=10, pad=16)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return figure
