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


def test_labels_are_inside_and_apart_and_a_recipe_of_many_steps_is_one_series() -> None:
    from matplotlib import pyplot

    rows = [candidate("original", 18_000, 0.9, recipe="original"), candidate("c00001", 1_500, 0.6)]
    rows += [
        candidate(f"u{n}", 1_000 + 40 * n, 0.4 + 0.01 * n, recipe=f"uniform:grid@{n}:trellis") for n in range(1, 9)
    ]
    rows += [
        candidate(f"p{n}", 17_000 - 500 * (n // 4), 0.85 - 0.01 * n, recipe="iterative-pruning") for n in range(12)
    ]
    rows += [candidate("fp16", 17_990, 0.9, recipe="fp16")]
    figure = draw(rows, [], "title")
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts if text.get_text()}
    inside, legend = axes.get_window_extent(), axes.get_legend()
    labels = [text.get_text() for text in legend.get_texts()]
    pyplot.close(figure)
    assert len(boxes) == len(axes.texts), "no name twice"
    assert {"iterative-pruning", "uniform:grid@8:trellis"} <= set(boxes)
    for name, box in boxes.items():
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1, name
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1, name
        others = [other for key, other in boxes.items() if key != name]
        assert not box.count_overlaps([*others, legend.get_window_extent()]), name
    assert {"iterative-pruning, 12 candidates", "recipes on the front", "original"} < set(labels)


def test_held_out_candidates_have_a_mark_of_their_own() -> None:
    from matplotlib import pyplot

    rows = [candidate("a", 100, 0.5), candidate("p", 90, 0.4, status="stopped", rung="part")]
    rows.append(candidate("a+cheap", 100, 0.6, recipe="recover:cheap", status="held-out", rung="part", parent="a"))
    figure = draw(rows, [], "title")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    pyplot.close(figure)
    assert {"pruned", "held-out talks only"} < set(labels)
