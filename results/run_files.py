"""The JSON files of a run's folder: written with a checksum, and compared with it whenever they are read.

The checksums are in `checksums.json` beside the files. It holds those of a file before and after its last change, so
that a process may die between writing the one and the other. A file without one, of a run of an
older version, is read as it is.
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
READS = 3  # of a file whose checksum does not match


def write_file(path: Path, text: str) -> None:
    """Replaces a file and its checksum, so that it is whole and valid at any moment."""
    content = text.encode()
    checksums = _checksums(path.parent)
    valid = checksums.get(path.name, [])
    if path.is_file():
        before = _checksum(path.read_bytes())
        valid = [before] if path.name not in checksums or before in valid else []
    new = _checksum(content)
    checksums[path.name] = [*(each for each in valid if each != new), new]
    write_atomically(path.with_name(CHECKSUMS), json.dumps(checksums, indent=1) + "\n")
    write_atomically(path, content)


def read_file(path: Path, what: str, attempts: int = READS) -> str:
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
    valid = _checksums(path.parent).get(path.name)
    if valid is not None and _checksum(content) not in valid:
        if attempts > 1:  # a run that is in progress may have replaced both meanwhile
            return read_file(path, what, attempts - 1)
        raise UserError(
            f"{what}: {path} is damaged or was changed by hand; its checksum is another. Take it from a copy, or"
            f" remove {CHECKSUMS} beside it to have it read as it is"
        )
    return text


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file; `what` begins the message of an error."""
    return parse_json(read_file(path, what), f"{what}: {path} cannot be read: it is not JSON")


def _checksums(folder: Path) -> dict[str, list[str]]:
    """The valid checksums of each file of a folder."""
    path = folder / CHECKSUMS
    try:
        if path.stat().st_size > MOST_JSON:
            raise ValueError
        by_file = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): [str(each) for each in valid] for name, valid in by_file.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is damaged: remove it to have the files beside it read as they are") from None


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
