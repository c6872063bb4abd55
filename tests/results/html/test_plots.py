"""The plot of a front: whatever a run holds, it is drawn."""

from __future__ import annotations

import pytest

from results.html.plots import canvas, draw
from tests.results.examples import candidate


def test_what_failed_before_it_was_weighed_takes_no_place() -> None:
    from matplotlib import pyplot

    rows = [candidate("a", 100, 0.5), candidate("b", 1000, 0.7), candidate("c", 0, float("nan"), status="failed")]
    figure = draw(rows, [], "title")
    left, right = figure.axes[0].get_xlim()
    pyplot.close(figure)
    assert 50 < left < 100 < 1000 < right < 2000


@pytest.mark.parametrize("sizes", [[], [0], [5], [0, 5, 5000]])
def test_axes_of_any_sizes(sizes: list[int]) -> None:
    from matplotlib import pyplot

    figure, axes = canvas(sizes, [])
    left, right = axes.get_xlim()
    pyplot.close(figure)
    assert 0 < left < right


def test_held_out_candidates_have_a_mark_of_their_own() -> None:
    from matplotlib import pyplot

    rows = [candidate("a", 100, 0.5), candidate("p", 90, 0.4, status="stopped", rung="part")]
    rows.append(candidate("a+cheap", 100, 0.6, recipe="recover:cheap", status="held-out", rung="part", parent="a"))
    figure = draw(rows, [], "title")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    pyplot.close(figure)
    assert {"pruned", "held-out talks only"} < set(labels)
