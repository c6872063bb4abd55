"""Submitting an artifact: the files of IWSLT 2025 (the tree of the task and SPEECHM's) and of 2026, and every check
before the first is written."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import compress
from compress.errors import UserError
from compress.sizes import BINS, NO_BIN, bin_of, bins_of, find_bin
from evaluate.data.open import open_data
from evaluate.data.text import read_lines
from evaluate.decoding.cleanup import clean
from evaluate.spec import EvalSpec
from results.atomic_write import write_atomically
from results.shipping import provenance
from results.shipping.declaration import declare
from results.shipping.verify import VerifySettings, default_device, translations

TASK, SET, SPEECHM = "ModelCompressionTask", "IWSLT25", "speechm"
YEARS = ("2025", "2026", "both")
TYPE = re.compile(r"primary|contrastive([1-9]\d?)?")
TEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Submission:
    """A team's entry for a language pair, bin and data condition. `type` is primary or contrastiveN."""

    team: str
    lang: str
    bin: str
    condition: str
    type: str
    year: str = "both"

    @property
    def tree_name(self) -> str:
        """Path in the tree of 2025: FBK/IWSLT25.ModelCompressionTask.en-de.FBK.Bin1.primary.txt"""
        return f"{self.team}/{SET}.{TASK}.{self.lang}.{self.team}.{self.bin}.{self.type}.txt"

    @property
    def speechm_2025(self) -> str:
        return f"{self.team}_IWSLT25_ModelCompression_{self.lang}_{self.bin}_{self.condition}_{self.type}"

    @property
    def speechm_2026(self) -> str:
        """2026 has no bins."""
        return f"{self.team}_IWSLT26_ModelCompression_{self.lang}_{self.condition}_{self.type}"

    def files(self) -> list[str]:
        """Every file of hypotheses, relative to the folder of submissions."""
        of_2025 = [self.tree_name, f"{SPEECHM}/{self.speechm_2025}.txt"] if self.year != "2026" else []
        of_2026 = [f"{SPEECHM}/{self.speechm_2026}.txt"] if self.year != "2025" else []
        return of_2025 + of_2026

    @property
    def declaration(self) -> str:
        name = self.speechm_2026 if self.year == "2026" else self.speechm_2025
        return f"{SPEECHM}/{name}.declaration"


def plan_submission(
    team: str, lang: str, bin_name: str, condition: str, type_name: str, year: str, folder: Path
) -> Submission:
    """Raises UserError for invalid names. `contrastive` without a number gets the next one that is free."""
    if not TEAM.fullmatch(team):
        raise UserError(f"--team '{team}': letters, digits, '-' and '_' only, as in the registration form")
    if not TYPE.fullmatch(type_name):
        raise UserError(f"--type '{type_name}': primary, contrastive, or contrastive1, contrastive2, …")
    if year != "2026" and not bin_name:
        raise UserError("--bin is missing: 2025 has bins (give --year 2026 for a submission without)")
    if type_name == "contrastive":
        numbered = [Submission(team, lang, bin_name, condition, f"contrastive{n}", year) for n in range(1, 100)]
        return next(each for each in numbered if not any((folder / name).exists() for name in each.files()))
    return Submission(team, lang, bin_name, condition, type_name, year)


