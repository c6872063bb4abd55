"""Trimmed vocabularies: `full`, `scripts:en,zh`, or `top:N:DIGEST` (the N most used tokens of some text).

Only a byte-level or byte-fallback BPE can be trimmed: its byte tokens all stay, so any text can still be encoded. The
tokens that a remaining token is merged from stay too, because the merges need them. Tokens keep their order and get new
ids; embedding and head keep the rows of the remaining tokens.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.codecs.lossless import zstd_decode, zstd_encode
from compress.errors import UserError
from compress.model.aux_files import dump_json
from compress.model.scripts import script_prefixes, uses_only_scripts
from compress.model.source import Source
from compress.model.structure import Unit
from compress.policy.store import Store

FULL = "full"
_CONFIGS = ("config.json", "generation_config.json")
_TOP = re.compile(r"top:([1-9]\d{0,7}):([0-9a-f]{16})")
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_ID_KEYS = re.compile(r".*(token_id|token_ids|token_index|suppress_tokens)")  # config entries that hold token ids


@dataclass(frozen=True)
class TrimmedVocabulary:
    """A smaller vocabulary: the old ids of the tokens that stay, and the auxiliary files for it."""

    ids: NDArray[np.int64]
    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        return _digest(self.ids)

    def resize(self, unit: Unit) -> Unit:
        """An embedding or head with the shapes that it has under this vocabulary."""
        shapes = tuple((len(self.ids), *shape[1:]) for shape in unit.shapes)
        size = sum(int(np.prod(shape)) for shape in shapes)
        return replace(unit, shapes=shapes, parameters=size, weights=size)


def trimmed_vocabulary(source: Source, name: str, store: Store | None = None) -> TrimmedVocabulary | None:
    """The vocabulary of that name; None for `full`. `top:` vocabularies are read from the store."""
    if name == FULL:
        return None
    if name not in source.vocabularies:
        source.vocabularies[name] = _trim(source, name, store)
    return source.vocabularies[name]


def vocabulary_files(source: Source, name: str, store: Store | None = None) -> Mapping[str, bytes]:
    """The auxiliary files under a vocabulary."""
    trimmed = trimmed_vocabulary(source, name, store)
    return source.aux_files if trimmed is None else trimmed.files


def _trim(source: Source, name: str, store: Store | None) -> TrimmedVocabulary:
    tokenizer = BpeTokenizer(source)
    if name.startswith("scripts:"):
        scripts = script_prefixes(name.removeprefix("scripts:").split(","))
        chosen = {i for token, i in tokenizer.ids.items() if uses_only_scripts(tokenizer.text_bytes(token), scripts)}
        ids = tokenizer.with_dependencies(chosen)
    else:
        match = _TOP.fullmatch(name)
        if match is None:
            raise UserError(
                f"unknown vocabulary {name!r}; there are full, scripts:en,zh and top:N:DIGEST (top:N with --texts)"
            )
        data = None if store is None else store.get(_store_key(source, name))
        if data is None:
            raise UserError(f"vocabulary {name} is not in the store; make it with `pack --texts`")
        ids = np.frombuffer(zstd_decode(data, 1 << 26), dtype="<i8").copy()
        if _digest(ids) != match[2]:
            raise UserError(f"vocabulary {name} in the store is damaged; make it again")
    if any(u.unquantized for u in source.structure.units.values() if u.kind in {"embedding", "head"}):
        raise UserError("this model's head has a bias for each token, so its vocabulary cannot be trimmed")
    return TrimmedVocabulary(ids, _trimmed_files(source, tokenizer, ids))


def make_top_vocabulary(source: Source, texts: Iterable[str], count: int, store: Store) -> str:
    """Store the vocabulary of the `count` most used tokens of some text, and return its name."""
    tokenizer = BpeTokenizer(source)
    counts = Counter(i for encoding in tokenizer.backend().encode_batch(list(texts)) for i in encoding.ids)
    ids = tokenizer.with_dependencies(set())
    if len(ids) > count:
        raise UserError(f"{count} tokens are too few: bytes and special tokens alone are {len(ids)}")
    chosen: set[int] = set(ids.tolist())
    for token, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        grown = chosen | tokenizer.merged_from(token)
        if len(grown) <= count:
            chosen = grown
    ids = tokenizer.with_dependencies(chosen)
    name = f"top:{count}:{_digest(ids)}"
    store.put(_store_key(source, name), zstd_encode(ids.astype("<i8").tobytes(), 19))
    return name


class BpeTokenizer:
    """The BPE tokenizer of a source: its tokens and merges as tokenizer.json lists them."""

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
        self.ids: dict[str, int] = model["vocab"]
        self.rows = source.structure.vocabulary
        self.merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
        self._parents: dict[str, tuple[str, str]] = {}
        for left, right in self.merges:
            self._parents.setdefault(left + right, (left, right))
        self._tokens = {i: token for token, i in self.ids.items()}
        self._required = {i for i in _ids_in_configs(source) if 0 <= i < self.rows}
        self._required |= {int(entry["id"]) for entry in self.table.get("added_tokens", [])}
        if self.byte_level:
            self._required |= {self.ids[byte] for byte in _byte_alphabet() if byte in self.ids}
        else:
            self._required |= {i for token, i in self.ids.items() if _BYTE.fullmatch(token)}

    def backend(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(json.dumps(self.table))

    def text_bytes(self, token: str) -> bytes:
        """The UTF-8 bytes of the text that a token stands for."""
        if self.byte_level:
            byte_of = _byte_alphabet()
            return bytes(byte_of[c] for c in token) if all(c in byte_of for c in token) else token.encode()
        return token.replace("▁", " ").encode()

    def merged_from(self, token_id: int) -> set[int]:
        """A token and all tokens that it is merged from."""
        ids, stack = {token_id}, [self._tokens.get(token_id, "")]
        while stack:
            for token in self._parents.get(stack.pop(), ()):
                if token in self.ids and self.ids[token] not in ids:
                    ids.add(self.ids[token])
                    stack.append(token)
        return ids

    def with_dependencies(self, chosen: set[int]) -> NDArray[np.int64]:
        """The chosen tokens, those they are merged from, and those that always stay, in order of their ids."""
        ids = set(self._required)
        for token_id in chosen:
            if token_id not in ids:
                ids |= self.merged_from(token_id)
        return np.array(sorted(i for i in ids if i < self.rows), dtype=np.int64)


def _trimmed_files(source: Source, tokenizer: BpeTokenizer, ids: NDArray[np.int64]) -> dict[str, bytes]:
    """The auxiliary files with every token id in them replaced by the new one."""
    new_ids = {int(old): number for number, old in enumerate(ids)}
    tokens = {token for token, i in tokenizer.ids.items() if i in new_ids}
    table = copy.deepcopy(tokenizer.table)
    table["model"]["vocab"] = {token: new_ids[i] for token, i in tokenizer.ids.items() if i in new_ids}
    merges = [m for m in tokenizer.merges if {m[0], m[1], m[0] + m[1]} <= tokens]
    as_lists = bool(table["model"]["merges"]) and isinstance(table["model"]["merges"][0], list)
    table["model"]["merges"] = [list(m) if as_lists else " ".join(m) for m in merges]
    table["added_tokens"] = [e | {"id": new_ids[e["id"]]} for e in table.get("added_tokens", []) if e["id"] in new_ids]
    for processor in _objects(table.get("post_processor")):
        specials = processor.get("special_tokens")
        for special in specials.values() if isinstance(specials, dict) else ():
            if isinstance(special, dict) and "ids" in special:
                special["ids"] = [new_ids[i] for i in special["ids"]]
    files = dict(source.aux_files) | {"tokenizer.json": dump_json(table)}
    for name in _CONFIGS:
        if name in files:
            config = json.loads(files[name])
            for part in _objects(config):
                _renumber(part, new_ids, tokenizer.rows)
            files[name] = dump_json(config)
    if "tokenizer_config.json" in files:
        settings = json.loads(files["tokenizer_config.json"])
        decoder = settings.get("added_tokens_decoder")
        if isinstance(decoder, dict):
            settings["added_tokens_decoder"] = {
                str(new_ids[int(i)]): e for i, e in decoder.items() if int(i) in new_ids
            }
        files["tokenizer_config.json"] = dump_json(settings)
    return files


def _renumber(config: dict[str, Any], new_ids: Mapping[int, int], old_size: int) -> None:
    """Set new token ids and the new vocabulary size in one JSON object of a config."""
    for key, value in config.items():
        if key == "vocab_size" and value == old_size:
            config[key] = len(new_ids)
        elif _ID_KEYS.fullmatch(key) and _is_id(value):
            config[key] = new_ids.get(value, value)
        elif _ID_KEYS.fullmatch(key) and isinstance(value, list) and all(_is_id(i) for i in value):
            config[key] = [new_ids.get(i, i) for i in value if i in new_ids or i < 0]


def _ids_in_configs(source: Source) -> set[int]:
    """Token ids that a config refers to; these tokens must stay."""
    parts = _objects([json.loads(source.aux_files[name]) for name in _CONFIGS if name in source.aux_files])
    values = [value for part in parts for key, value in part.items() if _ID_KEYS.fullmatch(key)]
    return {i for value in values for i in (value if isinstance(value, list) else [value]) if _is_id(i)}


def _is_id(value: Any) -> bool:
    """A token id; a switch is none, though Python counts it among the integers."""
    return isinstance(value, int) and not isinstance(value, bool)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in a JSON value, at any depth."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        yield from _objects(inner)


@cache
def _byte_alphabet() -> dict[str, int]:
    """The byte of each printable character that byte-level BPE writes in its place."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def _digest(ids: NDArray[np.int64]) -> str:
    return hashlib.blake2b(ids.astype("<i8").tobytes(), digest_size=8).hexdigest()


def _store_key(source: Source, name: str) -> str:
    tokenizer = hashlib.blake2b(source.aux_files.get("tokenizer.json", b"")).hexdigest()
    return hashlib.blake2b(f"vocabulary:{tokenizer}:{name}".encode(), digest_size=20).hexdigest()
