"""The command `compression-search NAME ...`: every `python -m` command of this project under one name.

A command's module is imported only when it is asked for. `compression-search completion bash` (or zsh, fish) prints a
script that completes names and options.
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import sys
from collections.abc import Sequence

COMMANDS = {  # name: module, arguments that go before, what it does
    "run": ("search.run", (), "search policies: the front of COMET against bytes"),
    "plan": ("search.run", ("--plan",), "units, levels, bins and times of a search, without weights"),
    "doctor": ("search.run", ("--doctor",), "check versions, GPUs, Ray, COMET, model and disk"),
    "recover": ("search.recover", (), "train the best candidates of a run"),
    "teach": ("search.teach", (), "translations of the original to train on"),
    "published": ("search.published", (), "published systems with their numbers"),
    "front": ("results.front", (), "the front of one run or several"),
    "table": ("results.table", (), "the table of a paper"),
    "select": ("results.select", (), "select the row to ship, and say why"),
    "export": ("results.export", (), "the artifact of a row, verified"),
    "submit": ("results.submit", (), "the files of a submission"),
    "compare": ("results.compare", (), "two runs compared"),
    "merge": ("results.merge", (), "several runs as one"),
    "report": ("results.report", (), "report.html, pareto.png and pareto.svg"),
    "translate": ("evaluate.translate", (), "translate a data set with a model or an artifact"),
    "score": ("evaluate.score", (), "COMET, chrF, chrF++ and BLEU of translations"),
    "pack": ("compress.pack", (), "compress a model by a policy, without a search"),
    "inspect": ("compress.inspect", (), "what an artifact holds"),
    "verify": ("compress.verify", (), "compare every checksum of an artifact"),
    "unpack": ("compress.unpack", (), "an artifact as a folder that transformers loads"),
}
SHELLS = ("bash", "zsh", "fish")


def main(arguments: Sequence[str] | None = None) -> int:
    name, *rest = [*(sys.argv[1:] if arguments is None else arguments), ""]
    rest = rest[:-1]
    if name in ("", "-h", "--help"):
        print(usage())
        return 0 if name else 2
    if name == "completion" and len(rest) == 1 and rest[0] in SHELLS:
        print(completion(rest[0]))
        return 0
    if name not in COMMANDS:
        known = f"completion {'|'.join(SHELLS)}" if name == "completion" else ", ".join((*COMMANDS, "completion"))
        print(f"error: there is no command '{' '.join([name, *rest[:1]])}'; known are {known}", file=sys.stderr)
        return 2
    return execute(name, rest)


def execute(name: str, arguments: Sequence[str]) -> int:
    """Runs a command as `python -m` does; its exit code."""
    module, before, _ = COMMANDS[name]
    sys.argv = [f"compression-search {name}", *before, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {what}" for name, (_, _, what) in COMMANDS.items())
    return "\n".join(
        [
            "usage: compression-search COMMAND [argument]...",
            "",
            *lines,
            f"  {'completion':{width}} {'|'.join(SHELLS)}: a script that completes all this",
            "",
            "compression-search COMMAND --help says more.",
        ]
    )


def options(name: str) -> list[str]:
    """The options of a command, from its own help."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        execute(name, ["--help"])
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text.getvalue())) - {"--help"})


def completion(shell: str) -> str:
    """A script for the shell, which holds names and options as they are now."""
    known = {name: options(name) for name in COMMANDS}
    if shell == "fish":
        lines = [
            "complete -c compression-search -n __fish_use_subcommand -f -a '" + " ".join((*known, "completion")) + "'"
        ]
        for name, flags in known.items():
            lines += [
                f"complete -c compression-search -n '__fish_seen_subcommand_from {name}' -l {f[2:]}" for f in flags
            ]
        return "\n".join(lines)
    cases = "\n".join(f"    {name}) words='{' '.join(flags)}' ;;" for name, flags in known.items())
    script = f"""_compression_search() {{
  local words current="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{" ".join((*known, "completion"))}' -- "$current"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
    completion) words='{" ".join(SHELLS)}' ;;
  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    *) [ "${{COMP_WORDS[1]}}" = completion ] && COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
  esac
}}
complete -o default -F _compression_search compression-search"""
    return script if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{script}"


if __name__ == "__main__":
    sys.exit(main())
