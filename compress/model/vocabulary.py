"""How much vocabulary stays: `full`, `scripts:en,zh`, or `top:N:DIGEST` (the N most used tokens of some text).

Only a byte-level or byte-fallback BPE can be trimmed: all byte tokens stay, so any text can still be
written. With a token stay the tokens it is merged from, or it could not be made. Tokens keep their order
and are numbered anew; embedding and head keep the rows of those that stay.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.codecs.lossless import zstd_decode, zstd_encode
from compress.errors import UserError
from compress.model.aux_files import dump_json
from compress.model.scripts import script_prefixes, wanted
from compress.model.source import Source
from compress.model.structure import Unit
from compress.policy.store import Store

FULL = "full"
_TOP = re.compile(r"top:([1-9]\d{0,7}):([0-9a-f]{16})")
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_IDS = re.compile(r".*(token_id|token_ids|token_index|_tokens)")


@dataclass(frozen=True)
class TrimmedVocabulary:
    """A smaller vocabulary: the old numbers of the tokens that stay, and the files that go with it."""

    name: str
    ids: NDArray[np.int64]
    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        return _digest(self.ids)

    def unit(self, unit: Unit) -> Unit:
        """A unit as it is under this vocabulary."""
        if unit.kind not in {"embedding", "head"}:
            return unit
        shapes = tuple((len(self.ids), *shape[1:]) for shape in unit.shapes)
        size = sum(int(np.prod(shape)) for shape in shapes)
        return replace(unit, shapes=shapes, parameters=size, weights=size)


def trimmed_vocabulary(source: Source, name: str, store: Store | None = None) -> TrimmedVocabulary | None:
    """The vocabulary of a policy; None when all of it stays. `top:` vocabularies are looked up in the store."""
    if name == FULL:
        return None
    if name not in source.vocabularies:
        source.vocabularies[name] = _make(source, name, store)
    return source.vocabularies[name]


def vocabulary_files(source: Source, name: str, store: Store | None = None) -> Mapping[str, bytes]:
    """Config, tokenizer and processor under a vocabulary."""
    smaller = trimmed_vocabulary(source, name, store)
    return source.aux_files if smaller is None else smaller.files


def _make(source: Source, name: str, store: Store | None) -> TrimmedVocabulary:
    tokens = BpeTokenizer(source)
    if name.startswith("scripts:"):
        scripts = script_prefixes(name.removeprefix("scripts:").split(","))
        chosen = {i for token, i in tokens.vocabulary.items() if wanted(tokens.as_bytes(token), scripts)}
        ids = tokens.closed(chosen)
    else:
        match = _TOP.fullmatch(name)
        if match is None:
            raise UserError(
                f"unknown vocabulary {name!r}; there are full, scripts:en,zh and top:N:DIGEST (top:N with --texts)"
            )
        data = None if store is None else store.get(_key(source, name))
        if data is None:
            raise UserError(f"vocabulary {name} is not in the store; make it with `pack --texts`")
        ids = np.frombuffer(zstd_decode(data, 1 << 26), dtype="<i8").copy()
        if _digest(ids) != match[2]:
            raise UserError(f"vocabulary {name} in the store is damaged; make it again")
    if source.structure.units["embedding"].unquantized or any(
        u.unquantized for u in source.structure.units.values() if u.kind == "head"
    ):
        raise UserError("this model's head has a bias for each token, so its vocabulary cannot be trimmed")
    return TrimmedVocabulary(name, ids, _files(source, tokens, ids))


def make_top_vocabulary(source: Source, texts: Iterable[str], count: int, store: Store) -> str:
    """The name of the vocabulary of the `count` most used tokens of some text; it is kept in the store."""
    tokens = BpeTokenizer(source)
    used = Counter(i for encoding in tokens.backend().encode_batch(list(texts)) for i in encoding.ids)
    ids = tokens.closed(set())
    if len(ids) > count:
        raise UserError(f"{count} tokens are too few: bytes and special tokens alone are {len(ids)}")
    chosen: set[int] = set(ids.tolist())
    for token, _ in sorted(used.items(), key=lambda item: (-item[1], item[0])):
        grown = chosen | tokens.ancestry(token)
        if len(grown) <= count:
            chosen = grown
    ids = tokens.closed(chosen)
    name = f"top:{count}:{_digest(ids)}"
    store.put(_key(source, name), zstd_encode(ids.astype("<i8").tobytes(), 19))
    return name


class BpeTokenizer:
    """The tokenizer of a source, as far as trimming needs it."""

    def __init__(self, source: Source) -> None:
        if "embedding" not in source.structure.units:
            raise UserError("this model has no token embedding, so its vocabulary cannot be trimmed")
        if "tokenizer.json" not in source.aux_files:
            raise UserError(f"{source.folder} holds no tokenizer.json; save the fast tokenizer to trim the vocabulary")
        self.table: dict[str, Any] = json.loads(source.aux_files["tokenizer.json"])
        model = self.table.get("model", {})
        self.byte_level = '"ByteLevel"' in json.dumps([self.table.get("pre_tokenizer"), self.table.get("decoder")])
        if model.get("type") != "BPE" or not (self.byte_level or model.get("byte_fallback")):
            raise UserError("only a byte-level or byte-fallback BPE vocabulary can be trimmed; use vocabulary full")
        self.vocabulary: dict[str, int] = model["vocab"]
        self.added = {entry["content"]: int(entry["id"]) for entry in self.table.get("added_tokens", [])}
        self.rows = source.structure.vocabulary
        self.merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
        self._parents: dict[str, tuple[str, str]] = {}
        for left, right in self.merges:
            self._parents.setdefault(left + right, (left, right))
        self._names = {i: token for token, i in self.vocabulary.items()}
        self._always = {i for i in _named_ids(source) if 0 <= i < self.rows} | set(self.added.values())
        self._always |= {i for token, i in self.vocabulary.items() if self._is_byte(token)}

    def backend(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(json.dumps(self.table))

    def as_bytes(self, token: str) -> bytes:
        """What a token writes."""
        if self.byte_level:
            known = _byte_alphabet()
            return bytes(known[c] for c in token) if all(c in known for c in token) else token.encode()
        return token.replace("▁", " ").encode()

    def ancestry(self, token: int) -> set[int]:
        """A token and all it is merged from."""
        found: set[int] = set()
        stack = [self._names[token]] if token in self._names else []
        while stack:
            name = stack.pop()
            number = self.vocabulary.get(name)
            if number is None or number in found:
                continue
            found.add(number)
            stack += self._parents.get(name, ())
        return found | {token}

    def closed(self, chosen: set[int]) -> NDArray[np.int64]:
        """The chosen tokens, what they are made of, and what always stays; in the old order."""
        everything = set(self._always)
        for token in chosen:
            if token not in everything:
                everything |= self.ancestry(token)
        return np.array(sorted(i for i in everything if i < self.rows), dtype=np.int64)

    def _is_byte(self, token: str) -> bool:
        return (len(token) == 1 and token in _byte_alphabet()) if self.byte_level else bool(_BYTE.fullmatch(token))


def _files(source: Source, tokens: BpeTokenizer, ids: NDArray[np.int64]) -> dict[str, bytes]:
    """The fixed files with every token number in them made new."""
    new = {int(old): number for number, old in enumerate(ids)}
    names = {token for token, i in tokens.vocabulary.items() if i in new}
    table = json.loads(json.dumps(tokens.table))
    table["model"]["vocab"] = {token: new[i] for token, i in tokens.vocabulary.items() if i in new}
    merges = [m for m in tokens.merges if {m[0], m[1], m[0] + m[1]} <= names]
    as_lists = bool(table["model"]["merges"]) and isinstance(table["model"]["merges"][0], list)
    table["model"]["merges"] = [list(m) if as_lists else " ".join(m) for m in merges]
    table["added_tokens"] = [e | {"id": new[e["id"]]} for e in table.get("added_tokens", []) if e["id"] in new]
    for special in _specials(table.get("post_processor")):
        special["ids"] = [new[i] for i in special["ids"]]
    files = dict(source.aux_files) | {"tokenizer.json": dump_json(table)}
    for name in ("config.json", "generation_config.json"):
        if name in files:
            files[name] = dump_json(_renumbered(json.loads(files[name]), new, tokens.rows, len(ids)))
    if "tokenizer_config.json" in files:
        settings = json.loads(files["tokenizer_config.json"])
        decoder = settings.get("added_tokens_decoder")
        if isinstance(decoder, dict):
            settings["added_tokens_decoder"] = {str(new[int(i)]): e for i, e in decoder.items() if int(i) in new}
        files["tokenizer_config.json"] = dump_json(settings)
    return files


def _renumbered(value: Any, new: Mapping[int, int], old_size: int, size: int) -> Any:
    if not isinstance(value, dict):
        return value
    out: dict[str, Any] = {}
    for key, inner in value.items():
        if key == "vocab_size" and inner == old_size:
            out[key] = size
        elif _IDS.fullmatch(key) and isinstance(inner, int):
            out[key] = new.get(inner, inner)
        elif _IDS.fullmatch(key) and isinstance(inner, list) and all(isinstance(i, int) for i in inner):
            out[key] = [new.get(i, i) for i in inner if i in new or i < 0]
        else:
            out[key] = _renumbered(inner, new, old_size, size)
    return out


def _named_ids(source: Source) -> set[int]:
    """Token numbers that the config names: they must stay."""
    found: set[int] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if _IDS.fullmatch(key):
                    found.update(i for i in (inner if isinstance(inner, list) else [inner]) if isinstance(i, int))
                walk(inner)

    for name in ("config.json", "generation_config.json"):
        if name in source.aux_files:
            walk(json.loads(source.aux_files[name]))
    return found


def _specials(value: Any) -> list[dict[str, Any]]:
    """The special tokens of post-processors, however deep they lie."""
    if isinstance(value, list):
        return [special for inner in value for special in _specials(inner)]
    if not isinstance(value, dict):
        return []
    table = value.get("special_tokens")
    own = [s for s in table.values() if isinstance(s, dict) and "ids" in s] if isinstance(table, dict) else []
    return own + [s for inner in value.values() for s in _specials(inner) if s not in own]


@lru_cache(maxsize=1)
def _byte_alphabet() -> dict[str, int]:
    """The printable character that byte-level BPE writes for each byte, and back."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def _digest(ids: NDArray[np.int64]) -> str:
    return hashlib.blake2b(ids.astype("<i8").tobytes(), digest_size=8).hexdigest()


def _key(source: Source, name: str) -> str:
    tokenizer = hashlib.blake2b(source.aux_files.get("tokenizer.json", b"")).hexdigest()
    return hashlib.blake2b(f"vocabulary:{tokenizer}:{name}".encode(), digest_size=20).hexdigest()
