"""The commands that the README and docs print: in blocks, and in the middle of sentences and tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
COMMAND = re.compile(
    r"(python -m|bash|make|compression-search|ray|prometheus|optuna-dashboard|docker|sbatch|kubectl) \S"
)
INLINE = re.compile(r"`([^`]+)`")


class Documented(NamedTuple):
    """A command, and the first page that prints it."""

    command: str
    page: str


def commands_of(text: str) -> list[str]:
    """In their order, each once; a line that ends with a backslash goes on in the next, comments are left out."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    fenced, texts = "", []
    for line in lines:
        if line.startswith("```"):
            fenced = "" if fenced else line
            continue
        if fenced or line.startswith("    "):
            if fenced in ("", "```", "```bash", "```sh"):
                texts.append(re.sub(r"\s+#.*", "", line).strip())
        else:
            texts += INLINE.findall(line.replace("\\|", "|"))
    return list(dict.fromkeys(each for each in texts if COMMAND.match(each)))


def documented() -> list[Documented]:
    first: dict[str, str] = {}
    for page in PAGES:
        for command in commands_of((ROOT / page).read_text(encoding="utf-8")):
            first.setdefault(command, page)
    return [Documented(command, page) for command, page in first.items()]


if __name__ == "__main__":
    for each in documented():
        print(f"{each.page:22} {each.command}")
