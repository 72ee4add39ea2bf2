"""How the potential's threads wait for each other.

Idle OpenMP threads spin before they sleep, for milliseconds by default. On a machine with cores
to spare that is free; where i-PI, other runs or a batch system want the same cores, the threads
then spin against the very thread they wait for. A short spin keeps the speed of a quiet machine
and stays usable on a busy one.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["share_cores"]

SPIN_COUNT = 30000
"""Turns of libgomp's waiting loop before a thread sleeps; its own default is 300000."""


def share_cores(environment: MutableMapping[str, str] | None = None) -> None:
    """Set a short spin, unless the user has set one; before torch is imported."""
    environment = os.environ if environment is None else environment
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
