"""What can be checked of a configuration before a model's weights are read: a run and `--plan` refuse the same."""

from __future__ import annotations

from dataclasses import replace

from compress.codecs import codec
from compress.errors import UserError
from evaluate.data.conditions import check_condition
from evaluate.data.types import DataSet
from search import trackers
from search.config import Config
from search.sampling import sensitivity
from search.space import bounds


def check_names(config: Config) -> None:
    """Refuses levels that nobody knows, sensitivities that cannot be read, and trackers that are not installed."""
    for level in config.levels:
        codec(level)
    sensitivity.check_option(config.sensitivities)
    trackers.check(config.log)


def open_checked(config: Config) -> DataSet:
    """The dev split of the data. Refuses what the condition forbids, and more segments than there are."""
    whole = replace(config, segments=None).eval_spec("dev").open_data()
    if config.segments is not None and config.segments > len(whole.segments):
        raise UserError(
            f"--segments {config.segments}: the dev split of {config.data} has {len(whole.segments)}; give no more, or"
            " leave --segments away for all"
        )
    for purpose in ("search", "calibration"):
        check_condition(config.condition, whole, purpose)
    return whole.first(config.segments)


def bounded(config: Config, original_bytes: int, reach: tuple[int, int]) -> tuple[Config, tuple[str, ...]]:
    """`--bin all` as the bins in reach, with a line on each of the others; any other bin out of reach is refused.

    `reach` is the least and the most bytes of a policy.
    """
    bounds.check_limit(config.max_bytes, original_bytes, reach[1])
    bins = config.bins_in_bytes(original_bytes)
    if "all" not in config.bins:
        bounds.check_reachable(bins, *reach)
        return config, ()
    inside, left_out = bounds.in_reach(bins, *reach)
    return replace(config, bins=tuple(each.name for each in inside)), left_out
