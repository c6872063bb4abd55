"""The folder that the organisers of WMT's model compression task run, as in 2026: `setup.sh`, `run.sh`,
`requirements.txt`, a README, and the artifact in `workdir/model`.

    bash run.sh --lang-pair ces-deu --batch-size 8 --input input.txt --output output.txt
    bash run.sh ces-deu 8 < input.txt > output.txt

The second form is that of 2025, which 2026 allows. The folder holds all it needs: the artifact is read by a copy of our
own packages, and everything else is pinned to the versions that are installed where the folder is written.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import compress
import embedded
import evaluate
from compress.atomic_folder import atomic_folder
from compress.errors import UserError
from evaluate.data.languages import NAMES, short_pair, split_pair
from results.shipping import provenance
from results.shipping.card import one_line, text_of
from results.shipping.declaration import techniques
from results.shipping.submission import TEAM

# What the two packages import to translate text.
PACKAGES = (
    *("torch", "transformers", "numpy", "numba", "numcodecs", "pcodec", "safetensors", "scipy", "fsspec", "jinja2"),
    *("pyyaml", "soundfile", "accelerate", "threadpoolctl"),
)
SETUP = """#!/usr/bin/env bash
# The environment of this submission, for inference alone, in .venv beside this file. It is made by uv where there is
# one (which brings its own Python), else by python3 with its venv module. PYTHON names another interpreter.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [[ $# -gt 0 ]]; then
    echo "error: setup.sh takes no arguments" >&2
    exit 2
fi
rm -rf "$here/.venv"
if command -v uv > /dev/null; then
    uv venv --quiet --python "${PYTHON:-VERSION}" "$here/.venv"
    uv pip install --quiet --python "$here/.venv/bin/python" --requirement "$here/requirements.txt"
else
    "${PYTHON:-python3}" -m venv "$here/.venv"
    "$here/.venv/bin/python" -m pip install --quiet --requirement "$here/requirements.txt"
fi
"""
RUN = """#!/usr/bin/env bash
# bash run.sh --lang-pair LANG --batch-size N --input FILE --output FILE
# bash run.sh LANG N < FILE > FILE
# One line of output for each line of input. Messages go to standard error. CUDA_VISIBLE_DEVICES is respected.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export PYTHONPATH="$here/src" PYTHONSAFEPATH=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
translate() {
    "${PYTHON:-$here/.venv/bin/python}" -m evaluate.lines --model "${MODEL_DIR:-$here/workdir/model}" \\
        --max-new-tokens "${MODEL_MAX_NEW_TOKENS:-TOKENS}" "$@" >&2
}
if [[ $# -eq 2 && $1 != -* ]]; then
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    cat > "$work/input"
    translate --lang-pair "$1" --batch-size "$2" --input "$work/input" --output "$work/output"
    cat "$work/output"
else
    translate "$@"
fi
"""
README = """# {team}: {lang}

A model of {bytes:,} bytes ({gb:.3g} GB) for translating {pair}, {condition}.

    bash setup.sh
    bash run.sh --lang-pair {lang} --batch-size 8 --input input.txt --output output.txt

`workdir/model` is the artifact: entropy-coded weights, exactly the bytes above. `src/` reads it. Nothing is downloaded
after `setup.sh`, which installs for Python {python} (to 3.12). `MODEL_DIR` names another artifact, `PYTHON` another
interpreter, `MODEL_MAX_NEW_TOKENS` the longest translation in tokens ({tokens}).

{techniques}

{tuned}
Both scripts were tried with a small model on a CPU: numbers of lines, empty lines, Windows line ends, batches of
several sizes. Run them once with this artifact before it is submitted.
"""
LONGEST = 1024  # tokens; inputs are paragraphs, which the sentences of a search are not


def write_folder(artifact: Path, out: Path, team: str, lang: str, condition: str) -> Path:
    """Writes OUT/TEAM--ARTIFACT. Refuses an artifact that is damaged, or of which nobody knows what it was tuned on."""
    if not TEAM.fullmatch(team):
        raise UserError(f"--team '{team}': letters, digits, '-' and '_' only, as in the registration form")
    lang = short_pair(lang)
    opened = compress.Artifact.open(artifact)
    exported = provenance.read(artifact)
    if exported.get("policy") != opened.policy.digest:
        raise UserError(f"{provenance.path_for(artifact)} is the provenance of another artifact: export this one again")
    folder = out / f"{team}--{artifact.resolve().name}"
    if folder.exists():
        raise UserError(f"{folder} exists already: give another --out, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as beside:
        _write(beside, opened, exported, artifact, team, lang, condition)
    for script in folder.glob("*.sh"):
        script.chmod(0o755)
    return folder


def pins(names: Iterable[str]) -> dict[str, str]:
    """Packages and, in turn, all that they require, with the versions installed here. Without the mark of a build such
    as `+cpu`, which is on no index."""
    versions: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in versions:
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # of a build for other machines
            continue
        versions[name] = installed.version.partition("+")[0]
        for line in installed.requires or []:
            required = Requirement(line)
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                waiting.append(required.name)
    return dict(sorted(versions.items()))


def _tuned(data: Mapping[str, Any]) -> str:
    """A sentence on a data set that the artifact was tuned on."""
    kind = "speech" if data["sounds"] else "text" if data["sentences"] else "data"
    return f"Used in its {text_of(data['purpose'])}: {kind}, {text_of(data['name'])} ({text_of(data['split'])})."


def _write(
    folder: Path,
    opened: compress.Artifact,
    exported: Mapping[str, Any],
    artifact: Path,
    team: str,
    lang: str,
    condition: str,
) -> None:
    tokens = exported.get("max_new_tokens")
    tokens = max(tokens, LONGEST) if isinstance(tokens, int) else LONGEST
    # For an older Python the pinned versions may not be there.
    oldest = f"{sys.version_info.major}.{sys.version_info.minor}"
    source, target = split_pair(lang)
    lines = "\n".join(f"- {one_line(line)}" for line in techniques(opened.policy, exported))
    readme = README.format(
        team=team,
        lang=lang,
        bytes=opened.nbytes,
        gb=opened.nbytes / 1e9,
        pair=f"{NAMES[source]} into {NAMES[target]}",
        condition=condition,
        techniques=lines,
        tuned="".join(f"{_tuned(each)}\n" for each in exported["tuned"]),
        python=oldest,
        tokens=tokens,
    )
    texts = {
        "setup.sh": SETUP.replace("VERSION", oldest),
        "run.sh": RUN.replace(":-TOKENS", f":-{tokens}"),
        "requirements.txt": "".join(f"{name}=={number}\n" for name, number in pins(PACKAGES).items()),
        "README.md": readme,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for package in (compress, evaluate):
        root = Path(str(package.__file__)).parent
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(root, folder / "src" / root.name, ignore=ignored)
    (folder / "src" / "embedded").mkdir()
    shutil.copyfile(str(embedded.__file__), folder / "src" / "embedded" / "__init__.py")
    model = folder / "workdir" / "model"
    model.mkdir(parents=True)
    for path in sorted(artifact.iterdir()):
        try:
            os.link(path, model / path.name)  # gigabytes
        except OSError:
            shutil.copyfile(path, model / path.name)
