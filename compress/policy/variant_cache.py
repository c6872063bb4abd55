"""Variants as they were read from the store, in main memory up to a number of bytes; the least recently used go."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any


class VariantCache:
    """What `Codec.read` gave, by the variant's key. Of `grid` that is integers; of other codecs the payload.

    Several threads may use it.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = self.hits = self.misses = 0
        self._entries: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Any | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            return entry

    def put(self, key: str, entry: Any) -> None:
        """Keep an entry, unless it alone is too large."""
        with self._lock:
            if key in self._entries or size_of(entry) > self.most_bytes:
                return
            self._entries[key] = entry
            self.bytes += size_of(entry)
            while self.bytes > self.most_bytes:
                _, oldest = self._entries.popitem(last=False)
                self.bytes -= size_of(oldest)


def size_of(entry: Any) -> int:
    """Bytes of memory."""
    return len(entry) if isinstance(entry, bytes) else int(entry.nbytes)
