"""The JSON files of a run: no flipped bit is read in silence, and a kill between two writes leaves them valid."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from compress.artifact.recovered import JSON, TENSORS, RecoveryDelta
from compress.errors import UserError
from compress.policy.policy import read_hashed_policy
from results import run_files
from results.run_files import CHECKSUMS, read_file, read_json, write_file
from tests.results.examples import policy


def flipped(content: bytes, generator: random.Random) -> bytes:
    at = generator.randrange(len(content))
    return content[:at] + bytes((content[at] ^ 1 << generator.randrange(8),)) + content[at + 1 :]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for content in ({"a": 1}, [["level", "lm.0", "nf4", 0.25]], {"ä": "文"}):
        write_file(tmp_path / "model.json", json.dumps(content, ensure_ascii=False))
        assert read_json(tmp_path / "model.json", "the run") == content


@pytest.mark.parametrize("name", ["model.json", CHECKSUMS])
def test_no_flipped_bit_is_read_in_silence(tmp_path: Path, name: str) -> None:
    text = json.dumps([["level", f"lm.{n}.mlp", "grid@2", n / 7] for n in range(20)])
    write_file(tmp_path / "model.json", text)
    content, generator, noticed = (tmp_path / name).read_bytes(), random.Random(0), 0
    for _ in range(300):
        (tmp_path / name).write_bytes(flipped(content, generator))
        try:
            assert read_file(tmp_path / "model.json", "the run") == text
        except UserError:
            noticed += 1
    assert noticed == 300 if name == "model.json" else noticed > 200


@pytest.mark.parametrize("stage", ["nothing", "checksums", "both"])
def test_whenever_the_process_dies_the_file_is_valid(
    tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    write_file(path, "[1]")
    write_file(path, "[2]")
    written = run_files.write_atomically

    def dies(target: Path, content: bytes | str) -> None:
        if stage == "nothing" or (stage == "checksums" and target == path):
            raise KeyboardInterrupt
        written(target, content)

    monkeypatch.setattr(run_files, "write_atomically", dies)
    if stage == "both":
        write_file(path, "[3]")
    else:
        with pytest.raises(KeyboardInterrupt):
            write_file(path, "[3]")
    assert read_json(path, "the run") == ([3] if stage == "both" else [2])
    path.write_text("[9]")
    with pytest.raises(UserError, match=r"config\.json is damaged or was changed by hand"):
        read_json(path, "the run")


def test_files_of_older_runs_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[1]")
    assert read_json(tmp_path / "config.json", "the run") == [1]
    write_file(tmp_path / "model.json", "[2]")
    assert read_json(tmp_path / "config.json", "the run") == [1]


@pytest.mark.parametrize("text", ["[" * 100_000, '["\\ud800"]', "{", ""])
def test_what_is_not_json_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"the run: .*config\.json cannot be read") as refused:
        read_json(tmp_path / "config.json", "the run")
    assert "\n" not in str(refused.value)


def test_no_flipped_bit_of_a_policy_is_read_in_silence(tmp_path: Path) -> None:
    chosen = policy()
    path = tmp_path / f"{chosen.digest}.json"
    content, generator = chosen.to_json().encode(), random.Random(0)
    for _ in range(300):
        path.write_bytes(flipped(content, generator))
        with pytest.raises(UserError):
            read_hashed_policy(path)
    path.write_bytes(content)
    assert read_hashed_policy(path) == chosen


def test_no_flipped_bit_of_a_recovery_is_read_in_silence(tmp_path: Path) -> None:
    about = {"method": "cheap", "loss": [0.5, 0.25], "steps": 12}
    RecoveryDelta(policy(), units={"lm.0.mlp": b"payload" * 20}, about=about).save(tmp_path / "c1")
    generator = random.Random(0)
    for name in (JSON, TENSORS):
        content = (tmp_path / "c1" / name).read_bytes()
        for _ in range(150):
            (tmp_path / "c1" / name).write_bytes(flipped(content, generator))
            try:
                read = RecoveryDelta.read(tmp_path / "c1")
            except UserError:
                continue
            assert read.about == about, "the flip hit white space or the name of the checksum"
            assert read.units == {"lm.0.mlp": b"payload" * 20}
            assert read.policy == policy()
        (tmp_path / "c1" / name).write_bytes(content)


def test_a_run_in_progress_may_replace_a_file_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sensitivities.json"
    write_file(path, "[1]")
    checksums, changes = run_files._checksums, iter(["[2]", "[3]"])

    def later(folder: Path) -> dict[str, list[str]]:
        monkeypatch.setattr(run_files, "_checksums", checksums)
        for text in changes:
            write_file(path, text)
        return checksums(folder)

    monkeypatch.setattr(run_files, "_checksums", later)
    assert read_json(path, "the run") == [3]
