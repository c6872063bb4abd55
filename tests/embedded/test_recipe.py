"""The quick parts of the recipe: corruptions, damage, checkpoints, features, and errors of the command."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from embedded.recipe import __main__ as recipe
from embedded.recipe import damaged_models, features, training
from embedded.recipe.corrupted_translations import Corruptor, make_corruptions, target_score
from embedded.recipe.speech import Utterances
from embedded.recipe.talks import Sizes, splits

SENTENCES = [s for t in splits(3, Sizes(train=4, dev=0, eval=0))["train"] for s in t.sentences]


def test_without_espeak_the_recipe_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert recipe.main(["--stage", "speech", "--work", str(tmp_path), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: espeak-ng is not installed")
    assert error.count("\n") == 1


def test_a_stage_without_the_one_before_it_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("embedded.recipe.espeak.require_espeak", lambda: None)
    assert recipe.main(["--stage", "encoder", "--work", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: there is no training speech")


def test_the_target_score_of_the_reference_is_one_and_of_an_empty_string_zero() -> None:
    for sentence in SENTENCES[:10]:
        for language in ("de", "zh"):
            reference = getattr(sentence, language)
            assert target_score(reference, reference, language) == pytest.approx(1)
            assert target_score("", reference, language) == pytest.approx(0, abs=0.01)


def test_more_corruption_lowers_the_target_score() -> None:
    corruptor, rng = Corruptor(SENTENCES), random.Random(0)
    means = []
    for steps in (1, 4, 12):
        scores = []
        for sentence in SENTENCES:
            parts = sentence.de.split()
            for _ in range(steps):
                parts = corruptor.corrupt_once(parts, "de", rng) or parts
            scores.append(target_score(" ".join(parts), sentence.de, "de"))
        means.append(np.mean(scores))
    assert means[0] > means[1] > means[2]


def test_scored_corruptions_are_the_same_for_a_seed_and_cover_the_range() -> None:
    corruptions = make_corruptions(SENTENCES, 300, 1)
    assert corruptions == make_corruptions(SENTENCES, 300, 1)
    scores = [c.score for c in corruptions]
    assert min(scores) < 0.1
    assert max(scores) == pytest.approx(1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_rounding_keeps_the_range_and_the_number_of_levels(bits: int) -> None:
    weight = torch.randn(5, 96, generator=torch.Generator().manual_seed(0))
    made = damaged_models.round_to_nearest(weight, bits)
    for start in (0, 64):
        before, after = weight[:, start : start + 64], made[:, start : start + 64]
        assert torch.allclose(before.amax(1), after.amax(1), atol=1e-5)
        assert all(len(row.unique()) <= 2**bits for row in after)


def test_random_damages_are_distinct_and_the_same_for_a_seed() -> None:
    damages = damaged_models.random_damages(24, 12, 3)
    assert damages == damaged_models.random_damages(24, 12, 3)
    assert len({str(d) for d in damages}) == 24


def test_a_checkpoint_brings_back_weights_and_optimizer(tmp_path: Path) -> None:
    def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = nn.Linear(3, 2)
        return module, torch.optim.AdamW(module.parameters(), lr=0.1)

    def step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        module(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    module, optimizer = fresh()
    step(module, optimizer)
    training.save_checkpoint(tmp_path / "a.safetensors", 1, {"m": module}, optimizer)
    step(module, optimizer)
    again, other = fresh()
    assert training.load_checkpoint(tmp_path / "none.safetensors", {"m": again}, other) == 0
    assert training.load_checkpoint(tmp_path / "a.safetensors", {"m": again}, other) == 1
    step(again, other)
    for left, right in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(left, right)


def test_batches_resume_where_they_were_and_cover_each_epoch_once() -> None:
    lengths = np.random.default_rng(0).integers(50, 250, 103)
    whole = list(islice(training.batches(lengths, 8, 1, 0), 30))
    rest = list(islice(training.batches(lengths, 8, 1, 17), 13))
    for left, right in zip(whole[17:], rest, strict=True):
        assert np.array_equal(left, right)
    assert sorted(np.concatenate(whole[:13]).tolist()) == list(range(103))


def test_utterances_come_back_from_disk(tmp_path: Path) -> None:
    mels = [np.full((n, features.MELS), n, dtype=np.float16) for n in (3, 5)]
    utterances = Utterances.of(mels, [("a", "b", "c"), ("d", "e", "f")])
    utterances.save(tmp_path / "train-000.npz")
    stored = Utterances.read([tmp_path / "train-000.npz", tmp_path / "train-000.npz"])
    assert len(stored) == 4
    assert np.array_equal(stored[3], mels[1])
    assert stored.zh == ("c", "f", "c", "f")


def test_augmentation_stays_within_the_window_and_follows_the_seed() -> None:
    mel = np.random.default_rng(0).standard_normal((290, features.MELS)).astype(np.float16)
    for seed in range(20):
        made = features.augment(mel, np.random.default_rng(seed))
        assert 20 <= len(made) <= features.FRAMES
        assert np.array_equal(made, features.augment(mel, np.random.default_rng(seed)))
