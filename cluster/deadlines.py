"""How long a job may take before its worker counts as stuck: so many times what such jobs took so far."""

from __future__ import annotations

TIMES = 10.0  # the longest of its kind so far
LEAST = 600.0  # seconds, however short the others were
FIRST = 4 * 3600.0  # seconds, before one of its kind has ended: loading a model over a slow network takes long


class Deadlines:
    """Learns from the jobs that end. Seconds, by the kind of job."""

    def __init__(self, times: float = TIMES, least: float = LEAST, first: float = FIRST) -> None:
        self.times, self.least, self.first = times, least, first
        self._longest: dict[str, float] = {}

    def ended(self, kind: str, seconds: float) -> None:
        self._longest[kind] = max(self._longest.get(kind, 0.0), seconds)

    def seconds(self, kind: str) -> float:
        """How long a job of this kind may take."""
        longest = self._longest.get(kind)
        return self.first if longest is None else max(self.least, self.times * longest)
