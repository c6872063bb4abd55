"""COMET scores on disk, so that no hypothesis is scored twice: one SQLite file that many processes may share.

A row's key is of checkpoint, package version and the three texts. A row has a checksum: a damaged one is scored again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from compress.errors import UserError

Triple = tuple[str, str, str]
KEYS_A_QUERY = 500
TIMEOUT = 60.0  # seconds for another process to finish writing


def default_cache() -> Path:
    """In the user's cache folder."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "compression-search" / "scores.sqlite"


class ScoreCache:
    """Scores of one metric (checkpoint digest and package version)."""

    def __init__(self, path: Path, metric: str) -> None:
        self.path, self.metric = path, metric
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, score REAL, sum BLOB) WITHOUT ROWID"
                )
        except OSError as error:
            raise UserError(f"cannot keep scores in {path}: {error.strerror or error}") from None
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def get(self, triples: Sequence[Triple]) -> dict[Triple, float]:
        """Scores of the triples that have one."""
        by_key = {self._key(triple): triple for triple in triples}
        keys = list(by_key)
        scores = {}
        try:
            with self._open() as connection:
                for start in range(0, len(keys), KEYS_A_QUERY):
                    part = keys[start : start + KEYS_A_QUERY]
                    marks = ",".join("?" * len(part))
                    query = f"SELECT key, score, sum FROM scores WHERE key IN ({marks})"
                    for key, score, checksum in connection.execute(query, part):
                        if isinstance(score, float) and checksum == _sum(key, score):
                            scores[by_key[key]] = score
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        return scores

    def put(self, scored: Iterable[tuple[Triple, float]]) -> None:
        """Stores all or none. Another process may have stored the same score meanwhile."""
        rows = []
        for triple, score in scored:
            key, plain = self._key(triple), score + 0.0  # SQLite keeps no negative zero
            rows.append((key, plain, _sum(key, plain)))
        try:
            with self._open() as connection:
                connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def _open(self) -> _Connection:
        # One connection a call: none lives through a fork or while a model computes.
        return _Connection(self.path)

    def _key(self, triple: Triple) -> bytes:
        state = hashlib.blake2b(digest_size=16)
        for part in (self.metric, *triple):
            data = part.encode("utf-8", "surrogatepass")
            state.update(struct.pack("<q", len(data)))
            state.update(data)
        return state.digest()

    def _damaged(self, error: sqlite3.Error) -> UserError:
        return UserError(f"the cache of scores {self.path} cannot be used ({error}): remove it, or name another file")


class _Connection:
    """`with` commits, or rolls back, and closes (sqlite3's own does not close)."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=TIMEOUT)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.commit()
        self._connection.close()


def _sum(key: bytes, score: float) -> bytes:
    return hashlib.blake2b(key + struct.pack("<d", score), digest_size=8).digest()
