"""`python -m search.run --bin Bin2 --lang en-zh`: the whole search, from a model and a limit on bytes to its front."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from compress.cli import run as run_command
from search.command_line import parser, to_config

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake of the user's (one line on standard error), 130 interrupted."""
    return run_command(_main, None if arguments is None else list(arguments))


def _main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    # Imported here, because Ray is: a mistake in the arguments is reported before that.
    if options.doctor:
        from search.doctor import examine  # also runs where Ray is missing

        return examine(options)
    config = to_config(options)
    if options.plan:
        from search.plan import show  # needs no Ray

        return show(config)
    from search import pipeline

    code = pipeline.run(config, options.resume is not None, options.recover, options.verbose)
    if not code and options.recover > 0:
        from search.recover import after_search  # needs the training libraries

        after_search(config, options.recover)
    return code


if __name__ == "__main__":
    sys.exit(main())
