"""Five hundred damaged tensors and artifacts: read or refused, never anything else. More: tests.compress.fuzz."""

from __future__ import annotations

from pathlib import Path

from compress.source import Source
from tests.compress.fuzz import fuzz


def test_damage_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    outcomes = fuzz(500, 11, Source.open(folder), tmp_path)
    assert outcomes.total() == 500
    assert outcomes["tensor refused"] > 100
    assert sum(outcomes[f"{kind} refused"] for kind in ("plain", "lying", "payload", "files")) > 100
