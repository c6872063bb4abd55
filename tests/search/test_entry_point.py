"""The command `compression-search`: every command under one name, completed by the shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from search import entry_point
from search.entry_point import COMMANDS, main, options
from tests.results.examples import candidate, make_run

ROOT = Path(__file__).parent.parent.parent


def test_every_command_is_a_module_that_can_be_run() -> None:
    for module, _, what in COMMANDS.values():
        text = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert '__name__ == "__main__"' in text
        assert what


def test_a_command_does_what_its_module_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "run", [candidate("c00001"), candidate("c00002", size=2000, comet=0.6)])
    assert main(["front", str(folder), "--format", "csv"]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["candidate", "c00001", "c00002"]
    assert main(["front", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "usage: compression-search COMMAND"),
        (["--help"], 0, "usage: compression-search COMMAND"),
        (["serch"], 2, "error: there is no command 'serch'; known are run, plan"),
        (["completion", "csh"], 2, "error: there is no command 'completion csh'; known are completion bash|zsh|fish"),
    ],
)
def test_what_is_no_command(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_the_shell_completes_names_and_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry_point, "COMMANDS", {name: COMMANDS[name] for name in ("front", "inspect")})
    assert "--per-bin" in options("front")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    (tmp_path / "completion.bash").write_text(script)

    def complete(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in ("compression-search", *words))
        program = f"source {tmp_path}/completion.bash; COMP_WORDS=({typed}); COMP_CWORD={len(words)};"
        program += '_compression_search; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert complete("f") == ["front"]
    assert complete("front", "--pe") == ["--per-bin"]
    assert complete("front", "runs/") == [], "paths are the shell's own"
    assert complete("completion", "z") == ["zsh"]
    assert main(["completion", "fish"]) == 0
    assert "__fish_seen_subcommand_from front' -l per-bin" in capsys.readouterr().out
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("autoload -U +X bashcompinit")
