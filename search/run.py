"""`python -m search.run --bin Bin2 --lang en-zh`: the whole search, from a model and a limit on bytes to its front."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from compress.errors import UserError
from search.command_line import parser, to_config
from search.config import Config
from search.progress import Progress

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake of the user's (one line on standard error), 130 interrupted."""
    options = parser().parse_args(arguments)
    try:
        if options.doctor:
            from search.doctor import examine

            return examine(options)
        if options.plan:
            from search.plan import show

            return show(to_config(options))
        config = to_config(options)
        code = search(config, options.resume)
        return code or recover(config, options.recover)
    except UserError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def recover(config: Config, count: int) -> int:
    """--recover N: what `search.recover` does with the best of each bin, on the same cluster."""
    if count > 0:
        from search.recover import after_search

        after_search(config, count)
    return 0


def search(config: Config, resume: bool = False) -> int:
    """Checks everything that can be checked without Ray, then runs."""
    if config.data == "embedded" and config.comet == "embedded":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import compress
    import embedded
    from cluster.worker import model_folder
    from evaluate.data.conditions import check_condition
    from evaluate.data.dataset import open_data
    from evaluate.metrics.comet import check_comet
    from evaluate.metrics.mt import data_signature
    from search.baselines import baselines
    from search.launch import Prepared, launch, settle
    from search.run_dir import RunDir
    from search.sampling import sensitivity
    from search.space.space import DEFAULT_LEVELS

    for level in config.levels:
        compress.codecs.codec(level)
    sensitivity.check_option(config.sensitivities)
    model = str(embedded.MODEL) if config.model == "embedded" else model_folder(config.model)
    comet = str(embedded.COMET) if config.comet == "embedded" else config.comet
    check_comet(comet)
    data = open_data(config.data, "dev", config.lang).first(config.segments)
    for purpose in ("search", "calibration"):
        check_condition(config.condition, data, purpose)
    source = compress.Source.open(model)
    bins = config.bins_in_bytes(source.original_bytes)
    config, vocabulary = settle(config, source, bins)
    recipes = baselines(source, config.levels or DEFAULT_LEVELS) if config.baselines else {}
    folder = RunDir(config, resume)
    progress = Progress()
    told = ", ".join(f"{each.name} {each.low:,} to {each.high:,} bytes" for each in bins)
    progress.say(f"run {folder.path}: {config.model} ({source.original_bytes:,} bytes), {config.lang}, {told}")
    progress.say(f"vocabulary: {vocabulary}")
    if config.comet == "embedded":
        progress.say(f"COMET: {embedded.LABEL}")
    told_data, count = data_signature(data, cleaned=True), len(data.segments)
    try:
        code = launch(Prepared(config, folder, source, bins, recipes, model, comet, told_data, count, progress))
    except UserError:
        folder.discard()
        raise
    folder.release()
    return code


if __name__ == "__main__":
    sys.exit(main())
