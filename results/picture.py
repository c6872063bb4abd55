"""The front as a picture: bytes on a log axis with the bins shaded, COMET with its intervals, recipes marked."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from results.bins import BinRange
from results.candidate import SCORED, Candidate
from results.front import front

INK, FAINT, RECIPE, ORIGINAL = "#1b6ca8", "#b9c6d0", "#c2571a", "#333333"


def draw(candidates: Sequence[Candidate], bins: Sequence[BinRange], title: str) -> Any:
    """A matplotlib figure. The caller closes it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    scored = [c for c in candidates if c.status == SCORED]
    best = front(scored)
    figure, axes = pyplot.subplots(figsize=(9, 5.4), layout="constrained")
    for index, (name, low, high) in enumerate(bins):
        axes.axvspan(max(low, 1), high, color="#e8eef3" if index % 2 == 0 else "#f3f6f9", zorder=0)
        axes.text(
            high, 0.01, f"{name} ", ha="right", va="bottom", color="#6b7a86", transform=axes.get_xaxis_transform()
        )
    searched = [c for c in scored if c.recipe == "search"]
    axes.scatter(
        [c.bytes for c in searched], [c.comet for c in searched], s=14, color=FAINT, label="candidates", zorder=2
    )
    axes.errorbar(
        [c.bytes for c in best],
        [c.comet for c in best],
        yerr=[[c.comet - c.comet_low for c in best], [c.comet_high - c.comet for c in best]],
        fmt="o-",
        ms=4,
        lw=1.4,
        elinewidth=0.7,
        color=INK,
        label="front, 95 % interval",
        zorder=3,
    )
    recipes = [c for c in scored if c.recipe not in ("search", "original")]
    axes.scatter(
        [c.bytes for c in recipes], [c.comet for c in recipes], marker="x", color=RECIPE, label="recipes", zorder=4
    )
    for c in recipes:
        axes.annotate(
            c.recipe, (c.bytes, c.comet), fontsize=6.5, color=RECIPE, xytext=(3, 3), textcoords="offset points"
        )
    for c in scored:
        if c.recipe == "original":
            axes.scatter([c.bytes], [c.comet], marker="*", s=90, color=ORIGINAL, label="original", zorder=5)
    axes.set(xscale="log", xlabel="bytes of the artifact", ylabel="COMET", title=title)
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.25)
    return figure


def render(candidates: Sequence[Candidate], bins: Sequence[BinRange], title: str) -> dict[str, bytes]:
    """The picture as `png` and `svg`."""
    from matplotlib import pyplot

    figure = draw(candidates, bins, title)
    found = {}
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
        found[kind] = buffer.getvalue()
    pyplot.close(figure)
    return found
