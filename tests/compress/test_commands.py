"""The command lines: what they print, and one line with exit code 2 for every mistake."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import compress
from compress import cli
from compress.model.source import Source
from compress.policy.policy import Policy
from compress.policy.recipes import recipe
from tests.commands import refused, run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = Source.open(folder)
    policy = Policy(source.digest, dict.fromkeys(source.structure.units, "grid@3"))
    compress.pack(source, policy, None, out := tmp_path_factory.mktemp("packed") / "art")
    return out


@pytest.fixture
def art(packed: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(packed, tmp_path / "art"))


def test_pack_inspect_verify_unpack(
    folder: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    art = tmp_path / "art"
    code, out, err = run("compress.pack", "--model", folder, "--level", "grid@3", "--out", art, capsys=capsys)
    assert code == 0, err
    assert "bytes" in out
    assert {file.name: file.read_bytes() for file in art.iterdir()} == {
        file.name: file.read_bytes() for file in packed.iterdir()
    }
    nbytes = sum(file.stat().st_size for file in art.iterdir())
    code, out, _ = run("compress.inspect", art, "--json", capsys=capsys)
    report = json.loads(out)
    assert code == 0
    assert report["total_bytes"] == nbytes
    assert {line["level"] for line in report["units"]} == {"grid@3"}
    code, out, _ = run("compress.inspect", art, capsys=capsys)
    assert f"{nbytes:,} bytes" in out
    assert "Bin1" in out, "in proportion to the original"
    code, out, _ = run("compress.verify", art, capsys=capsys)
    assert code == 0
    assert "whole" in out
    code, out, _ = run("compress.unpack", art, "--out", tmp_path / "plain", capsys=capsys)
    assert code == 0
    assert (tmp_path / "plain" / "model.safetensors").is_file()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "plain").iterdir()} == {0o644}


def test_a_policy_file_and_a_recipe_pack_alike(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Source.open(folder)
    (tmp_path / "p.json").write_text(recipe("mlp-q2", source.structure, source.digest).to_json())
    for how, what, out in (("--policy", tmp_path / "p.json", "a"), ("--recipe", "mlp-q2", "b")):
        assert run("compress.pack", "--model", folder, how, what, "--out", tmp_path / out, capsys=capsys)[0] == 0
    same = [(tmp_path / out / "weights.bin").read_bytes() for out in "ab"]
    assert same[0] == same[1]


def test_vocabulary_from_the_command_line(
    folder: Path, art: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts"
    texts.write_text("the models translate speech\nthe speech\n")
    store, model = str(tmp_path / "store"), ["--model", folder, "--level", "grid@3"]
    sizes = {}
    for name, more in {"scripts:en": [], "top:300": ["--texts", texts]}.items():
        for some in ([], ["--store", store]):
            out = tmp_path / f"{name[:3]}{len(some)}"
            code, said, _ = run(
                "compress.pack", *model, "--vocabulary", name, *more, *some, "--out", out, capsys=capsys
            )
            assert code == 0, said
            sizes[name, bool(some)] = sum(file.stat().st_size for file in out.iterdir())
            assert run("compress.verify", out, capsys=capsys)[0] == 0
            assert compress.load(out)[0].get_input_embeddings().weight.shape[0] <= 300 or name != "top:300"
    assert sizes["top:300", False] == sizes["top:300", True]
    assert max(sizes.values()) <= sum(file.stat().st_size for file in art.iterdir())
    out = tmp_path / "new"
    for arguments, wanted in (
        (["--texts", texts], "--vocabulary"),
        (["--vocabulary", "scripts:en", "--texts", texts], "top:N"),
        (["--vocabulary", "top:300"], "unknown vocabulary"),
        (["--vocabulary", "top:300", "--texts", tmp_path / "none"], "cannot read"),
        (["--vocabulary", "top:9", "--texts", texts], "too few"),
        (["--vocabulary", "klingon"], "unknown vocabulary"),
    ):
        assert wanted in refused(run("compress.pack", *model, *arguments, "--out", out, capsys=capsys))
    assert not out.exists()


def test_mistakes(folder: Path, art: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def pack(*arguments: object) -> str:
        return refused(run("compress.pack", *arguments, capsys=capsys))

    out = tmp_path / "new"
    assert "is not there" in pack("--model", tmp_path / "nowhere", "--level", "nf4", "--out", out)
    assert "config.json" in pack("--model", art, "--level", "nf4", "--out", out)
    assert "unknown level" in pack("--model", folder, "--level", "zip", "--out", out)
    assert "fits no unit" in pack("--model", folder, "--level", "rtn:4:g7", "--out", out)
    assert "unknown recipe" in pack("--model", folder, "--recipe", "best", "--out", out)
    assert "exists already" in pack("--model", folder, "--level", "nf4", "--out", art)
    assert "cannot read policy" in pack("--model", folder, "--policy", tmp_path / "no.json", "--out", out)
    assert "--out" in pack("--model", folder, "--level", "nf4")
    (tmp_path / "other.json").write_text(Policy("ab" * 16, {"head": "nf4"}).to_json())
    assert "is for model" in pack("--model", folder, "--policy", tmp_path / "other.json", "--out", out)
    for module in ("inspect", "verify"):
        assert "no artifact" in refused(run(f"compress.{module}", tmp_path / "nowhere", capsys=capsys))
    assert "exists already" in refused(run("compress.unpack", art, "--out", tmp_path, capsys=capsys))
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


@pytest.mark.parametrize("name", ["manifest.json.zst", "weights.bin", "files.json.zst"])
@pytest.mark.parametrize("how", ["cut", "flip", "missing", "link", "folder", "extra"])
def test_damaged_artifacts(name: str, how: str, art: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (art / name).read_bytes()
    if how == "cut":
        (art / name).write_bytes(data[: len(data) // 2])
    elif how == "flip":
        (art / name).write_bytes(data[:40] + bytes((data[40] ^ 16,)) + data[41:])
    elif how == "extra":
        (art / f"more-{name}").write_bytes(b"")
    else:
        (art / name).unlink()
        if how == "link":
            (tmp_path / "elsewhere").write_bytes(data)
            (art / name).symlink_to(tmp_path / "elsewhere")
        elif how == "folder":
            (art / name).mkdir()
    refused(run("compress.verify", art, capsys=capsys))


def test_a_manifest_with_other_content_is_named(art: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = art / "manifest.json.zst"
    path.write_text("overwritten")
    told = refused(run("compress.inspect", art, capsys=capsys))
    assert str(path) in told
    assert "do not begin with a header" in told
    assert "None" not in told


@pytest.mark.parametrize("damage", ["cut", "flip", "no-config", "quantised", "no-weights", "shape"])
def test_damaged_checkpoints(damage: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    weights, config = bad / "model.safetensors", json.loads((bad / "config.json").read_text())
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "flip":
        weights.write_bytes(b"\xff" * 8 + weights.read_bytes()[8:])
    elif damage == "no-weights":
        weights.unlink()
    elif damage == "no-config":
        (bad / "config.json").write_text("{")
    elif damage == "quantised":
        (bad / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    else:
        config["text_config"]["intermediate_size"] = 136
        (bad / "config.json").write_text(json.dumps(config))
    refused(run("compress.pack", "--model", bad, "--level", "nf4", "--out", tmp_path / "art", capsys=capsys))
    assert not (tmp_path / "art").exists()


def test_a_full_disk_leaves_nothing_behind(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit on the size of files stands in for the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        call = ["--model", folder, "--level", "raw:bf16", "--out", tmp_path / "art"]
        error = refused(run("compress.pack", *call, capsys=capsys))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "nothing was left behind" in error
    assert list(tmp_path.iterdir()) == []


def test_importing_the_library_is_light() -> None:
    program = "import sys, compress; print(sorted({'torch', 'transformers', 'numcodecs'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_panic_of_a_library_in_rust_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    panic = type("PanicException", (BaseException,), {})

    def main(_: list[str]) -> None:
        raise panic("byte index 5 is out of bounds\nof somewhere")

    assert cli.run(main, []) == 2
    assert (
        capsys.readouterr().err
        == "error: the tokenizer or weights of this model are damaged (byte index 5 is out of bounds)\n"
    )
