"""Command line: select the row of a run to ship, and say why.

python -m results.select RUN [RULE]... [--bin Bin2] [--json]
"""

from __future__ import annotations

import json
import sys

from compress.cli import Parser
from compress.cli import run as run_command
from compress.errors import UserError
from results.formats import as_dict, to_text
from results.runs import RunView
from results.selection import RULES, Selection, default_rules, select


def main(arguments: list[str]) -> None:
    parser = Parser(
        prog="python -m results.select",
        description="Select from a run's front by a rule; without one, by each.",
        epilog=f"rules: {', '.join(RULES)}. SIZE: bytes, or with KB, MB, GB (1e9), MiB, GiB.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    parser.add_argument("rules", nargs="*", metavar="RULE", help="see below; default: one of each")
    parser.add_argument("--bin", help="select among the candidates inside this bin only")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)
    run = RunView.open(options.run)
    selections: list[Selection] = []
    failures: list[tuple[str, UserError]] = []
    for rule in options.rules or default_rules(run):
        try:
            selections.append(select(run, rule, options.bin))
        except UserError as error:
            if options.rules or not run.front:
                raise
            failures.append((rule, error))
    if options.json:
        rows = [{"rule": s.rule, "why": s.why, **as_dict(s.candidate)} for s in selections]
        json.dump(rows[0] if len(options.rules) == 1 else rows, sys.stdout, indent=1, ensure_ascii=False)
        print()
        return
    for selection in selections:
        print(f"{selection.rule}: {selection.candidate.candidate}\n  {selection.why}")
    for rule, reason in failures:
        print(f"{rule}: nothing\n  {reason}")
    print("\n" + to_text(list({s.candidate.candidate: s.candidate for s in selections}.values())))


if __name__ == "__main__":
    sys.exit(run_command(main))
