"""The reciprocal part of the Ewald sum: our own against torch-pme's, energy, forces and virial.

    python benchmarks/reciprocal.py

ms per structure of q-TIP4P/F's charge sites on one thread, all with the same alpha: ours
(`pimd.potentials.ewald`, all structures in one call), torch-pme's Ewald sum over a box of at
least the same vectors, and its mesh with the spacing for the same accuracy, both one structure at
a time with a backward pass. The reason why `QTIP4PF` has a reciprocal sum of its own, and from
which size the mesh pays. Rows go to benchmarks/results/reciprocal_cpu.csv.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from datetime import date

import numpy as np
import torch
from make_water import lattice_box
from results_file import results_file, write_rows
from rich.console import Console
from rich.table import Table
from torchpme import CoulombPotential, EwaldCalculator

from pimd.potentials.ewald import reciprocal_sum
from pimd.potentials.ewald_splitting import MESH_ALPHA, splitting
from pimd.potentials.particle_mesh import MeshSum

OUT = results_file("reciprocal", "cpu")
SIZES = ((24, 32), (192, 32), (768, 8), (3000, 2), (12000, 1))
ACCURACY = 1e-5
LARGEST_FOR_TORCH_PME_EWALD = 3000


def best(function: Callable[[], object], repetitions: int = 5) -> float:
    """Shortest time, ms; the processor's, so that other work on the machine counts little."""
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def with_torch_pme(
    calculator: EwaldCalculator, positions: torch.Tensor, charges: torch.Tensor, cell: torch.Tensor
) -> None:
    """Energy, forces and virial of one structure."""
    x = positions.clone().requires_grad_()
    strain = torch.zeros(3, 3, dtype=x.dtype, requires_grad=True)
    deformation = torch.eye(3, dtype=x.dtype) + strain
    no_pairs = torch.zeros((0, 2), dtype=torch.int64)
    potential = calculator(
        charges[:, None], cell @ deformation, x @ deformation, no_pairs, x.new_zeros(0)
    )
    torch.autograd.grad((charges[:, None] * potential).sum(), [x, strain])


def main() -> None:
    torch.set_num_threads(1)
    table = Table("charges", "structures", "ours ms", "torch-pme Ewald ms", "torch-pme mesh ms")
    rows: list[dict[str, object]] = []
    for n, n_structures in SIZES:
        atoms, cell_array = lattice_box(n // 3, 0.997, np.random.default_rng(0))
        positions = torch.tensor(np.stack([atoms] * n_structures))
        cells = torch.tensor(np.stack([cell_array] * n_structures))
        charges = torch.tensor([-1.1128, 0.5564, 0.5564], dtype=torch.float64).repeat(n // 3)
        split = splitting(n // 3, 0, ACCURACY, "ewald")
        arguments = (positions, charges, cells, split.alpha, split.k_max)
        times = {"ours": best(lambda a=arguments: reciprocal_sum(*a)) / n_structures}
        times["torch_pme_ewald"] = math.nan
        if n <= LARGEST_FOR_TORCH_PME_EWALD:
            ewald = EwaldCalculator(
                CoulombPotential(smearing=0.5**0.5 / split.alpha),
                lr_wavelength=math.pi / split.k_max,  # it sums |n| < n_max / 2
            ).to(torch.float64)
            one = (ewald, positions[0], charges, cells[0])
            times["torch_pme_ewald"] = best(lambda a=one: with_torch_pme(*a), 2)
        spacing = splitting(n // 3, 0, ACCURACY, "pme").spacing
        mesh = MeshSum(MESH_ALPHA, spacing, torch.device("cpu"))
        one_mesh = (mesh, positions[:1], charges, cells[:1])
        times["torch_pme_mesh"] = best(lambda a=one_mesh: a[0](*a[1:]), 2)
        table.add_row(str(n), str(n_structures), *(f"{ms:.2f}" for ms in times.values()))
        rows += [
            {"date": date.today().isoformat(), "device": "cpu", "cores": os.cpu_count(),
             "torch": torch.__version__, "program": name, "charges": n,
             "structures": n_structures, "ms_per_structure": round(ms, 4)}
            for name, ms in times.items() if not math.isnan(ms)
        ]  # fmt: skip
    Console(width=100).print(table)
    write_rows(OUT, rows)


if __name__ == "__main__":
    main()
