"""pymbar without the advice that it logs, and without what newer versions of scipy say of it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["using_pymbar"]


@contextlib.contextmanager
def using_pymbar() -> Iterator[Any]:
    """The module, imported when it is first used."""
    logger = logging.getLogger("pymbar")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Unknown solver options")
            import pymbar

            yield pymbar
    finally:
        logger.setLevel(before)
