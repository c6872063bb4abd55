"""report.html in a real, headless, offline Chromium: hover, click, and nothing on the console."""

from __future__ import annotations

import pytest

from results.html.page import write_report
from tests.results.chromium import Tab, in_tab, needed
from tests.results.examples import UNITS, add_model
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
