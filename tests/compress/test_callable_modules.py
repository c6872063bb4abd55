"""`compress.pack`, `inspect`, `verify` and `unpack` are functions in whatever order modules are imported.

Each order runs in a fresh interpreter, since imports last as long as the process.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("pack", "inspect", "verify", "unpack")


def lines_of(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("order", itertools.permutations(["import compress.NAME", "from compress import NAME"]))
def test_the_module_and_the_name_are_one(order: tuple[str, str]) -> None:
    program = []
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
    assert [line[:11] for line in lines_of("\n".join(program))] == ["no artifact"] * 3


@pytest.mark.parametrize("first", NAMES)
def test_any_command_imported_first(first: str) -> None:
    """A command imports some of the others; none of them is left a plain module."""
    program = f"import compress.{first}, compress; print(*(callable(getattr(compress, n)) for n in {NAMES}))"
    assert lines_of(program) == ["True True True True"]
    assert lines_of(f"from compress import {first}; import compress.artifact.artifact; print(callable({first}))") == [
        "True"
    ]


def test_a_call_packs_and_reads(folder: Path, tmp_path: Path) -> None:
    program = f"""
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
    assert lines_of(program)[-2:] == ["True", "True"]
