"""The trellis: the best path there is, what the decoder makes of it, and a decibel for nothing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.codecs import codec, decode, encode, has_trellis, rate_of, with_trellis
from compress.codecs.grid import grid
from compress.codecs.grid.feedback import factor, stepwise
from compress.codecs.grid.integers import has_integers, quantized_integers
from compress.codecs.grid.payload import HEAD, read_payload
from compress.codecs.grid.steps import step_codes
from compress.codecs.statistics import Statistics
from compress.errors import UserError
from compress.kernels import reference
from tests.compress.codecs.test_codecs import damage, inputs_hessian, weights

PLAIN = (0.0, 0.0, 0.0)


def meant(integers: Any, shifts: reference.Shifts = PLAIN) -> Any:
    out = np.empty(integers.shape, np.float32)
    reference.trellis_values(integers, shifts, np.arange(len(integers)), out)
    return out


def meaning(integers: list[int]) -> list[float]:
    """What a sequence means, by the machine's rule and nothing else."""
    x = y = z = 0
    out = []
    for k in integers:
        out.append(-(k + 0.25) if x else k + 0.25)
        x, y, z = x ^ y, z ^ (k & 1), x
    return out


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=40))
def test_decoder_follows_the_rule(integers: list[int]) -> None:
    column = np.array(integers, np.int16)[:, None]
    assert meant(column)[:, 0].tolist() == meaning(integers)
    shifted = meant(column, (0.1, 0.2, 0.3))[:, 0]
    wide = meant(np.array([[2**30], *([k] for k in integers)], np.int32))[1:, 0]  # too many to look up
    assert wide.tolist() == meaning([2**30, *integers])[1:]
    turned = np.empty((len(integers), 1), np.float32)
    backwards = np.arange(len(integers))[::-1]
    reference.trellis_values(column[::-1], PLAIN, backwards, turned)
    assert turned[::-1, 0].tolist() == meaning(integers)
    for k, value, plain in zip(integers, shifted, meaning(integers), strict=True):
        nearer = {0: 0.1, -1: 0.2}.get(k, 0.3)
        assert math.isclose(abs(value), abs(plain) - nearer, abs_tol=1e-4)


def test_all_states_are_reached_and_every_point_can_be_said_within_three_places() -> None:
    reached = set()
    for odd in itertools.product((0, 1), repeat=6):
        x = y = z = 0
        for bit in odd:
            x, y, z = x ^ y, z ^ bit, x
        reached.add((x, y, z))
    assert len(reached) == 8


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-2.2, 2.2), min_size=1, max_size=5))
def test_no_other_sequence_is_nearer(wanted: list[float]) -> None:
    """Against every sequence there is."""
    found = reference.quantise_trellis_alone(torch.tensor(wanted)[:, None])[:, 0].to(torch.int32).tolist()

    def error(integers: Any) -> float:
        return sum((a - b) ** 2 for a, b in zip(meaning(list(integers)), wanted, strict=True))

    best = min(error(integers) for integers in itertools.product(range(-4, 5), repeat=len(wanted)))
    assert math.isclose(error(found), best, rel_tol=1e-4, abs_tol=1e-6)


@pytest.mark.parametrize("places", [1, 7, 128, 130, 300])
def test_feedback_with_nothing_to_feed_back_is_none(places: int) -> None:
    values = torch.randn(places, 50, generator=torch.Generator().manual_seed(places)) * 2
    found = reference.quantise_trellis(values.clone(), torch.eye(places), torch.ones(places), PLAIN)
    assert torch.equal(found, reference.quantise_trellis_alone(values))


def test_sequences_do_not_depend_on_those_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(40, 33, generator=torch.Generator().manual_seed(1))
    upper = torch.triu(torch.rand(40, 40, generator=torch.Generator().manual_seed(2)) * 0.2) + torch.eye(40)

    def both() -> tuple[torch.Tensor, torch.Tensor, Any]:
        fed = reference.quantise_trellis(values.clone(), upper, torch.full((40,), 0.5), PLAIN)
        return reference.quantise_trellis_alone(values / 0.3), fed, meant(fed.numpy().astype(np.int16))

    whole = both()
    monkeypatch.setattr(reference, "_BESIDE", 5)
    monkeypatch.setattr(reference, "_FED_BESIDE", 5)
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(whole, both(), strict=True))


@pytest.mark.parametrize(
    ("rate", "least"), [(0.5, -0.05), (0.75, 0.2), (1, 0.4), (1.5, 0.7), (2, 0.7), (3.1, 0.7), (4, 0.7), (6, 0.7)]
)
@pytest.mark.parametrize("calibrated", [False, True])
def test_a_trellis_is_worth_most_of_a_decibel(rate: float, least: float, calibrated: bool) -> None:
    """At equal bits, on normal weights; the best that any code could do at high rates is 1.53 dB.

    At half a bit all columns may be left to plain rounding, and a few bytes of side information are lost.
    """
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(384, 256, generator=generator) * 0.02
    hessian = inputs_hessian(256) if calibrated else None
    measure = torch.eye(256) if hessian is None else hessian
    found = []
    for level in (f"grid@{rate}", f"grid@{rate}:trellis"):
        encoded = encode(weight, level, hessian)
        bits = 8 * encoded.nbytes / weight.numel()
        found.append(10 * math.log10(damage(weight, decode(encoded), measure)) + 20 * math.log10(2) * bits)
    assert least < found[0] - found[1] < 1.53


