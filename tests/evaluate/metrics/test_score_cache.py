"""Scores on disk: exact, apart by metric, shared by processes, and damage is never taken for a score."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import UserError
from evaluate.metrics.score_cache import ScoreCache

TEXT = st.text(max_size=20)


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(st.tuples(TEXT, TEXT, TEXT), st.floats(-1, 2), max_size=20))
def test_what_is_kept_comes_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, scored: dict[tuple[str, str, str], float]
) -> None:
    path = tmp_path_factory.mktemp("cache") / "deep" / "scores.sqlite"
    ScoreCache(path, "a").put(scored.items())
    assert ScoreCache(path, "a").get([*scored, ("not", "there", "")]) == {
        **scored,
        **({("not", "there", ""): scored["not", "there", ""]} if ("not", "there", "") in scored else {}),
    }
    assert ScoreCache(path, "b").get(list(scored)) == {}


def test_the_three_texts_are_not_run_together(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "s", "m")
    cache.put([(("ab", "c", "d"), 0.5)])
    assert cache.get([("a", "bc", "d"), ("ab", "cd", ""), ("ab", "c", "d")]) == {("ab", "c", "d"): 0.5}


def test_a_changed_score_is_not_believed(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "s", "m")
    cache.put([(("a", "b", "c"), 0.5), (("d", "e", "f"), 0.25)])
    with sqlite3.connect(tmp_path / "s") as connection:
        connection.execute("UPDATE scores SET score = 0.9 WHERE score = 0.5")
    connection.close()
    assert cache.get([("a", "b", "c"), ("d", "e", "f")]) == {("d", "e", "f"): 0.25}
    cache.put([(("a", "b", "c"), 0.5)])
    assert cache.get([("a", "b", "c")]) == {("a", "b", "c"): 0.5}


def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"not a database, and long enough to be looked at" * 20)
    with pytest.raises(UserError, match=r"cannot be used .*remove it") as error:
        ScoreCache(tmp_path / "s", "m")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"cannot keep scores|cannot be used"):
        ScoreCache(tmp_path / "s" / "below", "m")


def test_several_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "s"
    program = (
        "import sys; from pathlib import Path; from evaluate.metrics.score_cache import ScoreCache\n"
        "cache = ScoreCache(Path(sys.argv[1]), 'm')\n"
        "for n in range(40): cache.put([((sys.argv[2], str(n), ''), n / 7), (('all', str(n), ''), n / 3)])\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(path), str(who)]) for who in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    scores = ScoreCache(path, "m").get([(who, str(n), "") for who in ("0", "1", "2", "3", "all") for n in range(40)])
    assert len(scores) == 200
    assert scores["3", "5", ""] == 5 / 7
