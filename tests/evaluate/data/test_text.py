"""Lines: only line feeds end them, bad bytes are refused, and what is written is read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import UserError
from evaluate.data.text import empty_lines, read_lines, write_lines


@settings(deadline=None, max_examples=50)
@given(lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1), min_size=1))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert len(read_lines(path)) == len(lines)
    write_lines(path, lines)
    assert len(read_lines(path)) == len(lines)


def test_separators_inside_a_sentence_end_no_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffeins\u2028zwei\x0cdrei\r\nvier".encode())
    assert read_lines(tmp_path / "a.txt") == ["eins\u2028zwei\x0cdrei", "vier"]


def test_a_line_break_inside_becomes_a_space(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write_lines(tmp_path / "deep" / "a.txt", ["a\nb", "", "c"])
    assert read_lines(tmp_path / "deep" / "a.txt") == ["a b", "", "c"]
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "a.txt"]


def test_mistakes(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("ok\nÄ".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt is not UTF-8 \(byte 3\)"):
        read_lines(tmp_path / "latin.txt")
    with pytest.raises(UserError, match=r"none\.txt is missing"):
        read_lines(tmp_path / "none.txt")
    with pytest.raises(UserError, match="cannot read"):
        read_lines(tmp_path)
    (tmp_path / "empty.txt").write_text("a\n \nb\n\n")
    assert empty_lines(read_lines(tmp_path / "empty.txt")) == [2, 4]
    with pytest.raises(UserError, match=r"line 2 is empty \(2 in all\)"):
        read_lines(tmp_path / "empty.txt", allow_empty=False)
