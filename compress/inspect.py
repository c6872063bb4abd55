"""What is in an artifact: units, levels and bytes. `python -m compress.inspect ART [--json]`"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from compress.artifact.artifact import Artifact
from compress.cli import Parser, make_callable, run
from compress.sizes import bin_of


@dataclass(frozen=True)
class UnitReport:
    """One unit of an artifact."""

    unit: str
    level: str
    parameters: int
    nbytes: int
    bits: float  # a weight, side information included


@dataclass(frozen=True)
class ArtifactReport:
    """An artifact in figures. Sizes in bytes."""

    artifact: str
    model: str
    policy: str
    dtype: str
    units: tuple[UnitReport, ...]
    dropped: tuple[str, ...]
    vocabulary: str
    calibration: str
    parameters: int
    unquantized_bytes: int
    unit_bytes: int
    adapter_bytes: int
    files_bytes: int
    manifest_bytes: int
    total_bytes: int
    original_bytes: int
    bin: str

    def to_dict(self) -> dict[str, object]:
        """As JSON: `unquantized_bytes` has the key that earlier versions gave it."""
        return {"kept_bytes" if key == "unquantized_bytes" else key: value for key, value in asdict(self).items()}


def inspect(artifact: str | Path) -> ArtifactReport:
    """Sizes by unit and in total; nothing is decoded."""
    opened = Artifact.open(artifact)
    manifest, policy, structure = opened.manifest, opened.policy, opened.structure
    lines = tuple(
        UnitReport(
            unit.name, policy.levels[unit.name], unit.parameters, section.nbytes, 8 * section.nbytes / unit.weights
        )
        for unit, section in zip(opened.units, manifest.units, strict=True)
    )
    dropped = sum(structure.layer(name).parameters for name in policy.dropped)
    return ArtifactReport(
        artifact=str(artifact),
        model=policy.model,
        policy=policy.digest,
        dtype=manifest.dtype,
        units=lines,
        dropped=policy.dropped,
        vocabulary=policy.vocabulary,
        calibration=policy.calibration,
        parameters=structure.parameters - dropped,
        unquantized_bytes=sum(section.nbytes for section in manifest.unquantized),
        unit_bytes=sum(section.nbytes for section in manifest.units),
        adapter_bytes=sum(section.nbytes for section in manifest.adapters),
        files_bytes=manifest.files.nbytes,
        manifest_bytes=opened.manifest_bytes,
        total_bytes=opened.nbytes,
        original_bytes=manifest.original_bytes,
        bin=bin_of(opened.nbytes, manifest.original_bytes),
    )


def to_text(report: ArtifactReport) -> str:
    """The report as text."""
    rows = [("unit", "level", "parameters", "bytes", "bits/weight")]
    rows += [(u.unit, u.level, f"{u.parameters:,}", f"{u.nbytes:,}", f"{u.bits:.3f}") for u in report.units]
    wide, wide_level = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"{u:<{wide}}  {level:<{wide_level}}  {n:>13}  {size:>13}  {bits:>11}" for u, level, n, size, bits in rows]
    size = report.total_bytes
    lines += [
        "",
        f"model       {report.model}",
        f"policy      {report.policy}",
        f"dropped     {', '.join(report.dropped) or 'nothing'}",
        f"vocabulary  {report.vocabulary}",
        f"calibration {report.calibration or 'none'}",
        f"parameters  {report.parameters:,}",
        f"units       {report.unit_bytes:,} bytes",
        *([f"adapters    {report.adapter_bytes:,} bytes (from training)"] if report.adapter_bytes else []),
        f"unquantized {report.unquantized_bytes:,} bytes (norms, biases, positions)",
        f"files       {report.files_bytes:,} bytes (config, tokenizer, processor)",
        f"manifest    {report.manifest_bytes:,} bytes",
        f"total       {size:,} bytes = {size / 1e9:.6f} GB = {size / 2**30:.6f} GiB "
        f"({size / max(1, report.original_bytes):.2%} of the original weight files)",
        f"bin         {report.bin}",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m compress.inspect", description="Units, levels and bytes of an artifact.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    report = inspect(options.artifact)
    print(json.dumps(report.to_dict(), indent=1) if options.json else to_text(report))


make_callable(__name__, inspect)

if __name__ == "__main__":
    sys.exit(run(main))
