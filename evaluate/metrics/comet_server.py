"""The COMET process: texts in, scores out, one JSON object a line.

It is a process of its own so that the model side is not tied to unbabel-comet's pins (transformers <5, numpy <2,
protobuf <5): `COMET_PYTHON` may name the interpreter of another environment. None of our modules is imported here.

Embeddings of sources and references are kept, so a new hypothesis costs one pass of the encoder instead of three (for
models of comet's class RegressionMetric, such as wmt22-comet-da; others go through `predict`). On a GPU the encoder
runs in 16 bits: scores agree with those of 32 bits to 1e-3 a segment, and carry "float16" in their version.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

ROWS = 64  # the estimator always gets so many: products with fewer rows are rounded differently
WIDTH = 8  # tokens; texts are padded to multiples of it
KEPT_TEXTS = 100_000  # embeddings held in memory: 400 MB at a width of 1,024


def find_checkpoint(name: str) -> Path:
    """A .ckpt file, a folder that holds one under checkpoints/, or the name of a model on the hub."""
    path = Path(name)
    if path.is_dir():
        files = sorted(path.glob("checkpoints/*.ckpt")) or sorted(path.glob("*.ckpt"))
        if not files:
            raise ValueError(f"folder {name} holds no checkpoints/*.ckpt")
        return files[0]
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
    """Loads a checkpoint. Its own folder is the working directory meanwhile, for a relative `pretrained_model`."""
    from comet import load_from_checkpoint

    top = checkpoint.parent.parent
    before = Path.cwd()
    local = (top / "encoder").is_dir()
    os.chdir(top if local else before)
    try:
        return load_from_checkpoint(str(checkpoint), local_files_only=local)
    finally:
        os.chdir(before)


def file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]


class Embedder:
    """Runs a RegressionMetric in the two steps of its own `forward`: embed three texts, then estimate."""

    def __init__(self, model: Any, batch_size: int, gpus: int, half: bool | None = None) -> None:
        """`half`: the encoder in 16 bits; without it, on a GPU."""
        import torch

        self.model = model.eval().to("cuda" if gpus and torch.cuda.is_available() else "cpu")
        self.half = self.model.device.type == "cuda" if half is None else half
        if self.half:
            self.model.encoder.half()
            # Layers are mixed and tokens averaged in 32 bits.
            self.model.encoder.register_forward_hook(lambda *call: _in_float32(call[-1]))
        self.batch_size = batch_size
        self._kept: OrderedDict[str, Any] = OrderedDict()

    @staticmethod
    def supports(model: Any) -> bool:
        """Only the class itself: a subclass may embed or estimate differently."""
        return type(model).__name__ == "RegressionMetric" and model.requires_references()

    def predict(self, samples: list[dict[str, str]]) -> list[float]:
        import torch

        sources, hypotheses, references = ([sample[name] for sample in samples] for name in ("src", "mt", "ref"))
        with torch.inference_mode():
            known = self._embed_once([*sources, *references])
            # A hypothesis may equal its reference, which is embedded already.
            new = [text for text in dict.fromkeys(hypotheses) if text not in known]
            known = known | dict(zip(new, self._embed(new), strict=True))
            scores: list[float] = []
            for start in range(0, len(samples), ROWS):
                part = slice(start, start + ROWS)
                rows = list(zip(sources[part], hypotheses[part], references[part], strict=True))
                full = [*rows, *rows[:1] * (ROWS - len(rows))]
                columns = [torch.stack([known[text] for text in column]) for column in zip(*full, strict=True)]
                scores += self.model.estimate(*columns).score.float().cpu().tolist()[: len(rows)]
        return scores

    def _embed_once(self, texts: list[str]) -> dict[str, Any]:
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        self._kept.update(zip(new, self._embed(new), strict=True))
        vectors = {}
        for text in dict.fromkeys(texts):
            vectors[text] = self._kept[text]
            self._kept.move_to_end(text)
        while len(self._kept) > KEPT_TEXTS:
            self._kept.popitem(last=False)
        return vectors

    def _embed(self, texts: list[str]) -> list[Any]:
        """Sentence vectors in the order of the texts.

        A text is padded to the next multiple of WIDTH, not to the longest of its batch, and batches hold texts of the
        same width: on a CPU a vector is then the same to the last bit whatever else is in the batch.
        """
        import torch

        if not texts:
            return []
        inputs = self.model.encoder.prepare_sample(texts)
        pad = {"input_ids": self.model.encoder.tokenizer.pad_token_id}
        by_width: dict[int, list[int]] = {}
        for index, length in enumerate(inputs["attention_mask"].sum(-1).tolist()):
            by_width.setdefault(-(-length // WIDTH) * WIDTH, []).append(index)
        embedded: list[Any] = [None] * len(texts)
        for width, indices in sorted(by_width.items()):
            for start in range(0, len(indices), self.batch_size):
                batch = indices[start : start + self.batch_size]
                part = {}
                for name in ("input_ids", "attention_mask"):
                    rows = inputs[name][batch, :width]
                    short = width - rows.shape[1]
                    rows = torch.nn.functional.pad(rows, (0, short), value=pad.get(name, 0))
                    part[name] = rows.to(self.model.device)
                vectors = self.model.get_sentence_embedding(part["input_ids"], part["attention_mask"])
                if self.half and not bool(torch.isfinite(vectors).all()):  # too large for 16 bits
                    self.model.encoder.float()
                    vectors = self.model.get_sentence_embedding(part["input_ids"], part["attention_mask"])
                    self.model.encoder.half()
                for index, vector in zip(batch, vectors, strict=True):
                    embedded[index] = vector.clone()
        return embedded


def _in_float32(output: dict[str, Any]) -> dict[str, Any]:
    def widened(value: Any) -> Any:
        return value.float() if getattr(value, "is_floating_point", lambda: False)() else value

    return {
        name: type(value)(map(widened, value)) if isinstance(value, (list, tuple)) else widened(value)
        for name, value in output.items()
    }


def serve(checkpoint: str, batch_size: int, gpus: int, answers: Any, embed_once: bool = True) -> None:
    """Answers requests until standard input closes. Without `embed_once` all go through comet's `predict`."""
    path = find_checkpoint(checkpoint).resolve()
    from importlib.metadata import version

    try:
        model = load(path)
    except Exception as error:
        message = (str(error).splitlines() or [""])[0][:160]
        raise ValueError(f"{path} is no COMET checkpoint ({type(error).__name__}: {message})") from error
    embedder = Embedder(model, batch_size, gpus) if embed_once and Embedder.supports(model) else None
    precision = " float16" if embedder is not None and embedder.half else ""
    greeting = {"checkpoint": str(path), "digest": file_digest(path), "version": version("unbabel-comet") + precision}
    print(json.dumps(greeting), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if embedder is not None:
                scores = embedder.predict(request["samples"])
            else:
                prediction = model.predict(
                    request["samples"], batch_size=batch_size, gpus=gpus, progress_bar=False, num_workers=0
                )
                scores = [float(score) for score in prediction.scores]
            answer: dict[str, Any] = {"scores": scores}
        except Exception as error:  # reported to the client, which decides
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--predict", action="store_true", help="score with comet's own predict, keep no embeddings")
    options = parser.parse_args()
    # A checkpoint is a pickle: torch takes nothing but weights out of it, whatever the environment asks for.
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    # Libraries print to standard output: answers get a copy of it, and it becomes standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning", "pytorch_lightning.utilities.rank_zero", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        checkpoint = str(find_checkpoint(options.checkpoint))  # refused before torch is imported, which takes seconds
        if options.threads:
            import torch

            torch.set_num_threads(options.threads)
        serve(checkpoint, options.batch_size, options.gpus, answers, not options.predict)
    except ValueError as error:
        print(json.dumps({"refused": str(error)}), file=answers, flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
