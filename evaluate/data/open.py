"""The data set that a spec on the command line names, such as `acl6060:DIR`. A new kind of data is added here.

A kind is a file of this folder with a function that reads it into a DataSet, a branch of `open_data`, and a line of
FORMS.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compress.errors import UserError
from evaluate.data import acl6060, iwslt, manifest, text
from evaluate.data.languages import split_pair
from evaluate.data.types import ORIGINS, OTHER, SPLITS, DataSet, check_audio

FORMS = (
    "embedded",
    "acl6060:DIR[,shas][,xml]",
    "manifest:FILE.csv[,AUDIO_ROOT]",
    "iwslt:SEGMENTS.yaml,WAVS_DIR,SRC.txt,REF.txt",
    "text:SRC,REF",
)
OPTIONS = ("origin", "split")


def read_spec(spec: str) -> tuple[str, list[str], dict[str, str]]:
    """Kind, arguments and options of a spec: `kind:argument,argument,option=value`."""
    kind, _, rest = spec.partition(":")
    arguments, options = [], {}
    for part in rest.split(",") if rest else ():
        name, equals, value = part.partition("=")
        if equals and name in OPTIONS:
            options[name] = value
        else:
            arguments.append(part)
    if options.get("origin", OTHER) not in ORIGINS[1:]:
        raise UserError(f"data '{spec}': origin={options['origin']} is unknown; known are {', '.join(ORIGINS[1:])}")
    return kind, arguments, options


def open_data(spec: str, split: str, lang: str) -> DataSet:
    """Reads the data set that a spec names. Missing or wrong files are a UserError of one line."""
    split_pair(lang)
    if split not in SPLITS:
        raise UserError(f"unknown split '{split}': known are {', '.join(SPLITS)}")
    kind, arguments, options = read_spec(spec)
    paths = [Path(argument) for argument in arguments]
    if kind == "embedded" and not arguments:
        data = manifest.read_embedded(split, lang)
    elif kind == "acl6060" and arguments:
        data = acl6060.read(paths[0], arguments[1:], split, lang)
    elif kind == "manifest" and 1 <= len(arguments) <= 2:
        data = manifest.read(paths[0], paths[1] if len(paths) > 1 else None, split, lang)
    elif kind == "iwslt" and len(arguments) == 4:
        data = iwslt.read(paths[0], paths[1], paths[2], paths[3], split, lang)
    elif kind == "text" and len(arguments) == 2:
        data = text.read(paths[0], paths[1], split, lang)
    else:
        raise UserError(f"unknown data '{spec}': write one of {'  '.join(FORMS)}")
    if not data.segments:
        raise UserError(f"data '{spec}' holds no segment of split '{split}' for {lang}")
    if options.get("split", split) != split:
        raise UserError(f"data '{spec}' is the {options['split']} split, and {split} was asked for")
    if "origin" in options and data.origin == OTHER:
        data = replace(data, origin=options["origin"])
    acl6060.check_split(data)
    check_audio(data.segments)
    return data
