"""report.html in a real, headless, offline Chromium: hover, click, and nothing on the console."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from compress import Policy
from results.html.page import write_report
from tests.results.chromium import Tab, in_tab, needed
from tests.results.examples import DIGEST, UNITS, add_model, candidate, make_run, policy
from tests.results.examples import crowded as crowded_rows
from tests.results.html.test_report import HOSTILE, some_run

READY = "document.documentElement?.dataset.ready === 'yes'"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    needed()
    folder = some_run(tmp_path_factory.mktemp("runs") / "run")
    add_model(folder)
    return write_report(folder).as_uri()


async def middle_of(tab: Tab, selector: str) -> tuple[float, float]:
    """Of an element, scrolled into view."""
    center = await tab.value(
        f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});"
        " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    return center[0], center[1]


def test_hover_click_and_a_silent_console(report: str) -> None:
    async def work(tab: Tab) -> None:
        await tab.open(report, READY)
        text = "document.getElementById('{}').textContent"
        assert await tab.value(text.format("chosen-name")) == "c00001", "the best in the bin is chosen at first"

        # Hover: the policy of the candidate under the pointer, as words and as a strip of its units.
        await tab.mouse(*await middle_of(tab, "#over [data-point='1']"))
        await tab.until("getComputedStyle(document.getElementById('tip')).visibility === 'visible'")
        tip = await tab.value(text.format("tip"))
        assert "c00001" in tip
        assert f"grid@2 ×{len(UNITS) - 3}, grid@1 ×1" in tip
        assert "dropped: lm.1" in tip
        assert await tab.value("document.querySelectorAll('#tip .strip > *').length") == len(UNITS)

        # Click on another point of the front: the original, which is in no bin.
        await tab.mouse(*await middle_of(tab, "button[data-view='all']"), click=True)
        x, y = await middle_of(tab, "#over polygon")
        await tab.mouse(x, y, click=True)
        await tab.until(text.format("chosen-name") + " === 'original'")
        assert await tab.value("document.querySelectorAll('#chosen g.dropped').length") == 0

        # Click on a row of the table: its policy as a picture, a cell a unit, the dropped crossed out.
        x, y = await middle_of(tab, "#front tr[data-point='1'] td:nth-child(5)")
        await tab.mouse(x, y, click=True)
        await tab.until(text.format("chosen-name") + " === 'c00001'")
        assert await tab.value("document.querySelectorAll('#chosen rect.cell').length") == len(UNITS) - 2
        assert await tab.value("document.querySelectorAll('#chosen g.dropped').length") == 2
        titles = await tab.value("[...document.querySelectorAll('#chosen title')].map(t => t.textContent)")
        assert "lm.0.mlp: grid@1, 1.04 bits a weight" in titles
        assert "lm.1.mlp: dropped" in titles

        # Translations: worst first, text and never markup.
        scores = await tab.value(
            "[...document.querySelectorAll('#texts tbody td:nth-child(2)')].map(t => t.textContent)"
        )
        assert scores == ["0.400", "0.800"]
        assert HOSTILE in await tab.value(text.format("texts"))
        assert await tab.value("document.images.length") == 0
        assert await tab.value("typeof hacked") == "undefined"

        assert await tab.value("document.querySelectorAll('#heat rect.cell').length") == 2 * len(UNITS) + 5
        assert await tab.value("document.querySelectorAll('#progress path').length") == 2
        assert tab.errors == []
        assert all(url.startswith("file:") for url in tab.requests), tab.requests

    in_tab(work)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with many recipes close together, the steps of iterative pruning, and several vocabularies."""
    needed()
    rows = crowded_rows("top:512:0123456789abcdef")
    folder = make_run(tmp_path_factory.mktemp("runs") / "run", rows, [policy()])
    add_model(folder)
    entries = [["level", unit, level, 0.01] for unit in UNITS for level in ("grid@1.25:trellis", "grid@2:trellis")]
    entries += [["trim", "top:512:0123456789abcdef", "", 0.02], ["trim", "scripts:en,zh", "", 20.0]]
    (folder / "sensitivities.json").write_text(json.dumps(entries), encoding="utf-8")
    return write_report(folder).as_uri()


BOXES = (
    "[...document.querySelectorAll('{}')].map(e => {{ const b = e.getBoundingClientRect();"
    " return [b.left, b.top, b.right, b.bottom, e.textContent]; }})"
)


