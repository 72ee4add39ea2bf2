"""The drivers of NequIP and DeePMD models in short runs of i-PI, on models made with torch alone.

Options go through the command line and through i-PI's XML, which must mean the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from test_driver_runs import CASES, Case, Runs, outputs

sys.path.insert(0, str(Path(__file__).parents[1] / "potentials"))
import deepmd_standin
import nequip_standin

WATER = CASES["qtip4pf"].atoms


def nequip(folder: Path) -> Case:
    file = nequip_standin.write_torchscript(folder / "w.nequip.pth", type_names="H_w O_w")
    options = {"model": str(file), "types": "(H: H_w; O: O_w)", "device": "cpu"}
    return Case("nequip_driver.py", options, WATER)


def deepmd(folder: Path) -> Case:
    frozen = deepmd_standin.Frozen(n_fparam=2)
    file = deepmd_standin.write(folder / "w.pth", frozen)
    options = {"model": str(file), "fparam": "[0.5; -1.5]", "device": "cpu"}
    return Case("deepmd_driver.py", options, WATER)


@pytest.mark.parametrize("make", [nequip, deepmd])
def test_program_and_ffdirect_agree(make, tmp_path: Path) -> None:
    runs = Runs(make(tmp_path), tmp_path)
    program, direct = outputs(runs.program()), outputs(runs.direct())
    assert program.keys() == direct.keys()
    for file, text in program.items():
        assert direct[file] == text, f"{file}: ffdirect and the program differ"
    table = np.loadtxt(tmp_path / "program" / "run.out")
    assert table[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert np.ptp(table[:, 3]) > 0.0  # it moved
