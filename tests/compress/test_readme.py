"""The README's Python example runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.forked import output_of

ROOT = Path(__file__).resolve().parents[2]


def test_the_example(folder: Path, tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    program = example.replace("path/to/Qwen2-Audio-7B", str(folder)) + "\nassert model.generate and processor\n"
    output_of(program, tmp_path)
    assert (tmp_path / "artifact" / "weights.bin").is_file()
