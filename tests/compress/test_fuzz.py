"""Damaged tensors and artifacts: read or refused, never anything else. More: tests.fuzz."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import embedded
from compress.artifact.assemble import load_processor
from compress.codecs.lossless import zstd_encode
from compress.errors import UserError
from compress.model.aux_files import unpack_files
from compress.model.source import Source
from tests.compress.fuzz import fuzz


@pytest.mark.parametrize("rounds", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_damage_is_refused_in_one_line(rounds: int, folder: Path, tmp_path: Path) -> None:
    outcomes = fuzz(rounds, 11, Source.open(folder), tmp_path)
    assert outcomes.total() == rounds
    assert outcomes["tensor refused"] > rounds / 5
    assert sum(outcomes[f"{kind} refused"] for kind in ("plain", "lying", "payload", "files")) > rounds / 5


@pytest.mark.parametrize("content", ["\ud800", ["ä"], ["a"], [], 1, None])
def test_an_auxiliary_file_without_content_is_refused(content: object) -> None:
    with pytest.raises(UserError, match=r"auxiliary file vocab\.json has no content|auxiliary files are not JSON"):
        unpack_files(zstd_encode(json.dumps({"vocab.json": content}).encode(), 1))


def test_a_tokenizer_that_would_panic_is_refused_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    names = ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "config.json")
    files = {name: (embedded.MODEL / name).read_bytes() for name in names}
    table = json.loads(files["tokenizer.json"])
    for prefix in ("a very long prefix", "\u00e4"):
        table["model"]["continuing_subword_prefix"] = prefix
        with pytest.raises(UserError, match="continuing_subword_prefix"):
            load_processor({**files, "tokenizer.json": json.dumps(table).encode()})
    assert capfd.readouterr().err == ""
