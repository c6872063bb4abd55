"""Command line: the row to ship, and why.

python -m results.select RUN [RULE]... [--bin Bin2] [--json]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from compress.cli import Parser
from compress.errors import UserError
from compress.sizes import find_bin
from results.candidate import Candidate
from results.formats import as_dict, to_text
from results.runs import Run
from results.selection import RULES, Selection, choose

ALL = ("best", "within:0.01", "knee", "like-original")


def pool(run: Run, bin_name: str | None) -> list[Candidate]:
    """What is chosen from: all candidates, or those inside a bin."""
    if bin_name is None:
        return run.candidates
    _, low, high = find_bin(bin_name, run.all_bins)
    return [c for c in run.candidates if low <= c.bytes < high]


def select(run: Run, rule: str, bin_name: str | None = None) -> Selection:
    return choose(rule, pool(run, bin_name), run.all_bins, run.full)


def defaults(run: Run) -> Sequence[str]:
    """Without a rule: one of each kind, the best for each bin of the run."""
    return (*(f"best:{name}" for name, _, _ in run.bins if name.startswith("Bin")), *ALL)


def main(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m results.select",
        description="Choose from a run's front by a rule; without one, by each.",
        epilog=f"rules: {', '.join(RULES)}. SIZE: bytes, or with KB, MB, GB (1e9), MiB, GiB.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    parser.add_argument("rules", nargs="*", metavar="RULE", help="see below; default: one of each")
    parser.add_argument("--bin", help="choose among the candidates inside this bin alone")
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args(arguments)
    run = Run.open(given.run)
    choices: list[Selection] = []
    refused: list[dict[str, Any]] = []
    for rule in given.rules or defaults(run):
        try:
            choices.append(select(run, rule, given.bin))
        except UserError as refusal:
            if given.rules or not run.front:
                raise
            refused.append({"rule": rule, "why": str(refusal)})
    if given.json:
        found = [{"rule": c.rule, "why": c.why, **as_dict(c.candidate)} for c in choices]
        json.dump(found[0] if len(given.rules) == 1 else found, sys.stdout, indent=1, ensure_ascii=False)
        print()
        return
    for choice in choices:
        print(f"{choice.rule}: {choice.candidate.candidate}\n  {choice.why}")
    for each in refused:
        print(f"{each['rule']}: nothing\n  {each['why']}")
    print("\n" + to_text(list({c.candidate.candidate: c.candidate for c in choices}.values())))


if __name__ == "__main__":
    from compress.cli import run as command

    sys.exit(command(main))
