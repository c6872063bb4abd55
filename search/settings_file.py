"""A run's settings as a TOML file: read as if its lines were flags, and written into the run with every value.

    bin = ["Bin2"]
    lang = "en-zh"
    trials = 200

A key is a flag without its dashes (`max-bytes`, or `max_bytes`). Tables group keys for the eye and mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from compress.errors import UserError
from search.config import Config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 1 << 20
NOT_IN_A_FILE = ("help", "doctor", "plan", "resume", "settings")
EITHER = ("bin", "max_bytes", "min_bytes")  # what the command line says of one replaces what the file says of others
ABOUT = "# Every setting of this run. `python -m search.run THIS_FILE` begins another with the same.\n"


def read(path: Path, parser: argparse.ArgumentParser, overridden: set[str]) -> list[str]:
    """The file as arguments of the command line. `overridden`: the options that the command line itself has."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is too large for a file of settings")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the settings {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # of TOML, or of UTF-8
        raise UserError(f"the settings {path} are not TOML: {str(error).splitlines()[0]}") from None
    options = {action.dest: action for action in parser._actions if action.dest not in NOT_IN_A_FILE}
    arguments: list[str] = []
    for key, value in flattened(content, path):
        name = key.replace("-", "_")
        negated = name.startswith("no_") and isinstance(value, bool)  # no_drop = true
        name = name.removeprefix("no_") if negated else name
        if name not in options:
            known = ", ".join(sorted(each.replace("_", "-") for each in options))
            raise UserError(f"{path}: there is no setting '{key}'; known are {known}")
        if name in overridden or (name in EITHER and overridden & set(EITHER)):
            continue
        arguments += as_flags(options[name], not value if negated else value, f"{path}: {key}")
    return arguments


def flattened(table: dict[str, Any], path: Path) -> Iterable[tuple[str, Any]]:
    """The keys of a table and of those in it."""
    seen: dict[str, Any] = {}
    for key, value in table.items():
        inner = dict(flattened(value, path)) if isinstance(value, dict) else {key: value}
        if twice := set(seen) & set(inner):
            raise UserError(f"{path}: {min(twice)} is given twice")
        seen |= inner
    return seen.items()


def as_flags(action: argparse.Action, value: Any, where: str) -> list[str]:
    """One setting as arguments."""
    flags = action.option_strings
    if action.nargs == 0:  # a switch
        if not isinstance(value, bool):
            raise UserError(f"{where} is {value!r}: true or false is needed")
        negative = next((flag for flag in flags if flag.startswith("--no-")), None)
        positive = next((flag for flag in flags if not flag.startswith("--no-")), None)
        chosen = positive if value else negative
        return [chosen] if chosen else []  # the default already
    if isinstance(value, bool) or not isinstance(value, (str, int, float, list)):
        raise UserError(f"{where} is {value!r}: a text, a number or a list of texts is needed")
    if isinstance(value, list):
        if not all(isinstance(each, str) for each in value):
            raise UserError(f"{where} is a list of other things than texts")
        if isinstance(action, argparse._AppendAction):
            return [f"{flags[0]}={each}" for each in value]
        value = ",".join(value)
    if "\0" in str(value):
        raise UserError(f"{where} holds a NUL character")
    return [f"{flags[0]}={value}"]


def to_toml(config: Config) -> str:
    """The file that gives the configuration back."""
    values: dict[str, Any] = {
        "bin": list(config.bins),
        "max-bytes": config.max_bytes,
        "min-bytes": config.min_bytes,
        "lang": config.lang,
        "model": config.model,
        "data": config.data,
        "comet": config.comet,
        "segments": config.segments,
        "condition": config.condition,
        "trials": config.trials,
        "sampler": config.sampler,
        "seed": config.seed,
        "rungs": list(config.rungs),
        "sensitivities": config.sensitivities,
        "baselines": config.baselines,
        "score-drops": config.score_drops,
        "levels": list(config.levels),
        "trellis": False if not config.levels else None,  # said by the levels themselves
        "vocabulary": vocabulary_flags(config.vocabulary),
        "vocabulary-texts": config.vocabulary_texts,
        "freeze": config.freeze,
        "groups": config.groups,
        "drop": config.drop,
        "calibration": config.calibration,
        "batch-size": config.batch_size,
        "max-new-tokens": config.max_new_tokens,
        "workers": config.workers,
        "gpus-per-worker": None if config.gpus_per_worker < 0 else config.gpus_per_worker,
        "threads": config.threads,
        "address": config.address,
        "store": config.store,
        "log": list(config.log),
    }
    lines = [f"{key} = {toml_value(value)}" for key, value in values.items() if value not in (None, "", [])]
    return ABOUT + "\n".join(lines) + "\n"


def vocabulary_flags(names: Sequence[str]) -> list[str]:
    """Full names of vocabularies, as --vocabulary takes them."""
    kinds = (name.split(":") for name in names)
    return [kind[0] if kind[0] != "top" else f"top:{kind[1]}" for kind in kinds]


def toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
