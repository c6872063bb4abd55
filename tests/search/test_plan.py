"""--plan: what would be searched, from the config alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import compress
import embedded
from compress.errors import UserError
from search.command_line import parser, to_config
from search.config import Config
from search.plan import outline, show

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
    assert plan.reach[0] < whole.reach[0]
    assert plan.reach[1] == whole.reach[1]


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


def planned(*arguments: str) -> Config:
    return to_config(parser().parse_args(["--lang", "en-zh", "--plan", *arguments]))


def test_it_needs_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(embedded.MODEL / "config.json", tmp_path)
    assert show(planned("--bin", "Bin2", "--model", str(tmp_path))) == 0
    assert "468 segments (those of ACL 60/60 dev, since no --data was given)" in capsys.readouterr().out
    with pytest.raises(UserError, match="--data is missing"):
        to_config(parser().parse_args(["--lang", "en-zh", "--bin", "Bin2", "--model", str(tmp_path)]))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--bin", "Bin2", "--segments", "145"], "--segments 145: the dev split of embedded has 144"),
        (["--bin", "Bin2", "--data", "manifest:/not/there.csv"], "/not/there.csv is missing"),
        (["--bin", "Bin2", "--levels", "magic@2"], "unknown level 'magic@2'"),
        (["--bin", "Bin2", "--sensitivities", "medium"], "--sensitivities medium: give quick, full"),
        (["--max-bytes", "1GB"], r"--max-bytes 1,000,000,000: the model itself has 4,7\d\d,\d+ bytes"),
        (["--max-bytes", "2GB", "--min-bytes", "1GB"], "--max-bytes 2,000,000,000: the model itself has"),
    ],
)
def test_what_is_given_is_checked(more: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        show(planned(*more))


def test_all_are_the_bins_in_reach_and_the_others_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    config = planned("--bin", "all", "--levels", "grid@1.5,grid@4", "--no-drop")
    assert [each.name for each in outline(config).bins] == ["Bin1", "Bin2"]
    assert show(config) == 0
    told = capsys.readouterr().out
    assert [line[:4] for line in told.splitlines() if "is out of reach and left out: policies have" in line] == [
        "Bin3",
        "Bin4",
        "Bin5",
    ]
    with pytest.raises(UserError, match="no bin can be reached"):
        show(planned("--bin", "all", "--levels", "raw:bf16", "--no-drop"))
