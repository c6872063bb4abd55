"""--plan: what would be searched, from the config alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import compress
import embedded
from compress.errors import UserError
from search.config import Config
from search.plan import outline, reachable, show

CONFIG = Config(bins=("Bin2",), lang="en-de", vocabulary=())


def test_it_prints_the_vocabularies(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(CONFIG) == 0
    assert "vocabulary full (1,024 tokens), scripts:en,de (677 tokens)" in capsys.readouterr().out
    assert show(replace(CONFIG, lang="en-zh")) == 0
    assert "vocabulary full (1,024 tokens); scripts:en,zh keeps all of them" in capsys.readouterr().out


def test_fewer_rows_reach_lower() -> None:
    plan = outline(CONFIG)
    whole = outline(replace(CONFIG, vocabulary=("full",)))
    assert plan.tokens == (1024, 677)
    assert reachable(plan, True)[0] < reachable(whole, True)[0]
    assert reachable(plan, True)[1] == reachable(whole, True)[1]


def test_a_config_without_weights_and_tokenizer_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(embedded.MODEL / "config.json", tmp_path)
    assert show(replace(CONFIG, model=str(tmp_path))) == 0
    assert "vocabulary full (1,024 tokens); scripts:en,de is left out: " in capsys.readouterr().out
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        show(replace(CONFIG, model=str(tmp_path), vocabulary=("full", "scripts:en,de")))


def test_a_bin_out_of_reach_is_refused_with_what_could_be() -> None:
    with pytest.raises(UserError, match=r"Bin5 .* cannot be reached: .* have about [\d,]+ to [\d,]+ bytes"):
        show(replace(CONFIG, lang="en-zh", bins=("Bin5",), levels=("raw:bf16", "grid@1")))


def test_bytes_and_bins_are_those_of_the_run() -> None:
    plan = outline(CONFIG)
    original_bytes = compress.Source.open(embedded.MODEL).original_bytes
    assert plan.original_bytes == original_bytes
    assert plan.bins == CONFIG.bins_in_bytes(original_bytes)
