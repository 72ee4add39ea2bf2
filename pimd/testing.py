"""Check anyone's potential against the contract of `pimd.potentials.base`.

    from pimd.testing import check_potential

    print(check_potential(MyPotential(cutoff=5.0), [structure, another]))

prints what was measured, or raises AssertionError with everything that failed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pimd.potentials.base import Potential, Structure
from pimd.potentials.contract_checks import CHECKS, ContractChecks
from pimd.potentials.contract_evaluator import ContractReport, Tolerances, pairs_near

__all__ = ["CHECKS", "ContractReport", "check_potential", "example_structures"]


def check_potential(
    potential: Potential,
    structures: Sequence[Structure] | None = None,
    *,
    skip: Collection[str] = (),
    reference: Potential | None = None,
    derivative_tolerance: float | None = None,
    energy_tolerance: float | None = None,
    relative_tolerance: float | None = None,
    step: float | None = None,
    seed: int = 0,
) -> ContractReport:
    """Check a potential against the whole contract, `CHECKS`.

    Neighbour lists are attached here. The structures should have forces (not sit at a minimum),
    differ in size and cell, and include a periodic triclinic one if the potential takes such.
    For a potential that jumps at its cutoff, no pair may lie within 2.5 steps of it.

    Args:
        potential: what to check, in its own dtype and on its own device.
        structures: structures it can evaluate; None: `example_structures`, of argon.
        skip: names from `CHECKS` to leave out, for a potential that takes no lone atoms
            (`one_atom`, `two_atoms`) or no renumbered molecules (`permutation`), say.
        reference: a potential that must agree: the same in fp64, or on the CPU.
        derivative_tolerance: of finite differences, relative to the largest component;
            default 1e-6 in fp64, 1e-3 in fp32.
        energy_tolerance: eV, between equal energies; default 1e-10 Ha in fp64, 2e-7 eV per
            atom in fp32.
        relative_tolerance: between equal forces and virials, relative to the largest
            component; default 1e-9 in fp64, 2e-5 in fp32.
        step: Å, of the finite differences; default 0.003 in fp64, 0.02 in fp32.
        seed: of the random displacements, rotations and orders.

    Returns:
        The measured deviations; print it.

    Raises:
        AssertionError: with a report of everything that failed.
        ValueError: for a name in `skip` that is no check, or without structures.
    """
    unknown = set(skip) - set(CHECKS)
    if unknown:
        raise ValueError(
            f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}"
        )
    given: dict[str, Any] = {
        "derivative": derivative_tolerance,
        "energy": energy_tolerance,
        "relative": relative_tolerance,
        "step": step,
    }
    defaults = Tolerances.of(potential.precision or potential.dtype)
    tolerances = replace(defaults, **{k: v for k, v in given.items() if v is not None})
    if structures is None:
        structures = example_structures(potential.cutoff, margin=2.5 * tolerances.step, seed=seed)
    if not structures:
        raise ValueError("give at least one structure to check the potential with")
    checks = ContractChecks(
        potential, structures, tolerances, reference, np.random.default_rng(seed)
    )
    for name in CHECKS:
        if name in skip or not checks.applies(name):
            checks.report.skipped.append(name)
        else:
            checks.run(name)
    if checks.report.failures:
        raise AssertionError(str(checks.report))
    return checks.report


def example_structures(
    cutoff: float = 0.0,
    number: int = 18,
    spacing: float = 3.6,
    *,
    margin: float = 0.05,
    seed: int = 0,
) -> list[Structure]:
    """Four small structures of one element: two triclinic crystals, a cluster and a slab.

    Args:
        cutoff: Å; no pair is within `margin` (Å) of it, where a truncated potential has no
            derivative.
        number: atomic number.
        spacing: Å, roughly the distance of neighbours.
        margin: Å.
        seed: of the disorder.

    Raises:
        ValueError: if no such structure was found; take a smaller margin or cutoff.
    """
    rng = np.random.default_rng(seed)
    sites = np.array([[0, 0, 0], [0.1, 1, 0], [0, 0.05, 1], [1, 0, 0.1], [1, 1, 1.05]])
    cell = np.array([[2.0, 0.0, 0.0], [0.3, 2.1, 0.0], [-0.2, 0.25, 2.2]])
    kinds = [
        (5, cell, (True, True, True)),
        (4, 0.9 * cell.T, (True, True, True)),
        (5, np.zeros((3, 3)), (False, False, False)),
        (3, cell, (True, True, False)),
    ]
    structures = []
    for n, box, pbc in kinds:
        for _ in range(1000):
            scale = spacing * rng.uniform(0.95, 1.05)
            positions = scale * (sites[:n] + rng.uniform(-0.1, 0.1, (n, 3)))
            structure = Structure(np.full(n, number), positions, scale * box, np.array(pbc))
            if not pairs_near(structure, cutoff, margin):
                structures.append(structure)
                break
        else:
            raise ValueError(f"every structure has pairs within {margin} Å of {cutoff} Å")
    return structures
