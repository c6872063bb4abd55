"""Writes what the two commands of the README install as requirements with hashes, or checks that they are up to date.

    python .ci/lock.py [--wheel FILE]...     asks the package index that PIP_INDEX_URL names
    python .ci/lock.py --check               offline

The pins are those of constraints.txt and constraints-transformers5.txt; the hashes are of the files that pip may take
on Linux x86-64 with Python 3.10 to 3.12. `--wheel` adds the hash of a file that is not on the index, such as a build
of torch for processors.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PINS, PINS_5 = ROOT / "constraints.txt", ROOT / "constraints-transformers5.txt"
NAMES = ("requirements", "torch", "cuda", "transformers5")
LOCK, TORCH, CUDA, LOCK_5 = (ROOT / ".ci" / "locks" / f"{name}.txt" for name in NAMES)
HEAD = "# Made by `make lock` from {}; do not edit. Hashes for Linux x86-64, Python 3.10 to 3.12.\n"
PYTHONS = ("cp310", "cp311", "cp312")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Pin(NamedTuple):
    """One version of one package, for all our Pythons or some."""

    name: str  # canonical
    version: str
    marker: str  # with its semicolon; empty for all


def pins_of(path: Path) -> list[Pin]:
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    pins = []
    for line in filter(None, lines):
        pinned, semicolon, marker = line.partition(";")
        name, _, version = pinned.partition("==")
        pins.append(Pin(canonical(name), version.strip(), f" ; {marker.strip()}" if semicolon else ""))
    return pins


def direct_requirements() -> set[str]:
    """What the project and its `dev` extra ask for."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return {canonical(re.split(r"[^A-Za-z0-9._-]", text)[0]) for text in texts}


def cuda_requirements(torch: str, pins: Iterable[Pin]) -> list[Pin]:
    """What the index's build of torch asks for besides, as pip resolves it: NVIDIA's libraries."""
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run(
        [*command, "-c", str(PINS), f"torch=={torch}"], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    known = {pin.name for pin in pins}
    about = [each["metadata"] for each in json.loads(done.stdout)["install"]]
    pins_of_torch = [Pin(canonical(each["name"]), each["version"], "") for each in about]
    return sorted(pin for pin in pins_of_torch if pin.name not in known)


def fits(filename: str) -> bool:
    """Whether pip would take this file on Linux x86-64 with one of our Pythons. Sources are taken where no wheel is."""
    if not filename.endswith(".whl"):
        return filename.endswith((".tar.gz", ".zip"))
    *_, python, abi, platform = filename.removesuffix(".whl").split("-")
    system = platform == "any" or ("linux" in platform and platform.endswith("x86_64") and "musl" not in platform)
    versions = python.split(".")
    stable = abi == "abi3" and any(re.fullmatch(r"cp3\d{1,2}", v) and int(v[3:]) <= 12 for v in versions)
    return system and (stable or any(v in (*PYTHONS, "py3", "py310", "py311", "py312") for v in versions))


def hashes(name: str, version: str) -> list[str]:
    """SHA-256 of the files of one version on the index."""
    index = os.environ["PIP_INDEX_URL"].rstrip("/")
    request = urllib.request.Request(f"{index}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files: list[dict[str, Any]] = json.load(answer)["files"]
    own = [f for f in files if version_of(f["filename"], name) == version and fits(f["filename"])]
    wheels = [f for f in own if f["filename"].endswith(".whl")]
    return sorted({f["hashes"]["sha256"] for f in wheels or own})


def version_of(filename: str, name: str) -> str:
    """The version in the name of a file, '' for that of another project."""
    stem = re.sub(r"\.(whl|tar\.gz|zip)$", "", filename)
    parts = stem.split("-") if filename.endswith(".whl") else list(stem.rpartition("-")[::2])
    return parts[1] if len(parts) > 1 and canonical(parts[0]) == name else ""


def entry(pin: Pin, hashes: Iterable[str]) -> str:
    pinned = f"{pin.name}=={pin.version}{pin.marker}"
    return " \\\n    ".join([pinned, *(f"--hash=sha256:{each}" for each in hashes)]) + "\n"


def write(wheels: list[Path]) -> None:
    pins, pins_5 = pins_of(PINS), pins_of(PINS_5)
    cuda = cuda_requirements(next(pin.version for pin in pins if pin.name == "torch"), pins)
    wanted = sorted({(pin.name, pin.version) for pin in (*pins, *pins_5, *cuda)})
    with ThreadPoolExecutor(8) as pool:
        known = dict(zip(wanted, pool.map(lambda pair: hashes(*pair), wanted), strict=True))
    for wheel in wheels:
        name, version = canonical(wheel.name.split("-")[0]), wheel.name.split("-")[1].split("+")[0]
        known[name, version] = sorted({*known[name, version], hashlib.sha256(wheel.read_bytes()).hexdigest()})
    if none := [f"{name} {version}" for (name, version), hashes in known.items() if not hashes]:
        sys.exit(f"the index has no file for Linux x86-64 of {', '.join(none)}")
    for path, source, held in (
        (LOCK, PINS.name, [pin for pin in pins if pin.name != "torch"]),
        (TORCH, PINS.name, [pin for pin in pins if pin.name == "torch"]),
        (LOCK_5, PINS_5.name, pins_5),
        (CUDA, "what the index's torch asks for", cuda),
    ):
        text = "".join(entry(pin, known[pin.name, pin.version]) for pin in held)
        path.write_text(HEAD.format(source) + text, encoding="utf-8")


def locked(path: Path) -> list[str]:
    """The requirements of a lock file; each has to have a hash."""
    requirements = []
    for each in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if each and not each.startswith("#"):
            if not HASH.search(each):
                sys.exit(f"{path.name}: {each} has no hash; run `make lock`")
            requirements.append(each.split("--hash")[0].strip())
    return requirements


def check() -> None:
    if missing := direct_requirements() - {pin.name for pin in pins_of(PINS)}:
        sys.exit(f"constraints.txt does not pin {', '.join(sorted(missing))}")
    for paths, pins in (((LOCK, TORCH), PINS), ((LOCK_5,), PINS_5)):
        held = [requirement for path in paths for requirement in locked(path)]
        if sorted(held) != sorted(f"{pin.name}=={pin.version}{pin.marker}" for pin in pins_of(pins)):
            sys.exit(f"{paths[0].name} is not what {pins.name} says: run `make lock`")
    locked(CUDA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--wheel", type=Path, action="append", default=[])
    options = parser.parse_args()
    if options.check:
        check()
    elif os.environ.get("PIP_INDEX_URL"):
        write(options.wheel)
    else:
        sys.exit("PIP_INDEX_URL is not set: give the address of a package index that answers in JSON (.../simple)")


if __name__ == "__main__":
    main()
