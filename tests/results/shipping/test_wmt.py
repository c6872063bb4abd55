"""The folder that organisers run: it translates with nothing of ours but what it holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path
from typing import Any

import pytest
import transformers
from packaging.requirements import Requirement

import compress
from compress.errors import UserError
from evaluate.data.open import open_data
from results import submit
from results.shipping import provenance
from results.shipping.provenance import fingerprint
from results.shipping.wmt import PACKAGES, write_folder
from tests.results.shipped import packed

FROM_ELSEWHERE = ("/nowhere", "PYTHONPATH")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, embedded_store: compress.Store) -> Path:
    place = tmp_path_factory.mktemp("wmt")
    artifact, policy = packed(place, embedded_store)
    tuned = fingerprint("search", "embedded", open_data("embedded", "dev", "en-zh").first(2))
    exported = {"policy": policy.digest, "artifact_bytes": 1, "tuned": [tuned], "max_new_tokens": 64}
    provenance.write(artifact, exported)
    submit.main(
        [
            str(artifact),
            "--wmt26",
            "--lang",
            "eng-deu",
            "--team",
            "X",
            "--condition",
            "constrained",
            "--out",
            str(place),
        ]
    )
    return place / "X--first"


def shell(
    folder: Path, *arguments: str, stdin: str | None = None, cwd: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in FROM_ELSEWHERE}
    return subprocess.run(
        ["bash", str(folder / "run.sh"), *arguments],
        cwd=cwd or folder.parent,
        env={
            **kept,
            "PYTHON": sys.executable,
            "OMP_NUM_THREADS": "1",
            "MODEL_MAX_NEW_TOKENS": "12",
            **environment,
        },
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_holds_what_the_task_asks_for_and_the_artifact_to_the_byte(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"setup.sh", "run.sh", "requirements.txt", "README.md", "src", "workdir"}
    opened = compress.Artifact.open(folder / "workdir" / "model")
    assert opened.nbytes == compress.Artifact.open(folder.parent / "first").nbytes
    assert f"{opened.nbytes:,} bytes" in (folder / "README.md").read_text(encoding="utf-8")
    assert os.access(folder / "run.sh", os.X_OK)
    for script in ("setup.sh", "run.sh"):
        assert subprocess.run(["bash", "-n", str(folder / script)], check=False).returncode == 0
    pinned = dict(line.split("==") for line in (folder / "requirements.txt").read_text(encoding="utf-8").split())
    assert set(PACKAGES) <= set(pinned)
    assert {name for name in needed(PACKAGES) if installed(name)} == set(pinned), "with all that they require"
    assert pinned["transformers"] == transformers.__version__
    assert all("+" not in number for number in pinned.values()), "builds for one machine are on no index"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "Used in its search: speech, embedded (dev)." in readme
    assert "tried with a small model on a CPU" in readme


def test_it_translates_line_by_line_alike_at_every_time(folder: Path, tmp_path: Path) -> None:
    lines = ["Answers are small.", "", "Our author often writes twelve labels.", "Answers are small."]
    (tmp_path / "in.txt").write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    outputs = []
    for number, batch in enumerate(("2", "4")):
        out = tmp_path / f"out{number}.txt"
        done = shell(
            folder,
            *(
                "--lang-pair",
                "eng-deu",
                "--batch-size",
                batch,
                "--input",
                str(tmp_path / "in.txt"),
                "--output",
                str(out),
            ),
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "", "messages go to standard error"
        outputs.append(out.read_text(encoding="utf-8"))
    translated = outputs[0].splitlines()
    assert outputs[0] == outputs[1]
    assert len(translated) == len(lines)
    assert translated[1] == ""
    assert translated[0] == translated[3] != ""


def test_the_form_of_2025_is_the_same_through_standard_input_and_output(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("Answers are small.\n\nLabels are late.", encoding="utf-8")
    files = ("--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.txt"))
    assert shell(folder, "--lang-pair", "eng-deu", "--batch-size", "2", *files).returncode == 0
    streamed = shell(folder, "eng-deu", "2", stdin=(tmp_path / "in.txt").read_text(encoding="utf-8"))
    assert streamed.returncode == 0, streamed.stderr
    assert streamed.stdout == (tmp_path / "out.txt").read_text(encoding="utf-8")
    assert streamed.stdout.count("\n") == 3
    wrong = shell(folder, "xx-yy", "2", stdin="x\n")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: ")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 always looks into the current folder")
def test_packages_of_the_folder_it_is_called_in_are_not_imported(folder: Path, tmp_path: Path) -> None:
    for name in ("evaluate", "compress"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('another package')\n")
    done = shell(folder, "--help", cwd=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Translate a text line by line" in done.stderr


def test_paragraphs_are_not_cut_where_sentences_of_the_search_were(folder: Path) -> None:
    assert '"${MODEL_MAX_NEW_TOKENS:-1024}"' in (folder / "run.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize("has_uv", [True, False])
def test_setup_makes_an_environment_with_uv_or_without(folder: Path, tmp_path: Path, has_uv: bool) -> None:
    """Programs that note how they were called stand in for uv, python3 and pip."""
    place, programs = tmp_path / "place", tmp_path / "bin"
    (place / ".venv" / "left").mkdir(parents=True)
    programs.mkdir()
    for name in ("setup.sh", "requirements.txt"):
        shutil.copyfile(folder / name, place / name)
    note = f'#!/bin/bash\necho "$(basename "$0") $*" >> {tmp_path}/calls\n'
    makes = (
        "for last; do :; done\n"
        'if [[ $* == *venv* && $* != *pip* ]]; then mkdir -p "$last/bin"; cp "$0" "$last/bin/python"; fi\n'
    )
    for name in ("python3", *(["uv"] if has_uv else [])):
        (programs / name).write_text(note + makes)
        (programs / name).chmod(0o755)
    for name in ("bash", "dirname", "basename", "rm", "mkdir", "cp"):
        (programs / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        ["bash", str(place / "setup.sh")], env={"PATH": str(programs)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    where, wanted = f"{place}/.venv", f"--requirement {place}/requirements.txt"
    assert (tmp_path / "calls").read_text().splitlines() == (
        [
            f"uv venv --quiet --python {version} {where}",
            f"uv pip install --quiet --python {where}/bin/python {wanted}",
        ]
        if has_uv
        else [f"python3 -m venv {where}", f"python -m pip install --quiet {wanted}"]
    )
    assert not (place / ".venv" / "left").exists(), "nothing of an earlier try"
    wrong = subprocess.run(["bash", str(place / "setup.sh"), "x"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (2, "error: setup.sh takes no arguments\n")


@pytest.mark.parametrize("arguments", [(), ("--lang-pair", "xx-yy"), ("--batch-size", "no")])
def test_bad_arguments_end_it_with_a_line(folder: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "in.txt").write_text("x\n", encoding="utf-8")
    rest = ("--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.txt")) if arguments else ()
    done = shell(folder, *arguments, *rest)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "out.txt").exists()


def test_another_model_is_used_where_one_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("x\n", encoding="utf-8")
    arguments = ("--lang-pair", "en-de", "--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.txt"))
    done = shell(folder, *arguments, MODEL_DIR=str(tmp_path / "none"))
    assert done.returncode == 2
    assert str(tmp_path / "none") in done.stderr


def needed(names: tuple[str, ...]) -> set[str]:
    """The packages and, in turn, all that they require."""
    packages: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in packages:
            continue
        packages.add(name)
        try:
            lines = requires(name) or []
        except ModuleNotFoundError:
            continue
        for line in lines:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return packages


def installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def test_nothing_is_imported_that_is_not_required(folder: Path, tmp_path: Path) -> None:
    program = (
        "import json, sys\nfrom evaluate.lines import main\n"
        "main(sys.argv[1:])\n"
        "from importlib.metadata import packages_distributions\n"
        "owners = packages_distributions()\n"
        "tops = {name.partition('.')[0] for name in sys.modules}\n"
        "where = sys.modules['compress'].__file__\n"
        "print(json.dumps([where, sorted({d for t in tops for d in owners.get(t, [])})]))\n"
    )
    (tmp_path / "in.txt").write_text("Answers are small.\n", encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-c", program, "--model", str(folder / "workdir" / "model"), "--lang-pair", "en-de"),
            *("--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.txt"), "--max-new-tokens", "4"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded: list[Any] = json.loads(done.stdout.splitlines()[-1])
    assert loaded[0].startswith(str(folder)), "the copy in the folder"
    # Namespace packages are owned by every distribution that has a part of them, used or not.
    shared = {"compression-search", "protobuf", "googleapis-common-protos", "google-auth", "google-api-core"}
    shared |= {name for name in loaded[1] if name.startswith("opentelemetry")}
    unrequired = {name.lower().replace("_", "-") for name in loaded[1]} - needed(PACKAGES) - shared
    assert unrequired <= {"pillow", "msgpack", "colorama", "cffi", "pycparser"}, "those are taken where they are there"


def test_mistakes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = folder.parent / "first"
    for team, lang, message in (("a b", "en-de", "--team 'a b'"), ("X", "en-xx", "unknown language pair 'en-xx'")):
        with pytest.raises(UserError, match=message):
            write_folder(artifact, tmp_path, team, lang, "constrained")
    with pytest.raises(UserError, match="exists already"):
        write_folder(artifact, folder.parent, "X", "en-de", "constrained")
    with pytest.raises(SystemExit) as ended:
        submit.main([str(artifact), "--lang", "en-de", "--team", "X", "--condition", "constrained"])
    assert ended.value.code == 2
    for flag in ("--data", "--bin", "--hyp"):
        with pytest.raises(SystemExit):
            submit.main(
                [str(artifact), "--wmt26", "--lang", "en-de", "--team", "Y", "--condition", "constrained", flag, "x"]
            )
    assert "--data is missing" in (shown := capsys.readouterr().err)
    assert "--hyp has no meaning with --wmt26" in shown
    assert list(tmp_path.iterdir()) == []
