"""Auxiliary files: those of a model that are not weights, packed into one compressed file.

Only what loading needs is packed (of a fast tokenizer `tokenizer.json`, and not `vocab.json` and `merges.txt` too), as
JSON without spaces, all together through Zstandard.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from compress.codecs.lossless import zstd_decode, zstd_encode
from compress.errors import UserError, parse_json

ALWAYS = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.json",
    "chat_template.jinja",
)
# Needed only where there is no tokenizer.json with the same content.
SLOW = ("vocab.json", "merges.txt", "added_tokens.json", "tokenizer.model", "vocab.txt", "spiece.model")
MOST_BYTES = 64 << 20  # of all files together, unpacked
_MOST_RATIO = 64  # text compresses less than this; a higher ratio is a decompression bomb
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}\.(json|txt|model|jinja)")


def read_aux_files(folder: Path) -> dict[str, bytes]:
    """The auxiliary files of a checkpoint, by name, JSON in its shortest form."""
    names = [name for name in ALWAYS if (folder / name).is_file()]
    if "tokenizer.json" not in names:
        names += [name for name in SLOW if (folder / name).is_file()]
    files = {name: (folder / name).read_bytes() for name in names}
    for name in files:
        if name.endswith(".json"):
            files[name] = dump_json(parse_json(files[name], f"{name} of this model is not JSON"))
    return files


def dump_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """One compressed blob; `unpack_files` reads it."""
    table: dict[str, object] = {}
    for name, data in files.items():
        try:
            table[name] = data.decode()
        except UnicodeDecodeError:
            table[name] = [base64.b64encode(data).decode()]
    return zstd_encode(dump_json(table), 22)


def unpack_files(blob: bytes) -> dict[str, bytes]:
    """Files by name from a blob of `pack_files`. Refuses names that are not plain file names."""
    data = zstd_decode(blob, min(MOST_BYTES, (1 << 20) + _MOST_RATIO * len(blob)))
    table = parse_json(data, "damaged artifact: its auxiliary files are not JSON")
    if not isinstance(table, dict) or len(table) > 64:
        raise UserError("damaged artifact: its auxiliary files are not a JSON object")
    for name in table:
        if not _NAME.fullmatch(name):
            raise UserError(f"damaged artifact: an auxiliary file named {name[:60]!r}")
    return {name: _content(name, value) for name, value in table.items()}


def _content(name: str, data: object) -> bytes:
    with contextlib.suppress(ValueError):  # no UTF-8 (lone surrogates), or no base64
        if isinstance(data, str):
            return data.encode()
        if isinstance(data, list) and len(data) == 1 and isinstance(data[0], str):
            return base64.b64decode(data[0], validate=True)
    raise UserError(f"damaged artifact: auxiliary file {name} has no content")
