"""Imports bitsandbytes without what it does on the way: on some processors it fetches a kernel from the hub and runs it
where the package `kernels` is installed, and reads like a failure where it is not. Neither is needed here."""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import Any

KERNELS = "kernels"


def import_bitsandbytes() -> Any:
    """The package. Slow the first time, so it is asked for where it is used."""
    logger = logging.getLogger("bitsandbytes")
    level, known = logger.level, sys.modules.get(KERNELS)
    hidden: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    logger.setLevel(logging.ERROR)
    hidden[KERNELS] = None  # an import of it fails, as if it were not installed
    try:
        import bitsandbytes
    finally:
        logger.setLevel(level)
        if known is None:
            del hidden[KERNELS]
        else:
            hidden[KERNELS] = known
    return bitsandbytes
