"""Packing: a model and a policy become an artifact, one unit at a time, under its final name only when whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from compress.artifact import Artifact
from compress.codecs.raw import FORMATS
from compress.errors import Refusal
from compress.fixed import pack_files
from compress.manifest import FILES, MANIFEST, WEIGHTS, Manifest, Part, adapter_parts, kept_order, unit_order
from compress.policy import Policy
from compress.source import Source
from compress.store import Store, checksum
from compress.variant import Wanted, build, encode_unit, variant_key
from compress.vocabulary import files_of

Progress = Callable[[int, int], None]  # units written, and in all


def pack(source: Source, policy: Policy, store: Store | None, out: str | Path, progress: Progress | None = None) -> int:
    """Write the artifact of a policy and return its bytes: those that the ledger predicts.

    Variants come from the store, and are added to it where it lacks them; without a store nothing but the
    artifact is written.
    """
    policy.check(source.anatomy, source.digest)
    out = Path(out)
    if out.exists() or out.is_symlink():
        raise Refusal(f"{out} exists already; give another name or remove it")
    partial: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
        partial.chmod(0o755)
        _write(source, policy, store, partial, progress)
        os.rename(partial, out)
        partial = None
    except OSError as error:
        raise Refusal(f"cannot write {out}: {error.strerror or error}; nothing was left behind") from None
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(partial)
    return Artifact.open(out).nbytes


def _write(source: Source, policy: Policy, store: Store | None, folder: Path, progress: Progress | None) -> None:
    wanted = Wanted(policy.vocabulary, policy.calibration)
    kept, units = [], []
    with open(folder / WEIGHTS, "wb") as weights:
        for group in kept_order(source.anatomy, policy):
            blob = source.kept_blob(group)
            weights.write(blob)
            kept.append(Part(len(blob), checksum(blob)))
        order = unit_order(source.anatomy, policy)
        for done, unit in enumerate(order):
            if progress is not None:
                progress(done, len(order))
            level = policy.levels[unit.name]
            if store is None:
                payload = encode_unit(source, unit, level, None, wanted)
            else:
                build(source, unit.name, level, store, wanted=wanted)
                payload = store.get(variant_key(source, unit, level, wanted, store)) or b""
            weights.write(payload)
            units.append(Part(len(payload), checksum(payload)))
            del payload
        adapters = adapter_parts(source.adapters, order)
        for part in adapters:
            weights.write(source.adapters[part.unit].payload)
        _to_disk(weights.fileno())
    files = pack_files(files_of(source, policy.vocabulary, store))
    (folder / FILES).write_bytes(files)
    manifest = Manifest(
        policy=policy,
        dtype=FORMATS[source.dtype],
        original_bytes=source.original_bytes,
        kept=tuple(kept),
        units=tuple(units),
        files=Part(len(files), checksum(files)),
        adapters=adapters,
    )
    (folder / MANIFEST).write_bytes(manifest.to_bytes())


def _to_disk(descriptor: int) -> None:
    """A disk that fills up late says so now."""
    os.fsync(descriptor)
