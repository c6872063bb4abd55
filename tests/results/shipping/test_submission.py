"""Submitting: names and tree to the letter, a declaration from the artifact, and every refusal."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

import compress
import embedded
from compress.errors import UserError
from evaluate.data.open import open_data
from results import submit
from results.shipping import provenance
from results.shipping.declaration import level_in_words, techniques
from results.shipping.submission import check_lines
from tests.results.shipped import SEGMENTS, packed

LINES = [f"译文 {n}" for n in range(3)]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, embedded_store: compress.Store) -> Path:
    """An artifact with its provenance, in Bin2 of the embedded model, tuned on some of dev."""
    folder = tmp_path_factory.mktemp("shipped")
    art = packed(folder, embedded_store)[0]
    report = compress.inspect(art)
    data = open_data("embedded", "dev", "en-zh").first(SEGMENTS)
    made: dict[str, Any] = {"artifact_bytes": report.total_bytes, "policy": report.policy, "model": "embedded"}
    made |= {"chat": False, "max_new_tokens": 64, "batch_size": 2, "parent": "", "seconds_per_segment": 0.5}
    provenance.write(art, made | {"tuned": [provenance.fingerprint("search", "embedded", data)]})
    return art


@pytest.fixture
def test_set(tmp_path: Path) -> str:
    """Three segments of eval, as somebody's own manifest of ACL 60/60 would be."""
    with (embedded.SPEECH / "segments.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "eval"][:3]
    path = tmp_path / "set.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return f"manifest:{path},{embedded.SPEECH},origin=acl6060"


def arguments(artifact: Path, test_set: str, out: Path, *more: str, lines: list[str] = LINES) -> list[str]:
    hyp = out.parent / "hyp.txt"
    hyp.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    base = [str(artifact), "--data", test_set, "--lang", "en-zh", "--team", "FBK", "--bin", "Bin2"]
    return [*base, "--condition", "unconstrained", "--hyp", str(hyp), "--out", str(out), *more]


def test_names_tree_tar_and_declaration(
    artifact: Path, test_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    lines = ['"译文  一"', "这段英语的中文翻译是：第二", "третий"]
    submit.main(arguments(artifact, test_set, out, "--institute", "Somewhere", lines=lines))
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    speechm = "speechm/FBK_IWSLT2{}_ModelCompression_en-zh_{}unconstrained_primary"
    assert names == [
        "FBK.tar.gz",
        "FBK/IWSLT25.ModelCompressionTask.en-zh.FBK.Bin2.primary.txt",
        speechm.format(5, "Bin2_") + ".declaration.json",
        speechm.format(5, "Bin2_") + ".declaration.txt",
        speechm.format(5, "Bin2_") + ".txt",
        speechm.format(6, "") + ".txt",
    ]
    written = {(out / name).read_bytes() for name in names if name.endswith("primary.txt")}
    assert written == {"译文 一\n第二\nтретий\n".encode()}, "cleaned, a line each, UTF-8"
    with tarfile.open(out / "FBK.tar.gz", "r:gz") as tar:
        assert tar.getnames() == ["FBK/IWSLT25.ModelCompressionTask.en-zh.FBK.Bin2.primary.txt"]
        member = tar.extractfile(tar.getnames()[0])
        assert member is not None
        assert member.read() in written
    declared = json.loads((out / (speechm.format(5, "Bin2_") + ".declaration.json")).read_text())
    size = sum(path.stat().st_size for path in artifact.iterdir())
    assert declared["storage_bytes"] == size
    model, _ = compress.load(artifact)
    assert declared["parameters"] == sum(p.numel() for p in model.parameters())
    assert declared["techniques"][0] == "whole layers removed: lm.5"
    form = (out / (speechm.format(5, "Bin2_") + ".declaration.txt")).read_text()
    assert f"* Exact storage size: {size} bytes" in form
    assert "* Institute: Somewhere\n* Contact Person: (to be filled in)" in form
    assert "* Data condition: embedded (no condition of the shared task)" in form
    assert declared["condition"] == "embedded (no condition of the shared task)"
    told = capsys.readouterr().out
    assert told.count("condition:") == 1
    assert "the files' names say unconstrained, because names need one of the two conditions" in told


def test_without_hypotheses_the_artifact_translates(artifact: Path, test_set: str, tmp_path: Path) -> None:
    base = arguments(artifact, test_set, tmp_path / "out", "--device", "cpu")
    at = base.index("--hyp")
    submit.main([*base[:at], *base[at + 2 :], "--type", "contrastive"])
    submit.main([*base[:at], *base[at + 2 :], "--type", "contrastive", "--year", "2025"])
    files = sorted((tmp_path / "out" / "FBK").iterdir())
    assert [path.name.split(".")[-2] for path in files] == ["contrastive1", "contrastive2"]
    first, second = (path.read_text(encoding="utf-8") for path in files)
    assert first == second
    assert first.count("\n") == 3
    with tarfile.open(tmp_path / "out" / "FBK.tar.gz") as tar:
        assert len(tar.getnames()) == 2


@pytest.mark.parametrize(
    ("more", "lines", "message"),
    [
        (["--bin", "Bin3"], LINES, "that is Bin2, not Bin3"),
        (["--bin", "Bin7"], LINES, "unknown bin 'Bin7'"),
        ([], LINES[:2], "2 hypotheses for 3 segments"),
        ([], ["a", " \t", "c"], "line 2 is empty"),
        (["--team", "../x"], LINES, "--team '../x'"),
        (["--type", "second"], LINES, "--type 'second'"),
        (["--bin", ""], LINES, "--bin is missing"),
        (["--data", "embedded", "--split", "dev"], LINES, "eval data among the tuning data"),
        (["--lang", "en-xx"], LINES, "en-xx"),
    ],
)
def test_what_is_refused(
    artifact: Path, test_set: str, tmp_path: Path, more: list[str], lines: list[str], message: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError) as refused:
        submit.main(arguments(artifact, test_set, out, *more, lines=lines))
    assert message in str(refused.value)
    assert not out.exists(), "nothing was written"


def test_one_primary_for_a_bin_and_language(artifact: Path, test_set: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    submit.main(arguments(artifact, test_set, out, "--year", "2025"))
    with pytest.raises(UserError, match="there is a primary for en-zh and Bin2 already"):
        submit.main(arguments(artifact, test_set, out))
    with pytest.raises(UserError, match="there is a primary for en-zh and Bin2 already"):
        submit.main([*arguments(artifact, test_set, out), "--condition", "constrained"])
    submit.main(arguments(artifact, test_set, out, "--type", "contrastive1"))
    with pytest.raises(UserError, match="give another --type"):
        submit.main(arguments(artifact, test_set, out, "--type", "contrastive1"))
    submit.main(arguments(artifact, test_set, out, "--year", "2026", "--bin", ""))
    with pytest.raises(UserError, match="2026 has no bins, and there is a primary for en-zh already"):
        submit.main(arguments(artifact, test_set, out, "--year", "2026"))


def changed(artifact: Path, folder: Path, **others: Any) -> Path:
    """The artifact with another provenance."""
    copy = folder / "art"
    copy.mkdir()
    for path in artifact.iterdir():
        (copy / path.name).hardlink_to(path)
    provenance.write(copy, {**provenance.read(artifact), **others})
    return copy


def test_the_provenance_decides(artifact: Path, test_set: str, tmp_path: Path) -> None:
    tuned = provenance.read(artifact)["tuned"][0]
    copy = changed(artifact, tmp_path, tuned=[tuned | {"split": "eval"}])
    with pytest.raises(UserError, match=r"eval data among the tuning data: search on embedded \(eval\)"):
        submit.main(arguments(copy, test_set, tmp_path / "out"))
    provenance.write(copy, {**provenance.read(artifact), "tuned": [tuned | {"origin": "other", "name": "web"}]})
    with pytest.raises(UserError, match="search on web is refused, only ACL 60/60"):
        submit.main([*arguments(copy, test_set, tmp_path / "out"), "--condition", "constrained"])
    eval_set = open_data(test_set, "eval", "en-zh")
    leaked = provenance.fingerprint("training", "web", eval_set) | {"split": "train", "sounds": []}
    provenance.write(copy, {**provenance.read(artifact), "tuned": [leaked]})
    with pytest.raises(UserError, match="shares 0 sounds and 3 sentences"):
        submit.main(arguments(copy, test_set, tmp_path / "out"))
    provenance.write(copy, {**provenance.read(artifact), "policy": "0" * 32})
    with pytest.raises(UserError, match="provenance of another artifact"):
        submit.main(arguments(copy, test_set, tmp_path / "out"))
    provenance.path_for(copy).unlink()
    with pytest.raises(UserError, match="not known what it was tuned on"):
        submit.main(arguments(copy, test_set, tmp_path / "out"))
    provenance.path_for(copy).write_text('{"format": "export-1", "tuned": [{}]}')
    with pytest.raises(UserError, match="is damaged"):
        submit.main(arguments(copy, test_set, tmp_path / "out"))


def test_lines_are_one_sentence_each() -> None:
    assert check_lines(["a\nb", "c\u2028d\te "], 2) == ["a b", "c d e"]


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ("grid@2.5", "uniform grid with entropy-coded integers, GPTQ-style error feedback, 2.5 bits a weight"),
        (
            "grid@2.5:trellis",
            "uniform grid with trellis-coded, entropy-coded integers, GPTQ-style error feedback, 2.5 bits a weight",
        ),
        ("nf4", "NF4 with double quantisation (nf4)"),
        ("digits:2", "uniform quantiser to 2 digits + Zstandard (digits:2)"),
        ("ffn:0.8+digits:2", "structured pruning of FFN neurons to 0.8 of them, then uniform quantiser to 2 digits"),
        ("raw:fp16", "stored as fp16, not quantised (raw:fp16)"),
        ("mine:7", "mine:7"),
    ],
)
def test_levels_in_words(level: str, words: str) -> None:
    assert level_in_words(level, calibrated=True).startswith(words)


def test_rates_of_one_codec_are_one_technique() -> None:
    levels = {"a": "grid@2", "b": "grid@1.5", "c": "grid@2", "d": "nf4", "e": "grid@3:trellis", "f": "grid@2:trellis"}
    policy = compress.Policy(model="0" * 16, levels=levels, vocabulary="scripts:en,zh")
    assert techniques(policy, {"parent": "c1", "recipe": "distill"}) == (
        "uniform grid with entropy-coded integers, bits a weight chosen for each unit: 3 units (1 at 1.5, 2 at 2)",
        "uniform grid with trellis-coded, entropy-coded integers, bits a weight chosen for each unit: 2 units"
        " (1 at 2, 1 at 3)",
        "NF4 with double quantisation (nf4): 1 units",
        "vocabulary reduced to scripts:en,zh",
        "training after compression: distill",
    )