def submit(
    artifact: Path,
    submission: Submission,
    data_spec: str,
    split: str,
    folder: Path,
    people: Mapping[str, str],
    hypotheses: Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
) -> list[str]:
    """Translates the data with the artifact, unless a file of hypotheses is given, and writes the submission.

    Everything is checked before anything is written. `people`: institute, contact and email of the declaration.
    Returns the lines of a report: the declaration, what its team should know, and what was written.
    """
    opened = compress.Artifact.open(artifact)
    original_bytes = opened.manifest.original_bytes
    if submission.bin:
        check_bin(opened.nbytes, original_bytes, submission.bin)
    check_unused(folder, submission)
    exported = provenance.read(artifact)
    if exported.get("policy") != opened.policy.digest or exported.get("artifact_bytes") != opened.nbytes:
        raise UserError(f"{provenance.path_for(artifact)} is the provenance of another artifact: export this one again")
    data = open_data(data_spec, split, submission.lang)
    label = provenance.check_clean(exported, data, submission.condition)
    if hypotheses is not None:
        texts = read_lines(hypotheses)
    else:
        spec = EvalSpec(
            data=data_spec,
            split=split,
            lang=submission.lang,
            chat=bool(exported.get("chat")),
            batch_size=batch_size or int(exported.get("batch_size") or 8),
            max_new_tokens=int(exported.get("max_new_tokens") or 256),
        )
        settings = VerifySettings(str(artifact), spec, comet="", device=device or default_device())
        texts = list(translations(settings, data)[0].values())
    lines = check_lines(texts, len(data.segments))
    declaration = declare(artifact, exported, label, people)
    paths = write_files(folder, submission, lines)
    as_json = json.dumps(asdict(declaration), indent=1, ensure_ascii=False) + "\n"
    for kind, text in (("txt", declaration.to_text()), ("json", as_json)):
        paths.append(folder / f"{submission.declaration}.{kind}")
        write_atomically(paths[-1], text)
    report = [declaration.to_text()]
    report += [
        f"not checked for leaks: {each['purpose']} on {each['name']}, which was not on the machine of the export"
        for each in exported["tuned"]
        if each.get("unchecked")
    ]
    if label != submission.condition:
        report.append(f"the files' names say {submission.condition}, because names need one of the two conditions")
    if bins_of(original_bytes)[0].low < BINS["Bin1"][0]:
        report.append("the bins are those of a small model, in proportion to its original bytes")
    return [*report, f"{len(lines)} lines, in:", *(f"  {path}" for path in paths)]


def check_bin(size: int, original_bytes: int, claimed: str) -> None:
    """Raises UserError for a size in another bin than claimed. A boundary value belongs to the larger bin."""
    limits = find_bin(claimed, bins_of(original_bytes))
    if not limits.holds(size):
        actual = bin_of(size, original_bytes)
        raise UserError(
            f"the artifact has {size:,} bytes: that is {'in no bin' if actual == NO_BIN else actual}, not {claimed}"
            f" ({limits.low:,} to {limits.high:,} bytes)"
        )


def check_lines(hypotheses: Sequence[str], segments: int) -> list[str]:
    """The hypotheses cleaned, one a line. Raises UserError for another number than of segments, and an empty line."""
    if len(hypotheses) != segments:
        raise UserError(f"{len(hypotheses)} hypotheses for {segments} segments: one line each is needed")
    lines = [clean(text) for text in hypotheses]
    if empty := [n for n, line in enumerate(lines, start=1) if not line]:
        raise UserError(
            f"line {empty[0]} is empty ({len(empty)} in all): a submission needs a translation of every segment;"
            " correct the hypotheses and give them with --hyp"
        )
    return lines


def check_unused(folder: Path, submission: Submission) -> None:
    """Raises UserError for a second primary of a bin and language, and for files that exist already."""
    of_any_condition = replace(submission, condition="*")
    if submission.type == "primary" and submission.year != "2026":
        for name in (submission.tree_name, f"{SPEECHM}/{of_any_condition.speechm_2025}.txt"):
            for path in folder.glob(name):
                raise UserError(
                    f"there is a primary for {submission.lang} and {submission.bin} already ({path}): one for"
                    " each bin and language; submit this one as contrastive, or remove the other"
                )
    if submission.type == "primary" and submission.year != "2025":
        for path in folder.glob(f"{SPEECHM}/{of_any_condition.speechm_2026}.txt"):
            raise UserError(
                f"2026 has no bins, and there is a primary for {submission.lang} already ({path}): add"
                " --year 2025, or submit this one as contrastive"
            )
    for name in submission.files():
        if (folder / name).exists():
            raise UserError(f"{folder / name} exists already: give another --type, or remove it")


def write_files(folder: Path, submission: Submission, lines: Sequence[str]) -> list[Path]:
    """Writes the hypotheses under every name, and the tar of 2025 with everything that the team submits."""
    text = "".join(f"{line}\n" for line in lines)
    paths = [folder / name for name in submission.files()]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    if submission.year != "2026":
        archive = folder / f"{submission.team}.tar.gz"
        write_atomically(archive, team_archive(folder, submission.team))
        paths.append(archive)
    return paths


def team_archive(folder: Path, team: str) -> bytes:
    """The team's folder as a gzipped tar. Files keep their times, which decide between contrastive ones if none is
    primary."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted((folder / team).glob(f"{SET}.{TASK}.*.txt")):
            entry = tarfile.TarInfo(f"{team}/{path.name}")
            content = path.read_bytes()
            entry.size, entry.mode, entry.mtime = len(content), 0o644, int(path.stat().st_mtime)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
