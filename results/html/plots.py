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
from results.runs import ORIGINAL
from results.series import SEARCH, Series, recipe_series

INK, FAINT, RECIPE, ORIGINAL_INK = "#1566b0", "#9fb0be", "#c2571a", "#1d2733"
LABEL: dict[str, Any] = {"fontsize": 6, "color": RECIPE, "va": "bottom", "zorder": 7}
# Of a label from its mark, in points; a negative x: the label ends there.
LABEL_OFFSETS = tuple((dx, dy) for dy in (3, -10, 11, -18, 19, -26, 27) for dx in (4, -4))
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
    searched = [c for c in scored if c.recipe == SEARCH]
    dots: dict[str, Any] = {"zorder": 2, "rasterized": True}
    scatter(axes, searched, s=10, color=FAINT, lw=0, label="candidates", **dots)
    for status, label, colour in ((PRUNED, "pruned", FAINT), (HELD_OUT, "held-out talks only", RECIPE)):
        partly = [c for c in shown if c.status == status and shown_comet(c) is not None]
        if partly:
            scatter(axes, partly, s=9, facecolor="none", edgecolor=colour, lw=0.6, alpha=0.6, label=label, **dots)
    best = front(scored)
    steps(axes, best, INK, "front, 95 % interval")
    series = recipe_series(scored)
    draw_recipes(axes, series, best)
    originals = [c for c in scored if c.recipe == ORIGINAL]
    if originals:
        scatter(axes, originals, marker="*", s=100, color=ORIGINAL_INK, label="original", zorder=6)
    axes.set_title(title, fontsize=10, pad=16, parse_math=False)
    legend(figure)
    name_series(figure, axes, series, [*best, *originals])
    return figure


def legend(figure: Any) -> None:
    """Below the axes, where it hides nothing."""
    entries = len(figure.axes[0].get_legend_handles_labels()[1])
    figure.legend(loc="outside lower center", ncols=entries if entries < 6 else 4, fontsize=8, frameon=False)


def draw_recipes(axes: Any, series: Sequence[Series], best: Sequence[Candidate]) -> None:
    """A cross each, on the front a point of their colour; steps that were not kept are faint, those kept are joined."""
    on_front = {id(c) for c in best}
    kept = [c for each in series for c in each.path or each.members]
    inside = [c for each in series for c in each.members if id(c) in on_front]
    outside = [c for each in series for c in each.members if id(c) not in on_front]
    of_kept = {id(c) for c in kept}
    for marked, style in (
        (
            [c for c in outside if id(c) not in of_kept],
            {"marker": "x", "s": 12, "alpha": 0.45, "lw": 0.8, "label": "steps not kept"},
        ),
        ([c for c in outside if id(c) in of_kept], {"marker": "x", "s": 26, "label": "recipes"}),
        (inside, {"marker": "o", "s": 26, "label": "recipes on the front"}),
    ):
        if marked:
            scatter(axes, marked, color=RECIPE, zorder=5, **style)
    for each in series:
        path = each.path
        axes.plot([c.bytes for c in path], [c.comet for c in path], color=RECIPE, lw=0.8, alpha=0.7, zorder=2.5)


def name_series(figure: Any, axes: Any, series: Sequence[Series], marks: Sequence[Candidate]) -> None:
    """The label of each series once, beside one of its marks, inside the axes; beside no other mark if that is
    possible, over no other label in any case. One without a place is left out (the report has it)."""
    from matplotlib.transforms import Bbox

    figure.canvas.draw()  # the layout is known after that
    point = figure.dpi / 72

    def position(candidate: Candidate) -> tuple[float, float]:
        x, y = axes.transData.transform((candidate.bytes, candidate.comet))
        return float(x), float(y)

    def around(x: float, y: float, wide: float, tall: float) -> list[Bbox]:
        """Where a label of this size may lie beside a mark, the best place first."""
        corners = ((x + dx * point - (wide if dx < 0 else 0), y + dy * point) for dx, dy in LABEL_OFFSETS)
        return [Bbox.from_bounds(left, bottom, wide, tall) for left, bottom in corners]

    marked = map(position, [*marks, *(c for each in series for c in each.members)])
    obstacles = [Bbox.from_bounds(x - 3 * point, y - 3 * point, 6 * point, 6 * point) for x, y in marked]
    taken: list[Bbox] = []
    for each in series:
        text = axes.text(0, 0, each.label, transform=axes.transAxes, parse_math=False, **LABEL)
        size = text.get_window_extent()
        places = [box for c in each.members for box in around(*position(c), 1.03 * size.width, size.height)]
        inside = [box for box in places if axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1]
        inside = [box for box in inside if axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1]
        free = [box for box in inside if not box.count_overlaps(taken)]
        best = next((box for box in free if not box.count_overlaps(obstacles)), free[0] if free else None)
        if best is None:
            text.remove()
            continue
        taken.append(best)
        text.set_position(axes.transAxes.inverted().transform((best.x0, best.y0)))


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
        steps(axes, best, colour, f"{name}: {len(best)} on its front".replace("$", r"\$"), mark)
    axes.set_title(" and ".join(names), fontsize=10, pad=16, parse_math=False)
    legend(figure)
    return figure
