"""The store of variants: every variant is encoded once and shared by all processes and searches.

An entry is a file named by its key: 8 bytes of magic, the payload's checksum, the payload. It is written under another
name and renamed, so that readers see all of it or nothing. A damaged entry is detected when it is read, counts as
missing, and is rebuilt. The store is a local folder, or any URL that fsspec opens.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from pathlib import Path
from typing import Any

from compress.errors import UserError

_MAGIC = b"CVAR0001"
CHECKSUM_BYTES = 8
_HEADER_BYTES = len(_MAGIC) + CHECKSUM_BYTES
_KEY = re.compile(r"[0-9a-f]{40}")


def checksum(data: bytes) -> bytes:
    """A short BLAKE2b hash."""
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest()


class Store:
    """Payloads of variants by key. Every method is safe while other processes write."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self._files: _Local | _Remote = _Remote(self.root) if "://" in self.root else _Local(Path(self.root))

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.root,)

    def size(self, key: str) -> int | None:
        """Bytes of a payload, without reading it; None if it is missing."""
        size = self._files.size(_path(key))
        return None if size is None or size < _HEADER_BYTES else size - _HEADER_BYTES

    def entry(self, key: str) -> tuple[int, bytes] | None:
        """Bytes and checksum of a payload, by the entry's header alone; None if it is missing or its header damaged."""
        size = self.size(key)
        header = None if size is None else self._files.read(_path(key), _HEADER_BYTES)
        if size is None or header is None or len(header) != _HEADER_BYTES or header[: len(_MAGIC)] != _MAGIC:
            return None
        return size, header[len(_MAGIC) :]

    def get(self, key: str) -> bytes | None:
        """A payload; None if it is missing or damaged."""
        data = self._files.read(_path(key))
        if data is None or len(data) < _HEADER_BYTES or data[: len(_MAGIC)] != _MAGIC:
            return None
        payload = data[_HEADER_BYTES:]
        return payload if checksum(payload) == data[len(_MAGIC) : _HEADER_BYTES] else None

    def put(self, key: str, payload: bytes) -> None:
        """Write a payload, atomically."""
        try:
            self._files.write(_path(key), [_MAGIC, checksum(payload), payload])
        except OSError as error:
            raise UserError(f"cannot write to the store {self.root}: {error.strerror or error}") from None


def _path(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise UserError(f"{key[:60]!r} is not a key of the store")
    return f"{key[:2]}/{key[2:]}"


class _Local:
    def __init__(self, root: Path) -> None:
        self.root = root

    def size(self, path: str) -> int | None:
        try:
            return (self.root / path).stat().st_size
        except OSError:
            return None

    def read(self, path: str, most: int = -1) -> bytes | None:
        try:
            with open(self.root / path, "rb") as file:
                return file.read(most)
        except OSError:
            return None

    def write(self, path: str, parts: list[bytes]) -> None:
        final = self.root / path
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_name(f"{final.name}.{uuid.uuid4().hex}.partial")
        try:
            with open(partial, "wb") as file:
                file.writelines(parts)
            os.replace(partial, final)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


class _Remote:
    def __init__(self, root: str) -> None:
        import fsspec

        try:
            self.files, self.root = fsspec.core.url_to_fs(root)
        except (ValueError, ImportError) as error:
            raise UserError(f"cannot open the store {root}: {error}") from None

    def size(self, path: str) -> int | None:
        try:
            return int(self.files.size(f"{self.root}/{path}"))
        except (OSError, TypeError):
            return None

    def read(self, path: str, most: int = -1) -> bytes | None:
        try:
            return bytes(self.files.cat_file(f"{self.root}/{path}", end=None if most < 0 else most))
        except OSError:
            return None

    def write(self, path: str, parts: list[bytes]) -> None:
        final = f"{self.root}/{path}"
        partial = f"{final}.{uuid.uuid4().hex}.partial"
        self.files.makedirs(final.rpartition("/")[0], exist_ok=True)
        self.files.pipe_file(partial, b"".join(parts))
        self.files.mv(partial, final)
