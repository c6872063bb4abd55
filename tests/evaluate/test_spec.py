"""EvalSpec: JSON, the data it opens, and the signature of a score."""

from __future__ import annotations

from evaluate.metrics.comet import Identity
from evaluate.spec import EvalSpec

SPEC = EvalSpec("embedded", "dev", "en-zh", segments=7, batch_size=3, max_new_tokens=64)


def test_json_and_back() -> None:
    assert EvalSpec.from_json(SPEC.to_json()) == SPEC


def test_opens_its_segments() -> None:
    data = SPEC.open_data()
    assert (data.split, data.lang, len(data.segments)) == ("dev", "en-zh", 7)


def test_signature_has_all_it_takes_to_repeat_a_score() -> None:
    data = SPEC.open_data()
    signature = SPEC.signature(Identity("Unbabel/wmt22-comet-da", "abc", "2.2.7"), data)
    assert signature.startswith(
        "metric:comet|checkpoint:Unbabel/wmt22-comet-da|digest:abc|comet:2.2.7|data:embedded:dev:en-zh|segments:7|"
        f"datadigest:{data.digest}|clean:yes|max_new_tokens:64|transformers:"
    )
    assert "|torch:" in signature
