"""The files of a submission: names and tree of IWSLT 2025 (the seed's form and SPEECHM's) and of 2026, and what is
refused before anything is written."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.errors import UserError
from compress.sizes import bin_of, bins_of, find_bin
from evaluate.decoding.cleanup import clean
from results.atomic_write import write_atomically

TASK, SET, SPEECHM = "ModelCompressionTask", "IWSLT25", "speechm"
YEARS = ("2025", "2026", "both")
TYPE = re.compile(r"primary|contrastive([1-9]\d?)?")
TEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Submission:
    """Whose it is, and where it competes. `type` is primary or contrastiveN."""

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


def planned(team: str, lang: str, bin_name: str, condition: str, type_name: str, year: str, folder: Path) -> Submission:
    """Refuses names that cannot be; a bare `contrastive` gets the next number that is free."""
    if not TEAM.fullmatch(team):
        raise UserError(f"--team '{team}': letters, digits, '-' and '_' only, as in the registration form")
    if not TYPE.fullmatch(type_name):
        raise UserError(f"--type '{type_name}': primary, contrastive, or contrastive1, contrastive2, …")
    if year != "2026" and not bin_name:
        raise UserError("--bin is missing: 2025 has bins (give --year 2026 for a submission without)")
    if type_name == "contrastive":
        taken = [Submission(team, lang, bin_name, condition, f"contrastive{n}", year) for n in range(1, 100)]
        return next(each for each in taken if not any((folder / name).exists() for name in each.files()))
    return Submission(team, lang, bin_name, condition, type_name, year)


def check_bin(size: int, original_bytes: int, claimed: str) -> None:
    """Refuses a size that lies in another bin than claimed. A boundary value belongs to the larger bin."""
    bins = bins_of(original_bytes)
    _, low, high = find_bin(claimed, bins)
    if not low <= size < high:
        truly = bin_of(size, original_bytes)
        raise UserError(
            f"the artifact has {size:,} bytes: that is {'in no bin' if truly == '-' else truly}, not {claimed}"
            f" ({low:,} to {high:,} bytes)"
        )


def check_lines(hypotheses: Sequence[str], wanted: int) -> list[str]:
    """Cleaned, one sentence a line. Refuses another number of lines than of segments, and an empty line."""
    if len(hypotheses) != wanted:
        raise UserError(f"{len(hypotheses)} hypotheses for {wanted} segments: one line each is needed")
    lines = [clean(text) for text in hypotheses]
    if empty := [n for n, line in enumerate(lines, start=1) if not line]:
        raise UserError(
            f"line {empty[0]} is empty ({len(empty)} in all): a submission must say something for every segment;"
            " mend the hypotheses and give them with --hyp"
        )
    return lines


def check_free(folder: Path, wanted: Submission) -> None:
    """Refuses a second primary for a bin and language, and any file that is there already."""
    tree, speechm = folder / wanted.team, folder / SPEECHM
    if wanted.type == "primary":
        if wanted.year != "2026":
            there = [tree / Path(wanted.tree_name).name, *speechm.glob(f"{wanted.team}_IWSLT25_*_primary.txt")]
            place = f"_{wanted.lang}_{wanted.bin}_"
            there = [path for path in there if path.exists() and (path.parent == tree or place in path.name)]
            if there:
                raise UserError(
                    f"there is a primary for {wanted.lang} and {wanted.bin} already ({there[0]}): one for each bin and"
                    " language; submit this one as contrastive, or remove the other"
                )
        if wanted.year != "2025":
            there = list(speechm.glob(f"{wanted.team}_IWSLT26_ModelCompression_{wanted.lang}_*_primary.txt"))
            if there:
                raise UserError(
                    f"2026 has no bins, and there is a primary for {wanted.lang} already ({there[0]}): add --year 2025,"
                    " or submit this one as contrastive"
                )
    for name in wanted.files():
        if (folder / name).exists():
            raise UserError(f"{folder / name} exists already: give another --type, or remove it")


def write(folder: Path, wanted: Submission, lines: Sequence[str]) -> list[Path]:
    """The hypotheses under every name, and the tar of 2025 over all that the team submits."""
    text = "".join(f"{line}\n" for line in lines)
    written = []
    for name in wanted.files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
        written.append(path)
    if wanted.year != "2026":
        archive = folder / f"{wanted.team}.tar.gz"
        write_atomically(archive, tarred(folder, wanted.team))
        written.append(archive)
    return written


def tarred(folder: Path, team: str) -> bytes:
    """The team's folder as a gzipped tar. Files keep their times: the task goes by them where nothing is primary."""
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
