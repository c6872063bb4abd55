"""Command line: two runs compared, as a table and a plot, and two candidates by a paired test.

python -m results.compare RUN_A RUN_B [--candidates ID_A ID_B] [--out compare]
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compress.cli import Parser
from compress.cli import run as run_command
from compress.errors import UserError
from results.atomic_write import write_atomically
from results.comparison import compare, paired_test
from results.compatibility import check_metric, labels, model_of
from results.html.plots import draw_two, encode
from results.runs import RunView


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m results.compare", description="The fronts of two runs in one plot.")
    parser.add_argument("a", metavar="RUN_A", help="folder of a run")
    parser.add_argument("b", metavar="RUN_B", help="folder of a run scored by the same metric on the same data")
    parser.add_argument(
        "--candidates", nargs=2, metavar=("ID_A", "ID_B"), help="paired test between one of A and one of B"
    )
    parser.add_argument("--out", type=Path, default=Path("compare"), help="plot, to .png and .svg (default compare)")
    parser.add_argument("--json", action="store_true", help="for programs; no plot")
    options = parser.parse_args(arguments)

    a, b = runs = [RunView.open(options.a), RunView.open(options.b)]
    check_metric(runs)
    for run in runs:
        if not run.front:
            raise UserError(f"run {run.path}: no candidate was scored yet, its front is empty")
    names = labels(runs)
    top = max((run.top_comet for run in runs if run.original is not None and run.original.comparable), default=1.0)
    comparison = compare(a.candidates, b.candidates, a.all_bins, top)
    test = paired_test(runs, options.candidates) if options.candidates else None
    if options.json:
        result: dict[str, Any] = {"a": names[0], "b": names[1], **asdict(comparison)}
        print(json.dumps(result | ({"paired": test} if test else {}), indent=1, ensure_ascii=False))
        return
    print(comparison.to_text(names))
    if model_of(a) != model_of(b):
        print("\nThe runs compress different models; only their scores and bytes are compared.")
    if test:
        print(
            f"\n{names[0]}/{test['a']} − {names[1]}/{test['b']}: {test['difference']:+.4f} COMET"
            f" ({test['low']:+.4f} to {test['high']:+.4f}), p = {test['p']:.3f}, paired bootstrap over"
            f" {test['segments']} segments: {test['verdict']}"
        )
    for kind, content in encode(draw_two(a.candidates, b.candidates, a.all_bins, names)).items():
        path = options.out.with_name(f"{options.out.name}.{kind}")
        write_atomically(path, content)
        print(path)


if __name__ == "__main__":
    sys.exit(run_command(main))
