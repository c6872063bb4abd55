"""`python -m search.run --doctor`: is everything there that a search needs, and what to do where it is not."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from compress.errors import UserError
from compress.models import resolve_model

NEEDED = {
    "ray": "2.60",
    "torch": "2.6",
    "transformers": "4.57",
    "optuna": "5",
    "peft": "0.18",
    "bitsandbytes": "0.48",
    "unbabel-comet": "2.2.7",
    "numcodecs": "0.13",
    "pcodec": "0.3",
    "pyarrow": "21",
}
LEAST_FREE_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """One line of the examination; `remedy` is empty where all is well."""

    what: str
    found: str
    remedy: str = ""


def numbers(text: str) -> tuple[int, ...]:
    """2.13.0+cpu → (2, 13, 0): enough to compare releases."""
    return tuple(int(part) for part in text.split("+")[0].split(".") if part.isdigit())


def check_packages() -> list[Finding]:
    findings = []
    for package, least in NEEDED.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            findings.append(Finding(package, "missing", "pip install -c constraints.txt -e ."))
            continue
        old = numbers(found) < numbers(least)
        findings.append(Finding(package, found, f"needs {least}: pip install -c constraints.txt -e ." if old else ""))
    return findings


def check_gpus() -> Finding:
    import torch

    count = torch.cuda.device_count()
    if not count:
        return Finding("GPUs", "none: the search runs on the CPU (fine for the embedded model)")
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
    return Finding("GPUs", f"{count} ({names})")


def check_ray(address: str | None) -> Finding:
    from cluster import session

    try:
        joined = session.connect(address, 1)
    except UserError as refusal:
        return Finding("Ray", str(refusal), "start the cluster first (ray start --head) or leave --address away")
    session.disconnect()
    return Finding(
        "Ray", f"{joined.nodes} nodes, {joined.cpus} CPUs, {joined.gpus:g} GPUs, dashboard {joined.dashboard}"
    )


def check_model(model: str) -> Finding:
    import compress

    try:
        source = compress.Source.open(resolve_model(model))
    except UserError as refusal:
        return Finding("model", str(refusal), "give --model embedded, a folder, or a hub name that is in the cache")
    return Finding(
        "model",
        f"{model}: {source.structure.parameters:,} parameters in {len(source.structure.units)} units,"
        f" {source.original_bytes:,} bytes",
    )


def check_comet(comet: str) -> Finding:
    import embedded
    from evaluate.metrics.comet import Comet

    try:
        scorer = Comet(str(embedded.COMET) if comet == "embedded" else comet, threads=1)
    except UserError as refusal:
        return Finding("COMET", str(refusal), "give --comet embedded or the path of a checkpoint")
    score = scorer.score(["We train the model."], ["Wir trainieren das Modell."], ["Wir trainieren das Modell."])[0]
    scorer.close()
    note = f" ({embedded.LABEL})" if comet == "embedded" else ""
    return Finding(
        "COMET", f"{scorer.identity.name} {scorer.identity.digest}, a right translation scores {score:.3f}{note}"
    )


def check_disk(runs: str) -> Finding:
    folder = Path(runs).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    short = free < LEAST_FREE_GB
    return Finding(
        "disk", f"{free:.1f} GB free for {runs}", "free some, or give --runs another folder" if short else ""
    )


def examine(options: argparse.Namespace) -> int:
    """Prints a line a check; 0 if all is well, 2 otherwise."""
    print(f"Python {sys.version.split()[0]}")
    comet = options.comet or ("embedded" if options.model == "embedded" else "Unbabel/wmt22-comet-da")
    checks: list[Callable[[], list[Finding]]] = [
        check_packages,
        lambda: [check_gpus()],
        lambda: [check_disk(options.runs)],
        lambda: [check_model(options.model)],
        lambda: [check_comet(comet)],
        lambda: [check_ray(options.address)],
    ]
    sick = 0
    for check in checks:
        for finding in check():
            mark = "--" if finding.remedy else "ok"
            print(f"{mark}  {finding.what:<14} {finding.found}", flush=True)
            if finding.remedy:
                sick += 1
                print(f"    {'':<14} → {finding.remedy}", flush=True)
    print("all is well" if not sick else f"{sick} to mend")
    return 2 if sick else 0
