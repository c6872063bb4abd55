"""The device bench from beginning to end, on a model of two narrow layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import device, stand_in


def test_every_phase_is_measured_and_adds_up(tmp_path: Path, capsys: Any) -> None:
    config = stand_in.config(2).to_dict()
    config["text_config"] |= {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    config["text_config"] |= {"num_key_value_heads": 4}
    config["audio_config"] |= {"d_model": 32, "encoder_ffn_dim": 64, "encoder_attention_heads": 2}
    config["audio_config"] |= {"max_source_positions": 60, "num_mel_bins": 16}
    (tmp_path / "config.json").write_text(json.dumps(config, default=str))
    arguments = ["--config", str(tmp_path / "config.json"), "--segments", "40", "--tokens", "6"]
    assert device.main([*arguments, "--folder", str(tmp_path / "work")]) == 0
    printed = capsys.readouterr().out
    for phase in ("load", "calibrate", "encode lm.0.mlp", "swap 30", "divergence", "translate", "score 40"):
        assert f"| {phase}" in printed, phase
    assert "0 of" not in next(line for line in printed.splitlines() if "translations are equal" in line)
    assert "together" in printed
    assert "planned peaks" in printed


def test_phases_that_would_come_too_late_are_left_out(tmp_path: Path, capsys: Any) -> None:
    bench = device.Bench(tmp_path, stand_in.config(2), 4, 2, seconds=-1)
    bench.ceilings()
    with pytest.raises(TimeoutError, match="load"):
        bench.load()
    assert "TB/s" in capsys.readouterr().out
