"""`python -m search.teach`: full fine-tuning on speech with translations: a teacher, and a start for all else.

Defaults are the published settings (Moslem 2025): 3 epochs, batches of 4, learning rate 1e-5 on a cosine, weight decay
0.001, prompt tokens masked. Whole talks are held out. What comes out is a plain transformers folder; given again, the
command goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import compress
from compress.cli import Parser, run
from compress.errors import UserError
from compress.model.saving import save_checkpoint
from compress.models import resolve_model
from compress.recovery.loop import Training
from compress.recovery.settings import TrainingSettings, parse_settings
from evaluate.decoding.batches import is_chat
from search.recovery.data import check_share, open_lessons, prepared

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
HALF_FROM = 3_000_000_000  # parameters from which a GPU holds trained values in bfloat16


def parser() -> Parser:
    p = Parser(prog="python -m search.teach", description="Fine-tune all of a model on speech with translations.")
    p.add_argument("--model", default="embedded", help="embedded (default), a folder, or a hub name")
    p.add_argument("--data", required=True, help="as in search.run, e.g. acl6060:DIR or manifest:FILE.csv")
    p.add_argument("--split", default="train", help="train (default) or dev; eval is refused")
    p.add_argument("--lang", required=True, metavar="PAIR", help="en-de or en-zh")
    p.add_argument("--condition", default="unconstrained", help="constrained: ACL 60/60 dev alone")
    p.add_argument("--held-out", type=float, default=0.15, help="share held out, in whole talks (default 0.15)")
    p.add_argument("--batch", type=int, default=4, help="segments at once (default 4)")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a training setting, e.g. epochs=1")
    p.add_argument(
        "--hold", choices=("float32", "bfloat16"), help="what trained values are held in (16 or 8 bytes each)"
    )
    p.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    p.add_argument("--out", required=True, type=Path, help="folder of the fine-tuned model; must not exist")
    return p


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    settings = parse_settings(options.set)
    check_share(options.held_out)
    if options.batch < 1:
        raise UserError(f"--batch {options.batch}: at least 1")
    teach(
        model=options.model,
        data=options.data,
        split=options.split,
        lang=options.lang,
        out=options.out,
        condition=options.condition,
        held_out=options.held_out,
        batch=options.batch,
        settings=settings,
        hold=options.hold,
        device=options.device,
    )
    print(f"fine-tuned model: {options.out}")


def teach(
    model: str,
    data: str,
    split: str,
    lang: str,
    out: Path,
    condition: str = "unconstrained",
    held_out: float = 0.15,
    batch: int = 4,
    settings: Mapping[str, Any] | None = None,
    hold: str | None = None,
    device: str | None = None,
) -> Path:
    """Trains and writes the folder; checkpoints lie beside it until it is there."""
    if out.exists():
        raise UserError(f"{out} exists already; give another --out or remove it")
    lessons = open_lessons(data, split, lang, condition, held_out)
    source = compress.Source.open(resolve_model(model))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    half = hold == "bfloat16" or (hold is None and device == "cuda" and source.structure.parameters >= HALF_FROM)
    with tempfile.TemporaryDirectory() as empty:
        resident = compress.Resident(
            source, compress.Store(empty), dtype=torch.bfloat16 if half else torch.float32, device=device
        )
    net, processor, chat = resident.model, resident.processor, is_chat(model)
    parameters = {name: value for name, value in net.named_parameters() if trains(name, value, source)}
    count, held = len(lessons.train.segments), len(lessons.held_out.segments)
    print(f"{count} segments to train on, {held} held out ({lessons.label})")
    work = out.with_name(f".{out.name}.training")
    training = Training(
        net,
        parameters,
        prepared(lessons.train, source.aux_files, processor, batch, chat),
        TrainingSettings().but(**(settings or {})),
        prepared(lessons.held_out, source.aux_files, processor, batch, chat),
        work,
        say=_print_entry,
    )
    outcome = training.run()
    if outcome.stopped:
        print(f"warning: {outcome.stopped}", file=sys.stderr)
    write(net, source, out)
    shutil.rmtree(work, ignore_errors=True)
    return out


def trains(name: str, value: Any, source: Any) -> bool:
    """Everything but tables of positions: kept tensors of more than one dimension."""
    return value.dim() == 1 or name not in source.structure.unquantized


def write(net: Any, source: Any, out: Path) -> None:
    """A plain folder in the checkpoint's own number format, there whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        partial.chmod(0o755)
        save_checkpoint(net.to(source.dtype), partial)
        for name, content in source.aux_files.items():
            (partial / name).write_bytes(content)
        os.rename(partial, out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _print_entry(entry: dict[str, Any]) -> None:
    if "held_out" in entry:
        loss = "" if entry["loss"] is None else f"loss {entry['loss']:.4f}, "
        print(f"step {entry['step']} of {entry['steps']}: {loss}held out {entry['held_out']:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
