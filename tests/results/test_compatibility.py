"""Several runs: compared and merged only where scores mean the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.errors import UserError
from compress.sizes import Bin
from results import compare, merge
from results import front as front_command
from results.comparison import compare as compared
from results.pareto import front
from results.runs import RunView
from tests.results.examples import SIGNATURE, add_model, candidate, change_policies, make_run, policy


def two_runs(folder: Path, **second: Any) -> tuple[str, str]:
    a = make_run(
        folder / "a",
        [
            candidate("original", 5000, 0.9, recipe="original", comet_segments=(0.9, 0.9)),
            candidate("c1", 1500, 0.6, comet_segments=(0.6, 0.6)),
            candidate("c2", 1300, 0.4, comet_segments=(0.4, 0.4)),
        ],
        [policy("raw:bf16"), policy("grid@2"), policy("grid@1")],
    )
    b = make_run(
        folder / "b",
        [
            candidate("original", 5000, 0.9, recipe="original", comet_segments=(0.9, 0.9), **second),
            candidate("c1", 1400, 0.7, comet_segments=(0.7, 0.7), parent="c0", **second),
        ],
        [policy("raw:bf16"), policy("grid@2", dropped=("lm.1",))],
    )
    return str(a), str(b)


def test_a_merged_run_is_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = two_runs(tmp_path)
    add_model(Path(a))
    merge.main([a, b, "--out", str(tmp_path / "both")])
    run = RunView.open(tmp_path / "both")
    assert [c.candidate for c in run.candidates] == ["original", "a/c1", "a/c2", "b/c1"], "the original once"
    assert [c.candidate for c in run.front] == ["a/c2", "b/c1", "original"]
    assert [c.order for c in run.candidates] == [1, 2, 3, 4]
    assert run.find("b/c1").parent == "b/c0"
    assert run.policy(run.find("b/c1")).dropped == ("lm.1",)
    assert run.with_texts(["b/c1"])["b/c1"].comet_segments == pytest.approx((0.7, 0.7))
    assert run.model.original_bytes == 20_000
    assert (tmp_path / "both" / "report.html").exists()
    assert (tmp_path / "both" / "pareto.csv").read_text().count("\n") == 4
    assert "4 candidates of 2 runs, 1 duplicates left out" in capsys.readouterr().out


def test_a_front_over_several_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = two_runs(tmp_path)
    front_command.main([a, b, "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["candidate"] for row in rows] == ["a/c2", "b/c1", "a/original"]
    assert Path(rows[1]["policy"]).is_file(), "so the policy can be read from here"


@pytest.mark.parametrize(
    ("part", "other"),
    [("digest:aaaa", "digest:ffff"), ("datadigest:544c1f2628fd", "datadigest:cccc"), ("clean:yes", "clean:no")],
)
def test_scores_that_mean_something_else_are_never_mixed(tmp_path: Path, part: str, other: str) -> None:
    a, b = two_runs(tmp_path, signature=SIGNATURE.replace(part, other))
    message = f"{part.replace(':', ' ')} and {other.partition(':')[2]}"
    for command, more in (
        (merge.main, ["--out", str(tmp_path / "both")]),
        (compare.main, []),
        (front_command.main, []),
    ):
        with pytest.raises(UserError, match="never mixed") as refused:
            command([a, b, *more])
        assert message in str(refused.value)
    assert not (tmp_path / "both").exists()


def test_versions_of_torch_do_not_matter(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path, signature=SIGNATURE.replace("torch:2.13.0", "torch:2.14.0"))
    merge.main([a, b, "--out", str(tmp_path / "both")])


def test_one_run_that_was_scored_by_two_metrics_is_refused(tmp_path: Path) -> None:
    odd = SIGNATURE.replace("digest:aaaa", "digest:eeee")
    folder = make_run(tmp_path / "run", [candidate("c1"), candidate("c2", signature=odd)])
    with pytest.raises(UserError, match="candidate c2 was scored otherwise than c1"):
        front_command.main([str(folder)])


def test_different_models_have_no_common_front(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    change_policies(Path(b), lambda policy: replace(policy, model="f" * 16))
    with pytest.raises(UserError, match="compress different models"):
        merge.main([a, b, "--out", str(tmp_path / "both")])


@pytest.mark.parametrize(("arguments", "message"), [([], "at least two runs"), (["b"], "exists already")])
def test_merging_what_cannot_be_merged(tmp_path: Path, arguments: list[str], message: str) -> None:
    a, _ = two_runs(tmp_path)
    with pytest.raises(UserError, match=message):
        merge.main([a, *(str(tmp_path / name) for name in arguments), "--out", a])


def test_comparing_counts_each_run_in_each_bin() -> None:
    a = [candidate("a1", 100, 0.5), candidate("a2", 300, 0.9)]
    b = [candidate("b1", 100, 0.4), candidate("b2", 200, 0.8)]
    comparison = compared(a, b, [Bin("low", 0, 250), Bin("high", 250, 400), Bin("none", 400, 500)], 1.0)
    assert [(x.bin, x.best_a, x.best_b) for x in comparison.bins] == [("low", 0.5, 0.8), ("high", 0.9, None)]
    assert comparison.bins[0].hypervolume_a == 150 * 0.5 / 250
    assert comparison.bins[0].hypervolume_b == (100 * 0.4 + 50 * 0.8) / 250
    assert (comparison.of_a, comparison.of_b) == (2, 1)
    assert (comparison.sizes[0].a, comparison.sizes[0].b) == (0.5, 0.4)
    assert (comparison.sizes[-1].a, comparison.sizes[-1].b) == (0.9, 0.8)
    assert comparison.of_a + comparison.of_b == len(front([*a, *b]))


def test_the_command_compares_two_candidates_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = two_runs(tmp_path)
    compare.main([a, b, "--candidates", "c1", "c1", "--out", str(tmp_path / "picture")])
    out = capsys.readouterr().out
    assert "a/c1 − b/c1: -0.1000 COMET (-0.1000 to -0.1000)" in out
    assert "front of both together: 2 of a, 1 of b" in out
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "picture.svg").exists()
    compare.main([a, b, "--json"])
    assert json.loads(capsys.readouterr().out)["of_b"] == 1
    with pytest.raises(UserError, match="no candidate 'c9'"):
        compare.main([a, b, "--candidates", "c1", "c9"])
