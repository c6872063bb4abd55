"""The report: one file, nothing fetched, nothing that a translation could smuggle in, whatever the run lacks."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from compress.errors import UserError
from compress.sizes import Bin
from results.html.data import progress
from results.html.downsample import MOST_POINTS, by_interest, downsample
from results.html.page import write_report
from results.pareto import front
from results.report import main
from results.runs import RunView
from tests.results.examples import UNITS, add_model, candidate, make_run, policy

HOSTILE = "<img src=x onerror=hacked=1></script><script>hacked=1</script>"


def data_of(text: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert match
    data: dict[str, Any] = json.loads(match[1])
    return data


def some_run(folder: Path, **config: Any) -> Path:
    candidates = [
        candidate("original", 18_000, 0.9, recipe="original", hypotheses=(HOSTILE, "b"), comet_segments=(0.95, 0.85)),
        candidate("c00001", 1_500, 0.6, hypotheses=(HOSTILE, "b"), comet_segments=(0.8, 0.4)),
        candidate(HOSTILE, 1_600, 0.3, recipe=HOSTILE, signature="metric:comet"),
        candidate("c00002", 1_400, 0.0, status="failed", error=HOSTILE, comet_segments=(), hypotheses=()),
        candidate("c00003", 1_450, 0.7, status="stopped", rung="part", kl=0.5),
        candidate("c00004", 1_460, math.nan, status="stopped", rung="kl", kl=2.0, comet_segments=(), hypotheses=()),
        candidate("c00001+cheap", 1_450, 0.8, recipe="recover:cheap", status="held-out", rung="part", parent="c00001"),
        candidate("c00002+cheap", 0, math.nan, status="failed", parent="c00002", comet_segments=(), hypotheses=()),
    ]
    policies = [policy("raw:bf16"), policy(dropped=("lm.1",), lm_0_mlp="grid@1"), policy("grid@1")]
    return make_run(folder, candidates, policies, **config)


def test_report_is_self_contained_and_escaped(tmp_path: Path) -> None:
    folder = some_run(tmp_path / "run", name="run <one>")
    path = write_report(folder)
    text = path.read_text(encoding="utf-8")
    assert "run &lt;one&gt;" in text
    assert "<img" not in text
    assert text.count("<script") == 2, "the data and our own script"
    assert text.count("</script") == 2
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert set(re.findall(r"url\(.", text)) == {"url(#"}, "only within the page"
    assert "default-src 'none'" in text
    assert data_of(text)["texts"]["1"][1][2] == HOSTILE, "as text it is all there"
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "pareto.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_the_data_of_the_page(tmp_path: Path) -> None:
    folder = some_run(tmp_path / "run")
    add_model(folder)
    data = data_of(write_report(folder).read_text(encoding="utf-8"))
    names = data["points"]["name"]
    assert [names[i] for i in data["front"]] == ["c00001", "original"], "only scored candidates are on the front"
    assert [u["name"] for u in data["units"]] == list(UNITS)
    levels = [data["levels"][n] if n >= 0 else "dropped" for n in data["policies"]["1"]]
    assert levels[UNITS.index("lm.1.mlp")] == "dropped"
    assert levels[UNITS.index("lm.0.mlp")] == "grid@1"
    assert levels[UNITS.index("head")] == "grid@2"
    assert data["bits"]["head"]["grid@2"] == 8 * 255 / 1000
    assert data["points"]["comet"][names.index("c00004")] is None
    assert data["points"]["comet"][names.index("c00003")] == 0.7
    statuses = dict(zip(names, data["points"]["status"], strict=True))
    assert (statuses["c00003"], statuses["c00001+cheap"], statuses["c00002"]) == ("pruned", "held-out", "failed")
    assert [row[:2] for row in data["texts"]["1"]] == [[1, 0.4], [0, 0.8]], "worst first"
    assert len(data["references"]) == 2
    assert data["references"][0] != data["sources"][0]
    assert {"name": "Bin2", "low": 1191, "high": 2382, "target": True} in data["bins"]
    assert data["chosen"] == names.index("c00001")


def test_a_run_that_lacks_what_older_runs_lack(tmp_path: Path) -> None:
    folder = some_run(tmp_path / "run")
    data = data_of(write_report(folder).read_text(encoding="utf-8"))
    assert data["bits"] == {}
    assert data["nominal"] == {"grid@1": 1.0, "grid@2": 2.0, "raw:bf16": 16.0}
    assert data["sensitivities"] == []
    assert {u["name"] for u in data["units"]} == set(UNITS)
    assert {u["layer"] for u in data["units"]} == {"audio.0", "audio.1", "lm.0", "lm.1", "lm.2", None}


def test_data_that_is_not_at_hand_leaves_the_references_out(tmp_path: Path) -> None:
    folder = some_run(tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"data": "acl6060:/nowhere"}))
    data = data_of(write_report(folder).read_text(encoding="utf-8"))
    assert data["references"] == []
    assert data["texts"]["1"]


def test_a_missing_policy_is_left_out(tmp_path: Path) -> None:
    folder = some_run(tmp_path / "run")
    for path in (folder / "policies").iterdir():
        path.unlink()
    data = data_of(write_report(folder).read_text(encoding="utf-8"))
    assert data["policies"] == {}
    assert data["units"] == []


def test_twenty_thousand_candidates_are_downsampled(tmp_path: Path) -> None:
    candidates = [
        candidate(f"c{n:05d}", 1_000 + (n * 7919) % 1_400, ((n * 104_729) % 10_007) / 10_007, hypotheses=("x",) * 2)
        for n in range(20_000)
    ]
    candidates.append(candidate("fp16", 9_000, 0.1, recipe="fp16"))
    candidates.append(candidate("c1+cheap", 9_001, 0.1, recipe="recover:cheap", status="held-out", parent="c1"))
    indices = downsample(candidates)
    assert len(indices) <= MOST_POINTS
    names = {candidates[i].candidate for i in indices}
    assert {c.candidate for c in front(candidates)} <= names
    assert {"fp16", "c1+cheap"} <= names
    folder = make_run(tmp_path / "run", candidates)
    path = write_report(folder)
    assert path.stat().st_size < 3_000_000
    assert f"Of 20,002 candidates {len(indices):,} are drawn" in path.read_text(encoding="utf-8")


def test_a_failure_without_bytes_does_not_make_the_raster_coarser() -> None:
    candidates = [candidate(f"c{n}", 10**9 + n * 50_000, (n * 7919) % 5_003 / 5_003) for n in range(5_000)]
    failed = candidate("failed", 0, math.nan, status="failed")
    assert len(downsample([*candidates, failed])) == len(downsample(candidates)) + 1


def test_a_small_run_is_drawn_whole() -> None:
    candidates = [candidate(f"c{n}", 1000, 0.5) for n in range(30)]
    assert downsample(candidates) == list(range(30))


def test_the_front_interests_most_and_failures_least() -> None:
    candidates = [
        candidate("failed", 10, 0.0, status="failed"),
        candidate("far", 300, 0.1),
        candidate("near", 300, 0.5),
        candidate("recipe", 400, 0.2, recipe="int8"),
        candidate("best", 200, 0.6),
        candidate("pruned", 150, 0.9, status="stopped", rung="part"),
    ]
    names = [candidates[i].candidate for i in by_interest(candidates)]
    assert names == ["best", "recipe", "near", "far", "failed", "pruned"]


def test_progress_only_rises_and_ends_at_the_hypervolume() -> None:
    candidates = [
        candidate(f"c{n}", size, comet, order=n) for n, (size, comet) in enumerate([(90, 0.2), (50, 0.5), (95, 0.1)])
    ]
    assert progress(candidates, [Bin("b", 0, 100)], 1.0) == [[1, 0.02], [2, 0.25], [3, 0.25]]
    assert progress(candidates, [Bin("b", 200, 300)], 1.0) == []


def test_the_command_adds_the_translations_of_a_candidate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = some_run(tmp_path / "run")
    main([str(folder), "--candidate", HOSTILE, "--out", str(tmp_path / "one.html")])
    data = data_of((tmp_path / "one.html").read_text(encoding="utf-8"))
    assert data["points"]["name"][data["chosen"]] == HOSTILE
    assert str(data["chosen"]) in data["texts"]
    assert "one.html" in capsys.readouterr().out
    with pytest.raises(UserError, match="no candidate 'nobody'"):
        main([str(folder), "--candidate", "nobody"])


@pytest.mark.parametrize("name", ["c00003", "c00001+cheap"])
def test_translations_of_a_part_of_the_segments_are_not_shown(tmp_path: Path, name: str) -> None:
    """Their segments are numbered within the part, so they would be shown beside references of other segments."""
    folder = some_run(tmp_path / "run")
    main([str(folder), "--candidate", name, "--out", str(tmp_path / "one.html")])
    data = data_of((tmp_path / "one.html").read_text(encoding="utf-8"))
    assert data["points"]["name"][data["chosen"]] == name
    assert str(data["chosen"]) not in data["texts"]
    assert data["texts"]


def test_a_run_in_which_nothing_was_scored_has_no_report(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [candidate("c1", status="failed")])
    with pytest.raises(UserError, match="no front to show"):
        main([str(folder)])
    assert RunView.open(folder).front == []


def test_limits_of_ones_own_are_the_bin(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [candidate("c1", 1_500, 0.6)], bins=[], max_bytes=2_000, min_bytes=1_000)
    assert [each[1:] for each in RunView.open(folder).bins] == [(1_000, 2_000)]
    data = data_of(write_report(folder).read_text(encoding="utf-8"))
    assert [(each["low"], each["high"]) for each in data["bins"] if each["target"]] == [(1_000, 2_000)]


def test_units_that_were_measured_together_each_have_their_cell(tmp_path: Path) -> None:
    folder = some_run(tmp_path / "run")
    add_model(folder)
    entries = [["level", "lm.0.mlp+lm.1.mlp", "grid@1", 0.5], ["drop", "lm.0+lm.1", "", 2.0]]
    (folder / "sensitivities.json").write_text(json.dumps(entries), encoding="utf-8")
    shown = data_of(write_report(folder).read_text(encoding="utf-8"))["sensitivities"]
    assert shown == [
        ["level", "lm.0.mlp", "grid@1", 0.5],
        ["level", "lm.1.mlp", "grid@1", 0.5],
        ["drop", "lm.0", "", 2.0],
        ["drop", "lm.1", "", 2.0],
    ]
