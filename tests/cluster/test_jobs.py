"""What a person is told that a worker does."""

from __future__ import annotations

from cluster import jobs


def test_every_kind_of_job_is_told_in_words() -> None:
    assert jobs.describe(jobs.calibrate("key")) == "calibrating"
    assert jobs.describe(jobs.build([("lm.0.mlp", "nf4"), ("lm.0.mlp", "int8"), ("lm.1.mlp", "nf4")], "")) == (
        "encoding lm.0.mlp and 1 more (3 variants)"
    )
    assert jobs.describe(jobs.build([("embedding", "nf4")], "")) == "encoding embedding (1 variant)"
    assert jobs.describe(jobs.sense([(jobs.DROP, "lm.1", "")], "", "key")) == "measuring 1 sensitivities"
    assert jobs.describe(jobs.score(None) | {"name": "original"}) == "original, translating"
    assert jobs.describe(jobs.score("{}", (jobs.KL, jobs.ALL)) | {"name": "int8"}) == "int8, scoring"
    assert jobs.describe({"kind": "else"}) == "else"
