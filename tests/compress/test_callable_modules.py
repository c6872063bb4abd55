"""`compress.pack`, `inspect`, `verify` and `unpack` are functions in whatever order modules are imported.

Each order runs in a process that has imported none of our modules, since imports last as long as the process.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.forked import output_of

NAMES = ("pack", "inspect", "verify", "unpack")


FRESH = "import sys; assert not [name for name in sys.modules if name.startswith('compress')]\n"


@pytest.mark.parametrize("order", itertools.permutations(["import compress.NAME", "from compress import NAME"]))
def test_the_module_and_the_name_are_one(order: tuple[str, str], tmp_path: Path) -> None:
    program = [FRESH]
    for name in NAMES:
        program += [line.replace("NAME", name) for line in order]
        program.append(f"import compress, sys; assert compress.{name} is {name} is sys.modules['compress.{name}']")
        program.append(f"assert callable({name})")
    program += [
        "from compress.errors import UserError",
        "for call in (inspect, verify, lambda path: unpack(path, 'out')):",
        "    try:",
        "        call('no such folder')",
        "    except UserError as error:",
        "        print(error)",
    ]
    assert [line[:11] for line in output_of("\n".join(program), tmp_path).splitlines()] == ["no artifact"] * 3


@pytest.mark.parametrize("first", NAMES)
def test_any_command_imported_first(first: str, tmp_path: Path) -> None:
    """A command imports some of the others; none of them is left a plain module."""
    program = f"import compress.{first}, compress; print(*(callable(getattr(compress, n)) for n in {NAMES}))"
    assert output_of(FRESH + program, tmp_path) == "True True True True\n"
    program = f"from compress import {first}; import compress.artifact.artifact; print(callable({first}))"
    assert output_of(FRESH + program, tmp_path) == "True\n"


def test_a_call_packs_and_reads(folder: Path, tmp_path: Path) -> None:
    program = f"""{FRESH}
from compress import pack
import compress.pack
from compress import Policy, Source, inspect, pack as again, unpack, verify
import compress.inspect
source = Source.open({str(folder)!r})
policy = Policy(source.digest, {{unit: "nf4" for unit in source.structure.units}})
assert compress.pack(source, policy, None, "{tmp_path}/a") == pack(source, policy, None, "{tmp_path}/b")
assert again is pack
print(inspect("{tmp_path}/a").total_bytes == verify("{tmp_path}/b").total_bytes)
print(unpack("{tmp_path}/a", "{tmp_path}/c") > 0)
"""
    assert output_of(program, tmp_path).splitlines()[-2:] == ["True", "True"]
