"""`python -m search.run --doctor`: checks what a search needs, and says what to do about what is missing."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

import compress
import embedded
from compress.codecs.raw import FORMATS
from compress.errors import UserError
from compress.kernels import dispatch
from compress.models import resolve_model
from evaluate.metrics.comet import Comet
from search.command_line import HERE
from search.encoding_cost import free_bytes, store_bytes
from search.space.space import DEFAULT_LEVELS

LEAST_VERSIONS = {
    "ray": "2.60",
    "torch": "2.6",
    "transformers": "4.57",
    "optuna": "5",
    "peft": "0.18",
    "bitsandbytes": "0.48",
    "unbabel-comet": "2.2.7",
    "numba": "0.61",
    "numcodecs": "0.13",
    "pcodec": "0.3",
    "pyarrow": "21",
}
LEAST_FREE = 2 * 10**9  # bytes beside the variants: rows, reports, Ray's logs


@dataclass(frozen=True)
class Finding:
    """One line of the output. `remedy` says what to do; empty where there is no problem."""

    subject: str
    state: str
    remedy: str = ""


def numbers(text: str) -> tuple[int, ...]:
    """2.13.0+cpu → (2, 13, 0): enough to compare releases."""
    return tuple(int(part) for part in text.split("+")[0].split(".") if part.isdigit())


def check_packages() -> list[Finding]:
    findings = []
    for package, least in LEAST_VERSIONS.items():
        try:
            installed = version(package)
        except PackageNotFoundError:
            findings.append(Finding(package, "missing", "pip install -c constraints.txt -e ."))
            continue
        old = numbers(installed) < numbers(least)
        findings.append(
            Finding(package, installed, f"needs {least}: pip install -c constraints.txt -e ." if old else "")
        )
    return findings


def check_gpus() -> Finding:
    count = torch.cuda.device_count()
    if not count:
        return Finding("GPUs", "none: the search runs on the CPU (fine for the embedded model)")
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
    return Finding("GPUs", f"{count} ({names})")


def check_kernels() -> Finding:
    """Without compiled kernels everything works, several times slower."""
    try:
        slow = dispatch.kernels() == dispatch.TORCH and not dispatch.forced()
    except UserError as error:
        return Finding("kernels", str(error), f"unset {dispatch.VARIABLE}")
    if torch.cuda.is_available():
        state = dispatch.describe(torch.device("cuda"))
        remedy = "encode on the GPU: pip install cupy-cuda12x, or cupy-cuda13x where torch is for CUDA 13"
        remedy = "" if state.startswith(dispatch.CUDA) else remedy
        return Finding("kernels", f"{state} on the GPU, {dispatch.describe()} on the processor", remedy)
    return Finding("kernels", dispatch.describe(), "encoding will be slow: pip install numba" if slow else "")


def check_ray(address: str | None) -> Finding:
    from cluster import session  # imports Ray, which may be missing: check_packages comes first

    try:
        cluster = session.connect(address, 1)
    except UserError as error:
        return Finding("Ray", str(error), "start the cluster first (ray start --head) or leave out --address")
    session.disconnect()
    return Finding(
        "Ray", f"{cluster.nodes} nodes, {cluster.cpus} CPUs, {cluster.gpus:g} GPUs, dashboard {cluster.dashboard}"
    )


def check_model(model: str) -> Finding:
    try:
        source = compress.Source.open(resolve_model(model))
    except UserError as error:
        return Finding("model", str(error), "give --model embedded, a folder, or a hub name that is in the cache")
    return Finding(
        "model",
        f"{model}: {source.structure.parameters:,} parameters in {len(source.structure.units)} units,"
        f" {source.original_bytes:,} bytes",
    )


def check_comet(comet: str) -> Finding:
    try:
        scorer = Comet(str(embedded.COMET) if comet == "embedded" else comet, threads=1)
    except UserError as error:
        return Finding("COMET", str(error), "give --comet embedded or the path of a checkpoint")
    score = scorer.score(["We train the model."], ["Wir trainieren das Modell."], ["Wir trainieren das Modell."])[0]
    scorer.close()
    note = f" ({embedded.LABEL})" if comet == "embedded" else ""
    return Finding(
        "COMET", f"{scorer.identity.name} {scorer.identity.digest}, a correct translation scores {score:.3f}{note}"
    )


def check_disk(runs: str, model: str) -> Finding:
    """Room for the variants of the model at the default levels, and a little more."""
    free, needed = free_bytes(runs), LEAST_FREE
    with contextlib.suppress(UserError):  # what is wrong with the model is another check's finding
        source = compress.Source.open(resolve_model(model))
        needed += store_bytes(source.structure, DEFAULT_LEVELS, FORMATS[source.dtype], True)
    remedy = "delete something, or give --runs or --store another folder" if free < needed else ""
    return Finding("disk", f"{free / 1e9:.1f} GB free for {runs}, about {needed / 1e9:.1f} GB needed", remedy)


def show(finding: Finding) -> bool:
    """Prints a finding; returns whether it is a problem."""
    print(f"{'--' if finding.remedy else 'ok'}  {finding.subject:<14} {finding.state}", flush=True)
    if finding.remedy:
        print(f"    {'':<14} → {finding.remedy}", flush=True)
    return bool(finding.remedy)


def examine(options: argparse.Namespace) -> int:
    """Prints one line for each check; returns the exit code, 0 or 2 if there is a problem."""
    print(f"Python {sys.version.split()[0]}")
    comet = options.comet or ("embedded" if options.model == "embedded" else "Unbabel/wmt22-comet-da")
    problems = sum(map(show, check_packages()))
    checks: list[Callable[[], Finding]] = [
        check_gpus,
        check_kernels,
        lambda: check_disk(options.runs, options.model),
        lambda: check_model(options.model),
        lambda: check_comet(comet),
        lambda: check_ray(None if options.address == HERE else options.address),
    ]
    problems += sum(show(check()) for check in checks)
    print(f"problems: {problems}" if problems else "no problems")
    return 2 if problems else 0
