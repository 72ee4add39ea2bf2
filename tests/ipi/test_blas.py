"""How many threads BLAS has in the process of i-PI."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pimd.ipi.blas import VARIABLES, blas_threads

ASK = """
import json, os
import numpy
from pimd.ipi.blas import limit_blas
from threadpoolctl import threadpool_info
limited = limit_blas()
found = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
print(json.dumps([limited, found, len(os.sched_getaffinity(0))]))
"""


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (7, 1), (8, 2), (16, 4), (128, 4)])
def test_a_few_threads_and_one_at_least(cores: int, threads: int) -> None:
    assert blas_threads(cores) == threads


def test_it_is_limited_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    limited, found, cores = asked()
    assert limited == blas_threads(cores)
    assert found
    assert set(found) == {limited}
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert asked()[0] is None


def asked() -> list:
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)
