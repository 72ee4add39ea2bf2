"""MACE models of one architecture in one pass against the loop over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mace")

import mace_models as models

from pimd.evaluator import Evaluated, Evaluator
from pimd.potentials.base import Potential, PotentialError, Wanted
from pimd.potentials.mace import MACE
from pimd.structure import Structure
from pimd.testing import check_potential

Files = Callable[[str], Path]
mace_file = models.mace_file
MEMBERS = ("water", "water_again")
EVERYTHING = Wanted(member_forces=True, member_virials=True)


def members(mace_file: Files, *names: str, **options: Any) -> list[MACE]:
    return [MACE(mace_file(name), **options) for name in names or MEMBERS]


def stacked(parts: list[MACE]) -> Potential:
    found = MACE.stacked(parts)
    assert found is not None
    assert found.n_members == len(parts)
    return found


def loop(parts: list[MACE], structures: list[Structure]) -> list[Evaluated]:
    return [Evaluator(part).evaluate_structures(structures) for part in parts]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equal_to_the_loop(dtype: str, mace_file: Files) -> None:
    """Members with other weights, lone atoms, scale and average number of neighbours."""
    parts = members(mace_file, dtype=dtype)
    structures = models.structures()
    single = loop(parts, structures)
    found = Evaluator(stacked(parts)).evaluate_structures(structures, EVERYTHING)
    energy, other = {"float64": (1e-10, 1e-12), "float32": (1e-5, 2e-5)}[dtype]
    assert np.abs(single[0].energies - single[1].energies).min() > 100.0
    for k, one in enumerate(single):
        scale = np.abs(one.virials).max()
        np.testing.assert_allclose(found.member_energies[k], one.energies, rtol=0, atol=energy)
        np.testing.assert_allclose(found.member_forces[k], one.forces, rtol=0, atol=scale * other)
        np.testing.assert_allclose(
            found.member_virials[k], one.virials, rtol=0, atol=scale * other
        )
    np.testing.assert_allclose(found.energies, found.member_energies.mean(0), rtol=1e-15)
    np.testing.assert_allclose(found.forces, found.member_forces.mean(0), rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.virials, found.member_virials.mean(0), rtol=0, atol=1e-15)


def test_means_without_those_of_members(mace_file: Files) -> None:
    """One gradient of the mean energy, where no member is asked for."""
    potential = Evaluator(stacked(members(mace_file)))
    structures = models.structures()
    mean = potential.evaluate_structures(structures)
    everything = potential.evaluate_structures(structures, EVERYTHING)
    assert mean.member_forces is None
    assert mean.member_energies.shape == (2, len(structures))
    np.testing.assert_allclose(mean.forces, everything.forces, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mean.virials, everything.virials, rtol=0, atol=1e-12)
    only = potential.evaluate_structures(structures, Wanted(False, False, (), True, False))
    assert only.forces is None
    assert only.member_virials is None
    np.testing.assert_array_equal(only.member_forces, everything.member_forces)


def test_contract(mace_file: Files) -> None:
    check_potential(stacked(members(mace_file)), models.structures())


def test_what_cannot_be_stacked(mace_file: Files) -> None:
    """Other architectures, classes, precisions, charges, and one alone."""
    water, again = members(mace_file)
    assert MACE.stacked([water]) is None
    assert MACE.stacked([water, MACE(mace_file("water_other"))]) is None
    assert MACE.stacked([water, MACE(mace_file("water_again"), dtype="float32")]) is None
    assert MACE.stacked([MACE(mace_file("heads")), MACE(mace_file("heads"))]) is None
    charged = [MACE(mace_file("charged"), total_charge=q) for q in (0, 1)]
    assert MACE.stacked(charged) is None
    again.network = lambda data, **options: water.module(data, **options)
    assert MACE.stacked([water, again]) is None  # not as stored


def test_a_stack_that_differs_is_refused(
    mace_file: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that mace-torch rebuilds wrongly is noticed."""
    from pimd.potentials import mace_stacked

    rebuilt = mace_stacked.rebuilt

    def wrong(network: torch.nn.Module, card: Any) -> torch.nn.Module:
        copy = rebuilt(network, card)
        copy.scale_shift.shift += 0.01
        return copy

    parts = members(mace_file)
    monkeypatch.setattr(mace_stacked, "rebuilt", wrong)
    assert MACE.stacked(parts) is None


def test_charged_models_of_several_heads(mace_file: Files) -> None:
    """Embeddings and heads go through the stack."""
    for name, options in (("charged", {"total_charge": 1}), ("undecided", {"head": "scan"})):
        parts = members(mace_file, name, name, **options)
        found = Evaluator(stacked(parts)).evaluate_structures(models.structures())
        (expected,) = loop(parts[:1], models.structures())
        np.testing.assert_allclose(found.energies, expected.energies, rtol=1e-13)
        np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-11)


def test_unknown_element(mace_file: Files) -> None:
    potential = stacked(members(mace_file))
    with pytest.raises(PotentialError, match="knows H, O; got Ar"):
        Evaluator(potential).evaluate_structures([Structure([18], [[0.0, 0.0, 0.0]])])
