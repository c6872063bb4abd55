"""The plot of a front: whatever a run holds, it is drawn."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.html.plots import canvas, draw, draw_two, encode
from tests.results.examples import candidate, crowded


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


def names_in(axes: Any) -> list[Any]:
    return [text for text in axes.texts if text.get_text()]


def test_labels_are_inside_and_apart_and_one_a_series() -> None:
    from matplotlib import pyplot

    figure = draw(crowded(), [], "title")
    figure.canvas.draw()
    axes, [legend] = figure.axes[0], figure.legends
    names = [text.get_text() for text in names_in(axes)]
    boxes = [text.get_window_extent() for text in names_in(axes)]
    inside, below = axes.get_window_extent(), legend.get_window_extent()
    labels = [text.get_text() for text in legend.get_texts()]
    pyplot.close(figure)
    assert len(set(names)) == len(names), "no name twice"
    assert {"iterative-pruning", "one layer dropped", "uniform:grid@8:trellis", "fp16"} <= set(names)
    for n, (name, box) in enumerate(zip(names, boxes, strict=True)):
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1, name
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1, name
        assert not box.count_overlaps(boxes[:n] + boxes[n + 1 :]), name
    assert below.y1 <= axes.get_tightbbox().y0, "the legend hides no mark"
    assert set(labels) == {
        *("front, 95 % interval", "candidates", "original"),
        *("recipes", "steps not kept", "recipes on the front"),
    }


def test_what_iterative_pruning_kept_is_joined_and_the_rest_is_faint() -> None:
    from matplotlib import pyplot

    figure = draw(crowded(), [], "title")
    axes = figure.axes[0]
    lines = [list(line.get_xdata()) for line in axes.lines]
    marks = {each.get_label(): len(each.get_offsets()) for each in axes.collections if hasattr(each, "get_offsets")}
    pyplot.close(figure)
    assert [17_000, 16_500, 16_000] in lines
    assert marks["steps not kept"] == 9
    assert marks["recipes on the front"] + marks["recipes"] == 8 + 3 + 6 + 1


@given(
    st.lists(
        st.tuples(
            st.integers(1_000, 9_000), st.floats(0, 1), st.text("abcdefghij:@.$\\\\^_{}", min_size=1, max_size=40)
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=15, deadline=None)
def test_names_of_any_recipes_never_overlap(recipes: list[tuple[int, float, str]]) -> None:
    from matplotlib import pyplot

    figure = draw(
        [candidate(f"r{n}", size, comet, recipe=name) for n, (size, comet, name) in enumerate(recipes)], [], ""
    )
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in names_in(axes)]
    inside = axes.get_window_extent()
    pyplot.close(figure)
    for n, box in enumerate(boxes):
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1
        assert not box.count_overlaps(boxes[:n])


def test_names_are_not_read_as_formulas() -> None:
    odd = r"a$\frac{$b"
    rows = [candidate("a", 100, 0.5, recipe=odd), candidate("b", 1000, 0.7)]
    assert set(encode(draw(rows, [], odd))) == {"png", "svg"}
    assert set(encode(draw_two(rows, rows, [], [odd, "b"]))) == {"png", "svg"}


def test_held_out_candidates_have_a_mark_of_their_own() -> None:
    from matplotlib import pyplot

    rows = [candidate("a", 100, 0.5), candidate("p", 90, 0.4, status="stopped", rung="part")]
    rows.append(candidate("a+cheap", 100, 0.6, recipe="recover:cheap", status="held-out", rung="part", parent="a"))
    figure = draw(rows, [], "title")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    pyplot.close(figure)
    assert {"pruned", "held-out talks only"} < set(labels)
