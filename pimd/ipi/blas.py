"""How many threads BLAS uses in the process of i-PI.

Between two rounds i-PI transforms positions and forces between beads and normal modes, products of
a matrix of some tens of rows. Threads gain little there, and on few cores they take the place of
the daemon and of the thread that draws random numbers.
"""

from __future__ import annotations

import os

from pimd.cores import available_cores

__all__ = ["blas_threads", "limit_blas"]

MOST = 4
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "BLIS_NUM_THREADS")


def blas_threads(n_cores: int) -> int:
    """Threads for so many cores: a quarter of them, at least 1 and at most `MOST`."""
    return max(1, min(MOST, n_cores // 4))


def limit_blas() -> int | None:
    """Limit the threads of BLAS in this process, unless the environment says how many.

    Returns what they are limited to, or None where they are left alone.
    """
    if any(os.environ.get(name) for name in VARIABLES):
        return None
    from threadpoolctl import threadpool_limits

    n_threads = blas_threads(available_cores())
    threadpool_limits(limits=n_threads, user_api="blas")
    return n_threads
