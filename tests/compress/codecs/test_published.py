"""The seeds' codecs, exactly as published: same values, and for `digits` the same payload bytes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from numcodecs.quantize import Quantize
from numcodecs.zstd import Zstd

from compress.codecs import codec, decode, encode
from compress.codecs.nf4 import _dynamic_map
from tests.compress.codecs.test_codecs import weights

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("digits", [2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_digits_is_numcodecs(digits: int, dtype: torch.dtype) -> None:
    weight = weights((96, 160), dtype=dtype)
    plain = weight.to(torch.float32).numpy()
    quantize = Quantize(digits=digits, dtype="f4", astype="f2")
    stored = quantize.encode(plain)
    encoded = encode(weight, f"digits:{digits}")
    assert encoded.payload == bytes(Zstd(level=3).encode(stored))
    wanted = quantize.decode(stored).reshape(plain.shape)
    assert np.array_equal(decode(encoded).numpy(), wanted)


def test_digits_two_steps_by_one_128th() -> None:
    values = decode(encode(weights((64, 64)), "digits:2")).numpy() * 128
    assert np.array_equal(values, np.rint(values))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(64, 64), (96, 120), (48, 128)])
def test_nf4_is_bitsandbytes(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    weight = weights(shape, dtype=dtype)
    codes, state = quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")
    back = decode(encode(weight, "nf4"))
    assert back.dtype == dtype
    assert torch.equal(back, dequantize_4bit(codes, state).reshape(shape))


def test_nf4_of_an_odd_number_of_weights() -> None:
    weight = weights((3, 21))
    back = decode(encode(weight, "nf4"))
    assert back.shape == weight.shape
    assert float((back - weight).abs().max()) < 0.2 * float(weight.abs().max())


def test_the_dynamic_map_is_bitsandbytes() -> None:
    from bitsandbytes.functional import create_dynamic_map

    assert torch.equal(_dynamic_map(), create_dynamic_map(signed=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_int8_is_bitsandbytes(dtype: torch.dtype) -> None:
    from bitsandbytes.functional import int8_vectorwise_dequant, int8_vectorwise_quant

    weight = weights((96, 160), dtype=dtype)
    weight[5] = 0
    codes, scales, _ = int8_vectorwise_quant(weight.to(torch.float16))
    assert torch.equal(decode(encode(weight, "int8")), int8_vectorwise_dequant(codes, scales))


@pytest.mark.parametrize("level", ["digits:2", "int8", "nf4", "raw:fp16", "rtn:3:g32", "rtn:5:g32"])
def test_working_piece_by_piece_changes_no_byte(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = weights((72, 96))
    whole = encode(weight, level).to_bytes()
    monkeypatch.setattr(sys.modules[type(codec(level)).__module__], "AT_ONCE", 2048)
    assert encode(weight, level).to_bytes() == whole


def test_sizes_are_those_of_the_formats() -> None:
    weight = weights((128, 256))
    head = encode(weight, "raw:fp16").nbytes - 2 * weight.numel()
    assert head < 40
    assert abs(encode(weight, "int8").nbytes - weight.numel() - 4 * 128) < 40
    assert 8 * encode(weight, "nf4").nbytes / weight.numel() == pytest.approx(4.127, abs=0.02)
    assert abs(encode(weight, "rtn:4:g64").nbytes - weight.numel() * 4.5 / 8) < 40


def test_rtn_error_is_at_most_half_a_step() -> None:
    weight = weights((64, 128))
    groups = weight.reshape(-1, 32)
    step = (groups.amax(1) - groups.amin(1)) / 15
    error = (decode(encode(weight, "rtn:4:g32")) - weight).abs().reshape(-1, 32).amax(1)
    assert bool((error <= 0.51 * step + 2e-4).all())
