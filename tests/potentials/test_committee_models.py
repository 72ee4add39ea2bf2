"""Committees of trained models: the water committee that comes with pimd, and MACE files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mace_models import energy_network, save, structures
from water_samples import cluster, liquid

from pimd.evaluator import Evaluated, Evaluator
from pimd.potentials.base import Potential, Wanted
from pimd.potentials.behler_parrinello import EMBEDDED_MODEL
from pimd.potentials.committee import Committee
from pimd.potentials.registry import make_potential
from pimd.testing import check_potential

EVERYTHING = Wanted(member_forces=True, member_virials=True)
WATER = {"members": ["behler_parrinello"], "dtype": "float64", "device": "cpu"}
WEIGHTED = {**WATER, "baseline": "qtip4pf", "learned": "total"}
needs_water = pytest.mark.skipif(not EMBEDDED_MODEL.is_file(), reason="no water committee here")


def evaluate(potential: Potential, given: list, wanted: Wanted = EVERYTHING) -> Evaluated:
    return Evaluator(potential, chunking=None).evaluate_structures(given, wanted)


@needs_water
def test_an_ensemble_with_a_baseline() -> None:
    """The water committee weighted against the model it was trained on, at w far from 0 and 1."""
    given = [cluster(2), cluster(3, seed=1)]
    probe = evaluate(Committee(**WATER), given)
    assert probe.member_energies is not None
    sizes = np.array([len(s) for s in given])
    sigma_b = float((probe.member_energies.std(0, ddof=1) / np.sqrt(sizes)).mean())
    potential = Committee(sigma_b=sigma_b, **WEIGHTED)
    assert potential.n_members == 8
    w = evaluate(potential, given, Wanted(properties=("wb_mixing",))).properties["wb_mixing"]
    assert ((w > 0.2) & (w < 0.8)).all()
    skip = ["one_atom", "two_atoms", "permutation"]
    print(check_potential(potential, given, skip=skip))


@needs_water
def test_the_baseline_and_the_model_agree_in_the_liquid() -> None:
    """U lies between the model and its reference, whose energies count from the same zero."""
    given = [liquid()]
    known = ("wb_mixing", "baseline_energy", "committee_energy")
    found = evaluate(Committee(**WEIGHTED), given, Wanted(properties=known))
    base, model = (found.properties[k][0] for k in known[1:])
    assert min(base, model) <= found.energies[0] <= max(base, model)
    assert abs(model - base) / len(given[0]) < 0.05  # eV per atom


def test_mace_files_stacked_and_one_by_one(tmp_path: Path) -> None:
    pytest.importorskip("mace")
    # two alike, and between them one of another cutoff: the order stays
    parts = [
        make_potential({
            "potential": "mace", "device": "cpu",
            "model": str(save(energy_network(seed=k, r_max=r), tmp_path / f"{k}.model")),
        })
        for k, r in enumerate((3.5, 3.0, 3.5))
    ]
    given = structures()[:3]
    alone = [evaluate(part, given) for part in parts]
    for stacking in ("always", "never"):
        committee = Committee(parts, alpha=1.5, stacking=stacking, device="cpu")
        assert committee.members.can_stack == (stacking == "always")
        assert committee.cutoff == 3.5
        found = evaluate(committee, given)
        for name in ("energies", "forces", "virials"):
            rows = getattr(found, f"member_{name}")
            mean = getattr(found, name)
            np.testing.assert_allclose(rows.mean(0), mean, rtol=0, atol=1e-9)
            own = mean + (rows - mean) / 1.5
            for k, one in enumerate(alone):
                np.testing.assert_allclose(own[k], getattr(one, name), rtol=0, atol=1e-8)