def overlapping(boxes: list[Any]) -> list[tuple[str, str]]:
    return [
        (a[4], b[4])
        for a, b in itertools.combinations(boxes, 2)
        if a[0] < b[2] - 1 and b[0] < a[2] - 1 and a[1] + 3 < b[3] - 3 and b[1] + 3 < a[3] - 3
    ]


@pytest.mark.parametrize("width", [1240, 390])
def test_labels_are_whole_and_apart(crowded: str, width: int) -> None:
    async def work(tab: Tab) -> None:
        await tab.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
        await tab.open(crowded, READY)
        await tab.mouse(*await middle_of(tab, "button[data-view='all']"), click=True)
        assert await tab.value("document.documentElement.scrollWidth") == width

        names = await tab.value(BOXES.format("#over text.name"))
        assert names
        assert overlapping(names) == []
        left, top, right, bottom, _ = (await tab.value(BOXES.format("#over")))[0]
        assert all(left + 50 <= n[0] and n[2] <= right and top <= n[1] and n[3] <= bottom for n in names)
        shown = [n[4] for n in names]
        assert len(set(shown)) == len(shown), "a label a series"
        assert {"original", "iterative-pruning", "one layer dropped"} <= set(shown)
        assert await tab.value("document.querySelectorAll('#over path.step').length") == 9, "those not kept"
        [kept] = await tab.value("[...document.querySelectorAll('#over path.kept')].map(e => e.getAttribute('d'))")
        assert len(kept.split("L")) == 3, "the steps kept are joined"
        ticks = await tab.value(BOXES.format("#over text.tick"))
        assert len(ticks) >= 2
        assert overlapping(ticks) == []

        heat = await tab.value(BOXES.format("#heat .scroll svg text"))
        edge = (await tab.value(BOXES.format("#heat .scroll svg")))[0][0]
        assert {"attention grid@1.25:trellis", "grid@2:trellis", "top:512", "scripts:en,zh"} < {h[4] for h in heat}
        assert min(h[0] for h in heat) >= edge, "nothing is cut on the left"
        assert overlapping(heat) == []
        cells = await tab.value(BOXES.format("#heat .scroll svg rect.cell"))
        covered = [
            h[4]
            for h in heat
            for c in cells
            if h[0] < c[2] - 1 and c[0] < h[2] - 1 and h[1] + 4 < c[3] - 4 and c[1] + 4 < h[3] - 4
        ]
        assert covered == [], "no cell lies over a label"
        scale = [mark[4] for mark in await tab.value(BOXES.format("#heat > div > svg text"))]
        assert scale[:3] == ["0.01", "0.4", "20"]
        tall = "[...document.querySelectorAll('#front tr, #recipes tr')].map(e => e.getBoundingClientRect().height)"
        assert max(await tab.value(tall)) < 40, "a row is a line, whatever is scrolled out of sight"
        assert tab.errors == []

    in_tab(work)


def test_intervals_of_the_front_are_inside_the_axes(tmp_path: Path) -> None:
    rows = [candidate("a", 1_100, 0.5, comet_low=0.1), candidate("b", 1_500, 0.6, comet_high=0.9)]
    report = write_report(make_run(tmp_path / "run", rows)).as_uri()

    async def work(tab: Tab) -> None:
        await tab.open(report, READY)
        for view in ("bins", "all"):
            await tab.value(f"document.querySelector('button[data-view={view}]').click()")
            drawn = await tab.value(BOXES.format("#over path.interval"))
            [inside] = await tab.value(
                "[...document.querySelectorAll('#inside rect')].map(e => [e.y, e.height].map(v => v.baseVal.value))"
            )
            top = (await tab.value(BOXES.format("#over")))[0][1] + inside[0]
            assert len(drawn) == 2
            assert all(top <= each[1] < each[3] <= top + inside[1] for each in drawn), view

    in_tab(work)


