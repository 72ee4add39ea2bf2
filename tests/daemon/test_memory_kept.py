"""Freed memory stays with the process: the next large array causes no page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from pimd.daemon.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    np.ones(4_000_000).sum()
work()
before = faults()
for _ in range(5):
    work()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_large_arrays_come_back_to_the_same_memory() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True,
                                timeout=60, check=True).stdout)
        for how in ("keep", "leave")
    }  # fmt: skip
    pages = 5 * 32_000_000 // 2_097_152  # even if the kernel hands out huge pages of 2 MB
    assert faults["keep"] < pages <= faults["leave"]
