"""The JSON files of a run's folder: written with a checksum, and compared with it whenever they are read.

The checksums are in `checksums.json` beside the files. It holds those of a file before and after its last change, so
that a process may die between writing the one and the other. What a run of an older version has not noted is read as
it is.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from compress.errors import UserError, parse_json
from results.atomic_write import write_atomically

CHECKSUMS = "checksums.json"
MOST_JSON = 64 << 20  # bytes; no file of a run is larger


def write_file(path: Path, text: str) -> None:
    """Replaces a file and its checksum, so that it is whole and valid at any moment."""
    content = text.encode()
    noted = _noted(path.parent)
    valid = noted.get(path.name, [])
    if path.is_file():
        before = _checksum(path.read_bytes())
        valid = [before] if path.name not in noted or before in valid else []
    new = _checksum(content)
    noted[path.name] = [*(each for each in valid if each != new), new]
    write_atomically(path.with_name(CHECKSUMS), json.dumps(noted, indent=1) + "\n")
    write_atomically(path, content)


def read_file(path: Path, what: str) -> str:
    """The text of a file; `what` begins the message of an error."""
    try:
        if path.stat().st_size > MOST_JSON:
            raise UserError(f"{what}: {path} is larger than any file of a run")
        content = path.read_bytes()
        text = content.decode()
    except FileNotFoundError:
        raise UserError(f"{what}: there is no {path.name} in {path.parent}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{what}: {path} cannot be read ({type(error).__name__})") from None
    noted = _noted(path.parent).get(path.name)
    if noted is not None and _checksum(content) not in noted:
        raise UserError(
            f"{what}: {path} is damaged or was changed by hand; its checksum is another. Take it from a copy, or"
            f" remove {CHECKSUMS} beside it to have it read as it is"
        )
    return text


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file; `what` begins the message of an error."""
    return parse_json(read_file(path, what), f"{what}: {path} cannot be read: it is not JSON")


def _noted(folder: Path) -> dict[str, list[str]]:
    """The checksums that are noted in a folder, by file."""
    path = folder / CHECKSUMS
    try:
        if path.stat().st_size > MOST_JSON:
            raise ValueError
        noted = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): [str(each) for each in checksums] for name, checksums in noted.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is damaged: remove it to have the files beside it read as they are") from None


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
