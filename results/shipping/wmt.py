"""The folder that the organisers of WMT's model compression task run, as in 2026: `setup.sh`, `run.sh`,
`requirements.txt`, a README, and the artifact in `workdir/model`.

    bash run.sh --lang-pair ces-deu --batch-size 8 --input input.txt --output output.txt

It holds all it needs: the artifact is read by a copy of our own packages, and everything else is pinned to the versions
that the artifact was verified with.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import compress
import embedded
import evaluate
from compress.atomic_folder import atomic_folder
from compress.errors import UserError
from evaluate.data.languages import NAMES, short_pair, split_pair
from results.shipping import provenance
from results.shipping.card import one_line
from results.shipping.declaration import techniques
from results.shipping.submission import TEAM

# What the two packages import to translate text; pip finds what these need in turn.
PACKAGES = (
    *("torch", "transformers", "numpy", "numba", "numcodecs", "pcodec", "safetensors", "scipy", "fsspec", "jinja2"),
    *("pyyaml", "soundfile", "accelerate", "threadpoolctl"),
)
SETUP = """#!/usr/bin/env bash
# The environment of this submission, for inference alone, in .venv beside this file. PYTHON names another interpreter.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
"${PYTHON:-python3}" -m venv "$here/.venv"
"$here/.venv/bin/python" -m pip install --quiet --requirement "$here/requirements.txt"
"""
RUN = """#!/usr/bin/env bash
# bash run.sh --lang-pair LANG --batch-size N --input FILE --output FILE
# One line of output for each line of input. Messages go to standard error. CUDA_VISIBLE_DEVICES is respected.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export PYTHONPATH="$here/src" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec "${PYTHON:-$here/.venv/bin/python}" -m evaluate.lines --model "${MODEL_DIR:-$here/workdir/model}" \\
    --max-new-tokens TOKENS "$@" >&2
"""
README = """# {team}: {lang}

A model of {bytes:,} bytes ({gb:.3g} GB) for translating {pair}, {condition}.

    bash setup.sh
    bash run.sh --lang-pair {lang} --batch-size 8 --input input.txt --output output.txt

`workdir/model` is the artifact: entropy-coded weights, exactly the bytes above. `src/` reads it. Nothing is downloaded
after `setup.sh`. `MODEL_DIR` names another artifact, `PYTHON` another interpreter.

{techniques}
"""


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


def _write(
    folder: Path,
    opened: compress.Artifact,
    exported: Mapping[str, Any],
    artifact: Path,
    team: str,
    lang: str,
    condition: str,
) -> None:
    tokens = int(exported.get("max_new_tokens") or 256)
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
    )
    pins = "".join(f"{name}=={version(name).partition('+')[0]}\n" for name in PACKAGES)
    texts = {
        "setup.sh": SETUP,
        "run.sh": RUN.replace("TOKENS", str(tokens)),
        "requirements.txt": pins,
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
