"""The COMET process: texts in, scores out, one JSON object a line.

It is a process of its own so that the model side is not tied to unbabel-comet's pins (transformers <5, numpy <2,
protobuf <5): `COMET_PYTHON` may name the interpreter of another environment. Nothing of ours is imported here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any


def find_checkpoint(name: str) -> Path:
    """A .ckpt file, a folder that holds one under checkpoints/, or the name of a model on the hub."""
    path = Path(name)
    if path.is_dir():
        found = sorted(path.glob("checkpoints/*.ckpt")) or sorted(path.glob("*.ckpt"))
        if not found:
            raise ValueError(f"folder {name} holds no checkpoints/*.ckpt")
        return found[0]
    if path.is_file():
        return path
    if name.startswith((".", "/")) or name.count("/") != 1:
        raise ValueError(f"{name} is neither a checkpoint nor a hub name")
    from comet import download_model

    try:
        return Path(download_model(name, local_files_only=os.environ.get("HF_HUB_OFFLINE") == "1"))
    except Exception as error:
        raise ValueError(
            f"cannot get {name} from the hub ({type(error).__name__}): download it where there is a network"
            " and give its checkpoints/model.ckpt with --comet"
        ) from error


def load(checkpoint: Path) -> Any:
    """Loads it with the checkpoint's own folder as working directory: a relative `pretrained_model` is meant so."""
    from comet import load_from_checkpoint

    top = checkpoint.parent.parent
    here = Path.cwd()
    local = (top / "encoder").is_dir()
    os.chdir(top if local else here)
    try:
        return load_from_checkpoint(str(checkpoint), local_files_only=local)
    finally:
        os.chdir(here)


def file_digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()[:12]


def serve(checkpoint: str, batch_size: int, gpus: int, answers: Any) -> None:
    """Reads requests until standard input closes."""
    path = find_checkpoint(checkpoint).resolve()
    from importlib.metadata import version

    model = load(path)
    hello = {"checkpoint": str(path), "digest": file_digest(path), "version": version("unbabel-comet")}
    print(json.dumps(hello), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            found = model.predict(
                request["samples"], batch_size=batch_size, gpus=gpus, progress_bar=False, num_workers=0
            )
            answer: dict[str, Any] = {"scores": [float(score) for score in found.scores]}
        except Exception as error:  # told to the asker, who decides
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    # Libraries print to standard output; answers get a copy of it, and everybody else standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning", "pytorch_lightning.utilities.rank_zero", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    try:
        serve(options.checkpoint, options.batch_size, options.gpus, answers)
    except ValueError as error:
        print(json.dumps({"refused": str(error)}), file=answers, flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
