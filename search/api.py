"""A search from Python: `run = search.search(Config(...))`, then its front as a DataFrame and its artifacts.

A run that was made before is `Run("runs/NAME")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import UserError
from results.candidate import Candidate
from results.formats import as_dict
from results.pareto import front
from results.runs import RunView
from results.selection import select
from results.shipping.build import check_unused, export
from results.shipping.verify import VerifySettings
from search import pipeline
from search.command_line import check_config
from search.config import Config

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    path: Path

    @property
    def view(self) -> RunView:
        """Its configuration, candidates and policies, as they are now."""
        return RunView.open(self.path)

    def front(self, bin: str | None = None) -> pandas.DataFrame:
        """The front with the columns of pareto.csv; of one bin, or of all sizes."""
        return _frame(front(self.view.candidates_in(bin)))

    def candidates(self) -> pandas.DataFrame:
        """Every candidate, also those that were pruned or failed: columns of pareto.csv, then `status` and `kl`."""
        return _frame(self.view.candidates, ("status", "kl"))

    def export(
        self, candidate: str, out: str | Path, *, model: str | None = None, data: str | None = None,
        comet: str | None = None, device: str | None = None,
    ) -> Path:  # fmt: skip
        """Builds and verifies the artifact of a candidate, or of what a rule of results.select selects (`best:Bin2`).

        `model`, `data` and `comet` are those of the run: a run's folder is not obeyed where they are no defaults.
        """
        run, out = self.view, Path(out)
        check_unused(out)
        known = any(c.candidate == candidate for c in run.candidates)
        name = candidate if known else select(run, candidate).candidate.candidate
        settings = VerifySettings.of(run.config, out, data, comet, device)
        export(run, run.with_texts([name])[name], out, settings, model)
        return out


def search(config: Config, resume: bool = False) -> Run:
    """The whole search, as `python -m search.run` does it. Raises compress.errors.UserError for what cannot be.

    Without a name the run gets one from its language, bins and the time. An interrupted search is a KeyboardInterrupt;
    `resume` goes on with a run of that name.
    """
    if not config.name:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        config = replace(config, name=f"{config.lang}-{'-'.join(config.bins) or config.max_bytes}-{stamp}")
    check_config(config)
    if pipeline.run(config, resume):
        raise KeyboardInterrupt
    return Run(config.folder)


def _frame(rows: Sequence[Candidate], more: Sequence[str] = ()) -> Any:
    try:
        import pandas
    except ImportError:
        raise UserError("a DataFrame needs pandas: pip install pandas") from None
    return pandas.DataFrame([as_dict(row) | {name: getattr(row, name) for name in more} for row in rows])
