"""The cache of variants keeps to its bytes and lets go of what was not used for longest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compress.policy.variant_cache import VariantCache


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12))), st.integers(0, 20))
def test_it_never_holds_more_than_it_may_and_returns_what_was_put(steps: list[tuple[str, int]], most: int) -> None:
    cache, last = VariantCache(most), dict[str, bytes]()
    for key, size in steps:
        value = cache.get(key)
        if value is None:
            last[key] = bytes(size)
            cache.put(key, last[key])
        else:
            assert value is last[key]
        assert cache.bytes <= most
    assert cache.hits + cache.misses == len(steps)


def test_the_least_recently_used_goes_first() -> None:
    cache = VariantCache(2)
    cache.put("a", b"1")
    cache.put("b", b"2")
    assert cache.get("a") == b"1"
    cache.put("c", b"3")
    assert [cache.get(key) for key in "abc"] == [b"1", None, b"3"]
