"""Candidates to test with."""

from __future__ import annotations

from typing import Any

from results.candidate import Candidate


def candidate(name: str = "c00001", size: int = 1000, comet: float = 0.5, **others: Any) -> Candidate:
    values: dict[str, Any] = {
        "recipe": "search",
        "bin": "Bin2",
        "comet_low": comet - 0.01,
        "comet_high": comet + 0.01,
        "chrf": 50.0,
        "bleu": 30.0,
        "segments": 2,
        "parameters": 4000,
        "bits_per_weight": 2.0,
        "layers_dropped": 1,
        "vocabulary": "full",
        "seconds_per_segment": 0.01,
        "policy": f"policies/{name}.json",
        "signature": "metric:comet",
        "comet_segments": (comet, comet),
        "hypotheses": ("你好", 'a "quoted", <b>text</b>'),
    }
    return Candidate(candidate=name, bytes=size, comet=comet, **(values | others))
