"""NequIP and Allegro networks compiled as users compile them, against nequip's own calculator.

Compiling takes 45 and 30 s of one core.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from nequip_models import CUTOFF, SHIFTS, TYPES, make, structures

from pimd.potentials.base import Batch, Prediction, Wanted
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.nequip import NequIP
from pimd.structure import PotentialError, Structure
from pimd.testing import check_potential

# looked for, not imported: nequip sets torch's defaults
MISSING = [name for name in ("nequip", "allegro") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"could not find {' and '.join(MISSING)}"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with a C++ compiler"),
]

PRECISIONS = {"nequip": torch.float64, "allegro": torch.float32}
KINDS = list(TYPES)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def made(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, np.ndarray]]:
    return make(kind, tmp_path_factory.mktemp(kind))


@pytest.fixture
def potential(kind: str, made: tuple[Path, dict[str, np.ndarray]]) -> NequIP:
    return NequIP(made[0], types=dict(zip(("H", "O"), TYPES[kind], strict=True)))


def evaluate(potential: NequIP, given: list[Structure]) -> Prediction:
    lists = NeighbourLists(potential.cutoff, threads=1)
    return potential.compute(lists.attach(Batch.from_structures(given)), Wanted())


def test_what_the_file_says(kind: str, potential: NequIP) -> None:
    assert potential.precision == PRECISIONS[kind]
    assert potential.cutoff == (CUTOFF if kind == "nequip" else 3.7)
    assert potential.model.takes_batches


def test_contract(potential: NequIP) -> None:
    print(check_potential(potential, structures()[:4]))


def test_agrees_with_the_library(
    kind: str, potential: NequIP, made: tuple[Path, dict[str, np.ndarray]]
) -> None:
    found, want = evaluate(potential, structures()), made[1]
    sizes = np.array([len(one) for one in structures()])
    per_atom, tolerance = (1e-6, 1e-10) if kind == "nequip" else (1e-4, 2e-6)
    assert np.abs(want["forces"]).max() > 0.05
    assert (np.abs(found.energies.numpy() - want["energies"]) / sizes).max() < per_atom
    np.testing.assert_allclose(found.forces, want["forces"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.virials, want["virials"], rtol=0, atol=tolerance)


def test_lone_atoms_keep_all_digits(potential: NequIP) -> None:
    """Thousands of eV are added in fp64, also by a network in fp32."""
    lone = [Structure([z], [[1.0, 2.0, 3.0]]) for z in (1, 8)]
    for given, want in ((lone, SHIFTS), (lone[1:], SHIFTS[1:])):
        np.testing.assert_allclose(evaluate(potential, given).energies, want, rtol=0, atol=1e-11)


def test_batches_of_one(potential: NequIP) -> None:
    whole = evaluate(potential, structures())
    tolerance = 1e-12 if potential.precision == torch.float64 else 2e-6
    start = 0
    for k, one in enumerate(structures()):
        alone = evaluate(potential, [one])
        assert alone.energies[0] == pytest.approx(float(whole.energies[k]), abs=1e3 * tolerance)
        own = slice(start, start + len(one))
        np.testing.assert_allclose(alone.forces, whole.forces[own], rtol=0, atol=tolerance)
        np.testing.assert_allclose(alone.virials[0], whole.virials[k], rtol=0, atol=tolerance)
        start += len(one)


def test_unknown_element(potential: NequIP) -> None:
    with pytest.raises(PotentialError, match="knows H, O; got C"):
        evaluate(potential, [Structure([6, 1], [[0, 0, 0], [1.1, 0, 0]])])