def test_it_reaches_half_a_decibel_from_what_is_possible() -> None:
    """Of normal draws no code of R bits leaves less than 2^-2R; integers at their entropy."""
    from compress.codecs.grid.rate import entropy

    values = torch.randn(256, 400, generator=torch.Generator().manual_seed(3))
    for step in (1.6, 0.8, 0.4):
        k = reference.quantise_trellis_alone(values / step).numpy().astype(np.int16)
        left = values.numpy() - meant(k) * step
        means = {v: left[k == v].mean() if (k == v).any() else 0.0 for v in (0,)}
        assert abs(means[0]) < 0.05
        over = 10 * math.log10(float((left**2).mean())) + 20 * math.log10(2) * entropy(k)
        assert 0.3 < over < {1.6: 1.3, 0.8: 0.75, 0.4: 0.6}[step]


def test_steps_of_a_trellis_never_grow_in_the_order_a_decoder_knows() -> None:
    hessian = inputs_hessian(96)
    found, usual = stepwise(hessian), factor(hessian)
    codes = step_codes(found.relative)
    assert torch.equal(found.order, torch.from_numpy(np.argsort(codes, kind="stable")))
    upper = found.upper.double()
    inverse = upper.T @ upper
    damped = found.hessian[found.order][:, found.order].double()
    assert torch.allclose(inverse @ damped, torch.eye(96, dtype=torch.float64), atol=1e-3)
    steps = 2.0 ** (-codes[found.order.numpy()] / 4)
    ratio = (steps / upper.diagonal().numpy()) ** 2
    lost = 10 * math.log10(ratio.mean() / math.exp(np.log(ratio).mean()))
    assert lost < 0.2  # dB against steps that fit exactly
    assert math.isclose(found.widest, usual.widest, rel_tol=0.2)
    assert stepwise(hessian) is found


def test_matrices_that_share_inputs_and_some_that_are_not_known() -> None:
    torch.manual_seed(0)
    shapes = [(48, 64), (32, 64), (64, 48)]
    matrices = [weights(shape, i) for i, shape in enumerate(shapes)]
    hessian = inputs_hessian(64)
    known = [Statistics(hessian, torch.rand(48)), Statistics(hessian, torch.rand(32)), None]
    measures = [hessian, hessian, torch.eye(48)]
    lost = []
    for name in ("grid@4", "grid@4:trellis"):
        level = codec(name)
        payload = level.encode(matrices, known, ["a", "b", "c"])
        assert 0.97 * 4 <= 8 * len(payload) / sum(m.numel() for m in matrices) <= 4
        decoded = level.decode(payload, shapes, torch.float32)
        lost.append([damage(*each) for each in zip(matrices, decoded, measures, strict=True)])
    plain, found = lost
    assert all(a < 1.05 * b for a, b in zip(found, plain, strict=True))
    assert sum(found) < 0.9 * sum(plain)


def test_names() -> None:
    assert rate_of("grid@2.50:trellis") == rate_of("grid@2.5") == 2.5
    assert rate_of("nf4") is None
    assert with_trellis("grid@3") == with_trellis("grid@3:trellis") == "grid@3:trellis"
    assert with_trellis("nf4") == "nf4"
    assert has_trellis("grid@3:trellis")
    assert not has_trellis("grid@3")
    assert has_integers("grid@3")
    assert not has_integers("grid@3:trellis")


def test_integers_of_a_trellis_are_not_trained() -> None:
    payload = encode(weights((64, 64)), "grid@3:trellis").payload
    with pytest.raises(UserError, match="cannot be moved"):
        quantized_integers(payload, [(64, 64)])


def test_columns_that_hardly_matter_are_left_to_plain_rounding() -> None:
    """At one bit, with inputs of very different sizes: most columns are zeros, and those cost nothing more."""
    width = 128
    hessian = torch.diag(torch.logspace(0, -4, width))
    weight = torch.randn(256, width, generator=torch.Generator().manual_seed(0))
    payload = encode(weight, "grid@1:trellis", hessian).payload
    read = read_payload(payload, [(256, width)])
    assert read.plain is not None
    plain = read.plain[0]
    assert 0 < plain < width
    order = read.blocks[0].column_order
    values = codec("grid@1:trellis").decode(payload, [(256, width)], torch.float32)[0].T.numpy()
    zeros = read.sorted_integers[0][:plain] == 0
    assert zeros.mean() > 0.8
    assert not values[order[:plain]][zeros].any()
    assert values[order[plain:]].all()  # a trellis has no point at zero


def test_damaged_flags_are_refused() -> None:
    encoded = encode(weights((64, 64)), "grid@3:trellis")
    flags, *rest = HEAD.unpack_from(encoded.payload)
    without_columns = HEAD.pack(flags & ~32, *rest) + encoded.payload[HEAD.size :]
    with pytest.raises(UserError, match="trellis without columns"):
        codec("grid@3:trellis").decode(without_columns, [(64, 64)], torch.float32)
    count = len(encoded.payload) - len(encode(weights((64, 64)), "grid@3").payload)
    assert abs(count) < 80
    for length in range(0, len(encoded.payload), 97):
        with pytest.raises(UserError):
            codec("grid@3:trellis").decode(encoded.payload[:length], [(64, 64)], torch.float32)


@pytest.mark.parametrize("level", ["grid@2.5", "grid@2.5:trellis"])
def test_large_units_find_their_step_on_a_share_of_the_outputs(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_MUCH", 1 << 13)
    sizes: list[int] = []
    whole = grid._payload

    def counted(parts: Any, *rest: Any) -> bytes:
        sizes.append(sum(part.numel for part in parts))
        return whole(parts, *rest)

    monkeypatch.setattr(grid, "_payload", counted)
    weight = weights((512, 128))
    encoded = encode(weight, level, inputs_hessian(128))
    assert 0.98 * 2.5 <= 8 * encoded.nbytes / weight.numel() <= 2.5
    assert sizes.count(weight.numel()) <= 3
    assert min(sizes) <= 1 << 13