@pytest.mark.parametrize(("width", "height"), [(1240, 900), (390, 300)])
def test_the_tooltip_stays_inside_the_window(crowded: str, width: int, height: int) -> None:
    async def work(tab: Tab) -> None:
        await tab.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        await tab.open(crowded, READY)
        for block in ("start", "end"):
            for view in ("all", "bins"):
                await tab.value(f"document.querySelector('button[data-view={view}]').click()")
                for point in await tab.value(
                    "[...document.querySelectorAll('#over [data-point]')].map(e => e.dataset.point)"
                ):
                    x, y = await tab.value(
                        f"(() => {{ const e = document.querySelector('#over [data-point=\"{point}\"]');"
                        f" e.scrollIntoView({{block: '{block}'}}); const b = e.getBoundingClientRect();"
                        " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
                    )
                    await tab.mouse(x, y)
                    if await tab.value("getComputedStyle(document.getElementById('tip')).visibility") != "visible":
                        continue
                    tip = (await tab.value(BOXES.format("#tip")))[0]
                    assert 0 <= tip[0] < tip[2] <= width, (point, tip)
                    assert 0 <= tip[1] < tip[3] <= height, (point, tip)

    in_tab(work)


@pytest.mark.parametrize("width", [1240, 390])
def test_a_deep_model_is_whole_in_tooltip_and_picture(tmp_path: Path, width: int) -> None:
    deep = Policy(model=DIGEST, levels={f"lm.{n}.self_attention": "grid@2" for n in range(400)}, dropped=())
    lost = policy("grid@1")
    folder = make_run(tmp_path / "run", [candidate("a", 1_100, 0.5), candidate("b", 1_500, 0.6)], [deep, lost])
    (folder / f"policies/{lost.digest}.json").unlink()
    report = write_report(folder).as_uri()

    async def work(tab: Tab) -> None:
        await tab.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        await tab.open(report, READY)
        wide = []
        for point, name in (("0", "a"), ("1", "b"), ("0", "a")):  # b, at the right, has less to show
            await tab.mouse(*await middle_of(tab, f"#over [data-point='{point}']"))
            await tab.until(f"document.querySelector('#tip b')?.textContent === '{name}'")
            [tip] = await tab.value(BOXES.format("#tip"))
            assert 0 <= tip[0] < tip[2] <= width
            wide.append(tip[2] - tip[0])
        assert wide[0] == wide[2] > wide[1], "no narrower than it could be because of where it was before"
        cells = await tab.value(BOXES.format("#tip .strip > *"))
        assert len(cells) == 400
        assert all(tip[0] < cell[0] < cell[2] < tip[2] for cell in cells)

        await tab.mouse(*await middle_of(tab, "#over [data-point='0']"), click=True)
        await tab.until("document.getElementById('chosen-name').textContent === 'a'")
        [picture] = await tab.value(BOXES.format("#chosen .scroll svg"))
        labels = await tab.value(BOXES.format("#chosen .scroll svg text"))
        assert "self_attention" in {label[4] for label in labels}
        assert min(label[0] for label in labels) >= picture[0], "nothing is cut on the left"

    in_tab(work)


def test_the_vocabulary_is_shown_with_the_policy(crowded: str) -> None:
    async def work(tab: Tab) -> None:
        await tab.open(crowded, READY)
        number = await tab.value(
            "JSON.parse(document.getElementById('data').textContent).points.name.indexOf('c00001')"
        )
        row = await tab.value(f"document.querySelector('#front tr[data-point=\"{number}\"]').textContent")
        assert row.endswith("top:512")
        await tab.mouse(*await middle_of(tab, f"#over [data-point='{number}']"))
        await tab.until("document.getElementById('tip').textContent.includes('vocabulary top:512')")
        await tab.mouse(*await middle_of(tab, f"#over [data-point='{number}']"), click=True)
        assert "vocabularytop:512:0123456789abcdef" in await tab.value(
            "document.querySelector('#chosen dl').textContent"
        )

    in_tab(work)


def test_zoom_dark_and_narrow(report: str) -> None:
    async def work(tab: Tab) -> None:
        await tab.open(report, READY)
        before = await tab.value("document.querySelector('#over [data-point=\"1\"]').getAttribute('cx')")
        pressed = "document.querySelector('[aria-pressed=true]').dataset.view"
        assert await tab.value(pressed) == "bins", "what was asked for"
        x, y = await middle_of(tab, "button[data-view='all']")
        await tab.mouse(x, y, click=True)
        await tab.until(f"document.querySelector('#over [data-point=\"1\"]').getAttribute('cx') !== '{before}'")
        await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        assert await tab.value("getComputedStyle(document.body).backgroundColor") == "rgb(18, 24, 30)"
        await tab.call("Emulation.setDeviceMetricsOverride", width=420, height=800, deviceScaleFactor=1, mobile=False)
        await tab.until("document.getElementById('over').getAttribute('width') < 420")
        assert tab.errors == []

    in_tab(work)
