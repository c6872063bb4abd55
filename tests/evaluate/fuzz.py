"""Damaged and hostile data: manifests, lists of segments, texts, hypotheses, audio. Read, or refused in one line."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import yaml

from compress.errors import UserError
from evaluate.data.audio import read_audio
from evaluate.data.open import open_data
from evaluate.data.text import read_lines
from evaluate.decoding.cleanup import clean_all
from evaluate.metrics.mt import corpus_metrics
from evaluate.metrics.scores import check_hypotheses
from tests.mutations import NASTY, count_outcomes, mutated, one_line, within

SECONDS = 5.0
NINE = "*{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}"
BOMB = "- a: &a [x]\n" + "".join(
    f"  {n}: &{n} [{NINE.format(o)}]\n" for o, n in zip("abcdefghij", "bcdefghijk", strict=True)
)
XML = '<mteval><refset><doc docid="2022.acl-long.117"><seg id="1">One &amp; two.</seg><seg id="2">Three.</seg></doc>'


class Data:
    """Good files of every kind of data, and damaged copies of them."""

    def __init__(self, work: Path) -> None:
        self.work, self.good, self.bad = work, work / "good", work / "bad"
        self.good.mkdir()
        generator = np.random.default_rng(0)
        for name, kind in (("one", "wav"), ("two", "flac"), ("three", "ogg")):
            soundfile.write(self.good / f"{name}.{kind}", generator.normal(0, 0.1, 4000), 16000)
        segments = [{"wav": "one.wav", "offset": 0.05 * n, "duration": 0.05, "rW": 3} for n in range(3)]
        (self.good / "segments.yaml").write_text(yaml.safe_dump(segments))
        for name in ("source.txt", "reference.txt", "hypotheses.txt"):
            (self.good / name).write_text("".join(f"A sentence of {name}, {n}.\n" for n in range(3)))
        header = "id,split,talk,audio_path,source_en,target_de\n"
        rows = [f'{n},dev,t,{name},"A ""word"".",Ein Wort.\n' for n, name in enumerate(("one.wav", "two.flac"))]
        (self.good / "manifest.csv").write_text(header + "".join(rows))
        for split in ("dev",):
            text = self.good / "acl" / split / "text" / "xml"
            text.mkdir(parents=True)
            for code in ("en", "de"):
                (text / f"ACL.6060.{split}.en-xx.{code}.xml").write_text(XML)
            wavs = self.good / "acl" / split / "segmented_wavs" / "gold"
            wavs.mkdir(parents=True)
            for n in (1, 2):
                shutil.copy(self.good / "one.wav", wavs / f"sent_{n}.wav")
        self.files = [path for path in sorted(self.good.rglob("*")) if path.is_file()]

    def attempt(self, rng: random.Random) -> str:
        shutil.rmtree(self.bad, ignore_errors=True)
        shutil.copytree(self.good, self.bad)
        kind: Callable[[random.Random], None] = rng.choice((self.bytes_of_a_file, self.values_of_a_file))
        kind(rng)
        refusals = 0
        for spec in self.specs():
            try:
                with within(SECONDS):
                    self.read(spec)
            except UserError as refusal:
                refusals += 1
                one_line(refusal, "")
        return f"{kind.__name__.replace('_', ' ')} {'refused' if refusals else 'read'}"

    def bytes_of_a_file(self, rng: random.Random) -> None:
        path = self.bad / rng.choice(self.files).relative_to(self.good)
        path.write_bytes(mutated(path.read_bytes(), rng))

    def values_of_a_file(self, rng: random.Random) -> None:
        """Another value in a list of segments, a table or a line of text."""
        path = self.bad / rng.choice([p for p in self.files if p.suffix in (".yaml", ".csv", ".txt")]).name
        nasty = rng.choice([each for each in NASTY if each != "\ud800"])
        if path.name == "segments.yaml" and rng.random() < 0.2:
            what = dict.fromkeys(("wav", "offset", "duration"), "1") | {rng.choice(("wav", "offset", "duration")): "*k"}
            path.write_text(BOMB + "".join(f"  {name}: {value}\n" for name, value in what.items()))
            return
        if path.name == "segments.yaml":
            segments = yaml.safe_load(path.read_text())
            segments[rng.randrange(3)][rng.choice(("wav", "offset", "duration"))] = nasty
            path.write_text(yaml.safe_dump(segments))
            return
        parts = path.read_text().split("," if path.suffix == ".csv" else "\n")
        parts[rng.randrange(len(parts))] = str(nasty)
        path.write_text(("," if path.suffix == ".csv" else "\n").join(parts))

    def specs(self) -> list[str]:
        bad = self.bad
        texts = f"{bad}/source.txt,{bad}/reference.txt"
        return [
            f"manifest:{bad}/manifest.csv",
            f"iwslt:{bad}/segments.yaml,{bad},{texts}",
            f"text:{texts}",
            f"acl6060:{bad}/acl",
        ]

    def read(self, spec: str) -> None:
        data = open_data(spec, "dev", "en-de")
        for segment in data.segments:
            if segment.audio is not None:
                samples = read_audio(segment.audio, 16_000, segment.offset, segment.duration)
                assert samples.ndim == 1
        if not spec.startswith("text:"):
            return
        lines = read_lines(self.bad / "hypotheses.txt")
        check_hypotheses(lines, data, "hypotheses.txt")
        cleaned = list(clean_all(lines).texts)
        for metric in corpus_metrics("en-de").values():
            assert 0 <= metric.corpus_score(cleaned, [data.references]).score <= 100.1


def fuzz(rounds: int, seed: int, work: Path) -> Counter[str]:
    """How often what happened. Any exception but a UserError goes through to the caller."""
    inputs = Data(work)
    return count_outcomes(rounds, seed, lambda _, rng: inputs.attempt(rng))
