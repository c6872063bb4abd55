"""Policies: plain data that loads back equal, is known by its hash, and is never nonsense."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import UserError
from compress.model.source import Source
from compress.policy.policy import Policy, read_policy
from compress.policy.recipes import recipe, recipe_names

MODEL = "ab" * 16
LEVELS = st.sampled_from(
    ["raw:bf16", "int8", "nf4", "digits:2", "grid@2.5", "grid@0.75", "grid@2:trellis", "rtn:4:g64"]
)
UNITS = st.sampled_from(
    [f"{stack}.{i}.{part}" for stack in ("lm", "audio") for i in range(12) for part in ("attention", "mlp")]
)
LAYERS = st.sampled_from([f"{stack}.{i}" for stack in ("lm", "audio") for i in range(12)])


@given(st.dictionaries(UNITS, LEVELS), st.lists(LAYERS), st.sampled_from(["full", "scripts:en,zh"]))
def test_loads_back_equal(levels: dict[str, str], dropped: list[str], vocabulary: str) -> None:
    policy = Policy(MODEL, levels, tuple(dropped), vocabulary)
    again = Policy.from_json(policy.to_json())
    assert again == policy
    assert hash(again) == hash(policy)
    assert again.digest == policy.digest
    assert pickle.loads(pickle.dumps(policy)) == policy


@given(st.dictionaries(UNITS, LEVELS, min_size=1), st.lists(LAYERS), st.randoms())
def test_identity_does_not_depend_on_order(levels: dict[str, str], dropped: list[str], random: Any) -> None:
    units, layers = list(levels), list(dropped)
    random.shuffle(units)
    random.shuffle(layers)
    assert (
        Policy(MODEL, levels, tuple(dropped)).digest
        == Policy(MODEL, {u: levels[u] for u in units}, tuple(layers)).digest
    )


def test_another_spelling_of_a_level_is_the_same_policy() -> None:
    assert Policy(MODEL, {"head": "grid@2.50"}) == Policy(MODEL, {"head": "grid@2.5"})


def test_levels_of_dropped_layers_do_not_count() -> None:
    with_level = Policy(MODEL, {"lm.1.mlp": "nf4", "lm.10.mlp": "nf4"}, ("lm.1",))
    assert with_level == Policy(MODEL, {"lm.10.mlp": "nf4"}, ("lm.1",))


def test_it_is_frozen() -> None:
    policy = Policy(MODEL, {"head": "nf4"})
    with pytest.raises(AttributeError):
        policy.model = "cd" * 16  # type: ignore[misc]
    with pytest.raises(TypeError):
        policy.levels["head"] = "int8"  # type: ignore[index]


NONSENSE: list[Any] = [
    "",
    "nope",
    "[]",
    "null",
    "{}",
    '{"model": 3, "levels": {}}',
    '{"model": "../../etc", "levels": {}}',
    f'{{"model": "{MODEL}", "levels": []}}',
    f'{{"model": "{MODEL}", "levels": {{"head": "grid@99"}}}}',
    f'{{"model": "{MODEL}", "levels": {{"head": "zip"}}}}',
    f'{{"model": "{MODEL}", "levels": {{"head": 4}}}}',
    f'{{"model": "{MODEL}", "levels": {{"../head": "nf4"}}}}',
    f'{{"model": "{MODEL}", "levels": {{}}, "dropped": "lm.1"}}',
    f'{{"model": "{MODEL}", "levels": {{}}, "dropped": [1]}}',
    f'{{"model": "{MODEL}", "levels": {{}}, "vocabulary": "../x"}}',
    f'{{"model": "{MODEL}", "levels": {{}}, "calibration": "x"}}',
    f'{{"model": "{MODEL}", "levels": {{}}, "surprise": 1}}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as refused:
        Policy.from_json(text)
    assert "\n" not in str(refused.value)


def test_a_policy_must_be_whole(folder: Path) -> None:
    source = Source.open(folder)
    good = recipe("fp16", source.structure, source.digest)
    good.check(source.structure, source.digest)
    cases = {
        "no level": dict(list(good.levels.items())[1:]),
        "no unit": {**good.levels, "lm.77.mlp": "nf4"},
        "does not fit": {**good.levels, "audio.conv": "rtn:4:g64"},
    }
    for message, levels in cases.items():
        with pytest.raises(UserError, match=message):
            Policy(source.digest, levels).check(source.structure)
    with pytest.raises(UserError, match="drops all 4 layers of lm"):
        Policy(source.digest, good.levels, tuple(f"lm.{i}" for i in range(4))).check(source.structure)
    with pytest.raises(UserError, match="no layer"):
        Policy(source.digest, good.levels, ("lm.9",)).check(source.structure)


def test_every_recipe_is_a_policy_for_the_model_or_says_why_not(folder: Path) -> None:
    source = Source.open(folder)
    for name in recipe_names():
        concrete = name.replace("LIST", "0,2-3").replace("LEVEL", "grid@3")
        if name.startswith("moslem"):
            with pytest.raises(UserError, match="model of 32"):
                recipe(concrete, source.structure, source.digest)
        else:
            recipe(concrete, source.structure, source.digest).check(source.structure, source.digest)
    for bad in ("q2", "drop:", "drop:x", "uniform:zip", ""):
        with pytest.raises(UserError):
            recipe(bad, source.structure, source.digest)


def test_reading_a_file(tmp_path: Path) -> None:
    policy = Policy(MODEL, {"head": "nf4"})
    (tmp_path / "p.json").write_text(json.dumps(policy.to_dict(), indent=2))
    assert read_policy(tmp_path / "p.json") == policy
    with pytest.raises(UserError, match="cannot read policy"):
        read_policy(tmp_path / "missing.json")
