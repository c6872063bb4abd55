"""The picture of a front: whatever a run holds, it is drawn."""

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
