"""The store of variants: every variant is encoded once and shared by all processes and searches.

An entry is a file named by its key: 8 bytes of magic, the payload's checksum, the payload. It is written under another
name and renamed, so that readers see all of it or nothing. A damaged entry is detected when it is read, counts as
missing, and is rebuilt. The store is a local folder, or any URL that fsspec opens.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import struct
import uuid
from pathlib import Path
from typing import Any

import fsspec

from compress.errors import UserError

_MAGIC = b"CVAR0001"
CHECKSUM_BYTES = 8
_HEADER_BYTES = len(_MAGIC) + CHECKSUM_BYTES
_KEY = re.compile(r"[0-9a-f]{40}")


_NOTE = struct.Struct("<Q8s")


def _key_of_note(key: str) -> str:
    return hashlib.blake2b(f"original {key}".encode(), digest_size=20).hexdigest()


def checksum(data: bytes) -> bytes:
    """A short BLAKE2b hash."""
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest()


class Store:
    """Payloads of variants by key. Every method is safe while other processes write."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        if "://" not in self.root:
            self._files, self._folder = fsspec.filesystem("file"), str(Path(root).absolute())
            return
        try:
            self._files, self._folder = fsspec.core.url_to_fs(self.root)
        except (ValueError, ImportError) as error:
            raise UserError(f"cannot open the store {self.root}: {error}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.root,)

    def size(self, key: str) -> int | None:
        """Bytes of a payload, without reading it; None if it is missing."""
        try:
            size = int(self._files.size(self._path(key))) - _HEADER_BYTES
        except (OSError, TypeError):
            return None
        return size if size >= 0 else None

    def entry(self, key: str) -> tuple[int, bytes] | None:
        """Bytes and checksum of a payload, without reading it; None if it is missing or its header damaged."""
        size = self.size(key)
        header = None if size is None else self._read(key, _HEADER_BYTES)
        return None if size is None or header is None else (size, header[len(_MAGIC) :])

    def get(self, key: str) -> bytes | None:
        """A payload; None if it is missing or damaged."""
        data = self._read(key)
        if data is None:
            return None
        payload = data[_HEADER_BYTES:]
        return payload if checksum(payload) == data[len(_MAGIC) : _HEADER_BYTES] else None

    def put(self, key: str, payload: bytes) -> None:
        """Write a payload, atomically."""
        final = self._path(key)
        partial = f"{final}.{uuid.uuid4().hex}.partial"
        try:
            self._files.makedirs(final.rpartition("/")[0], exist_ok=True)
            try:
                with self._files.open(partial, "wb") as file:
                    file.writelines([_MAGIC, checksum(payload), payload])
                self._files.mv(partial, final)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._files.rm_file(partial)
                raise
        except OSError as error:
            raise UserError(f"cannot write to the store {self.root}: {error.strerror or error}") from None

    def put_original(self, key: str, payload: bytes) -> None:
        """Note the size and checksum of a payload that can be had from the checkpoint at any time."""
        self.put(_key_of_note(key), _NOTE.pack(len(payload), checksum(payload)))

    def entry_of_original(self, key: str) -> tuple[int, bytes] | None:
        """As `entry`, for what `put_original` noted."""
        note = self.get(_key_of_note(key))
        return None if note is None else _NOTE.unpack(note)

    def _path(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise UserError(f"{key[:60]!r} is not a key of the store")
        return f"{self._folder}/{key[:2]}/{key[2:]}"

    def _read(self, key: str, most: int | None = None) -> bytes | None:
        """An entry from its beginning; None if it is missing or its header damaged."""
        try:
            data = bytes(self._files.cat_file(self._path(key), end=most))
        except OSError:
            return None
        return data if len(data) >= _HEADER_BYTES and data.startswith(_MAGIC) else None
