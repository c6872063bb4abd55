"""Codecs: ways to write a tensor as bytes and back. Importing this registers the levels that ship with this project."""

# ruff: noqa: F401 (what is imported is the interface; codecs register themselves)
from __future__ import annotations

from compress.codecs import digits, ffn, grid, int8, nf4, raw, rtn
from compress.codecs.base import Codec
from compress.codecs.encoded import Encoded, decode, encode
from compress.codecs.grid.grid import has_trellis, rate_of, with_trellis
from compress.codecs.registry import canonical, codec, names, register
