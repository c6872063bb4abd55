"""What a run is made of, read and checked before anything starts: model, data, COMET, bins, vocabularies, recipes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

import compress
import embedded
from compress import Policy
from compress.codecs.raw import FORMATS
from compress.errors import UserError
from compress.models import resolve_model
from compress.sizes import Bin
from evaluate.data.types import DataSet
from evaluate.metrics.comet import check_comet
from search.baselines import baselines
from search.config import Config
from search.given import bounded, check_names, open_checked
from search.resources import check_cluster
from search.space import bounds, vocabularies
from search.space.space import DEFAULT_LEVELS


@dataclass(frozen=True)
class Inputs:
    """What is read and checked before anything starts."""

    config: Config
    source: compress.Source
    bins: tuple[Bin, ...]
    recipes: dict[str, Policy]
    model: str  # folder of the checkpoint
    comet: str  # checkpoint or hub name
    data: DataSet
    vocabulary: str  # a line on the vocabularies to choose from
    left_out: tuple[str, ...] = ()  # a line on each bin that --bin all leaves out


def prepare(config: Config) -> Inputs:
    """Reads and checks everything that can be checked without starting Ray. Touches nothing: there is no run yet."""
    if config.data == "embedded" and config.comet == "embedded":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    check_names(config)
    check_cluster(config)
    model = str(resolve_model(config.model))
    comet = str(embedded.COMET) if config.comet == "embedded" else config.comet
    check_comet(comet)
    data = open_checked(config)
    source = compress.Source.open(model)
    config, vocabulary, left_out = choose_bins_and_vocabularies(config, source)
    bins = config.bins_in_bytes(source.original_bytes)
    return Inputs(
        config=config,
        source=source,
        bins=bins,
        recipes=baselines(source, levels_of(config)) if config.baselines else {},
        model=model,
        comet=comet,
        data=data,
        vocabulary=vocabulary,
        left_out=left_out,
    )


def levels_of(config: Config) -> tuple[str, ...]:
    return config.levels or DEFAULT_LEVELS


def choose_bins_and_vocabularies(config: Config, source: compress.Source) -> tuple[Config, str, tuple[str, ...]]:
    """The bins and vocabularies of the run, a line on the vocabularies, and one on each bin that `all` leaves out.

    Refuses bins that are out of reach for certain.
    """
    frozen = frozen_units(config, source)
    if config.freeze and not frozen:
        raise UserError(f"--freeze {config.freeze}: no unit's name matches; see --plan for the names")
    names, tokens, description = vocabularies.resolve(config, source, tuple(frozen))
    parts = bounds.parts_of(source, names)
    reach = bounds.bounds(source.structure, parts, levels_of(config), frozen, config.drop, tokens)
    config, left_out = bounded(config, source.original_bytes, reach)
    return replace(config, vocabulary=names), description, left_out


def frozen_units(config: Config, source: compress.Source) -> dict[str, str]:
    """Units that stay as they are, with the level they have."""
    if not config.freeze:
        return {}
    level = f"raw:{FORMATS[source.dtype]}"
    return {unit: level for unit in source.structure.units if re.search(config.freeze, unit)}
