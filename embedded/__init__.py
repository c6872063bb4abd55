"""Paths of the embedded model (a small trained Qwen2-Audio), COMET stand-in and speech with references.

With them the whole project runs offline through the code paths of the real model, metric and data.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
MODEL: Path = _HERE / "model"
COMET: Path = _HERE / "comet" / "checkpoints" / "model.ckpt"
SPEECH: Path = _HERE / "speech"
LABEL = "embedded stand-in, not comparable with wmt22-comet-da"
