"""`check_potential` passes what keeps the contract and names what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from pimd.potentials.base import (
    Batch,
    Potential,
    PotentialError,
    Prediction,
    PropertySpec,
    Structure,
    Wanted,
)
from pimd.potentials.harmonic import Harmonic
from pimd.potentials.lennard_jones import LennardJones
from pimd.potentials.stillinger_weber import StillingerWeber
from pimd.testing import CHECKS, check_potential, example_structures

STRUCTURES = example_structures(8.0)


class Bent(LennardJones):
    """Lennard-Jones with a fault: `bend` changes what is right into what is wrong."""

    def __init__(
        self, bend: Callable[[Batch, Wanted, Prediction], Prediction], **options: object
    ) -> None:
        super().__init__(mode="smooth", cutoff=8.0, **options)  # type: ignore[arg-type]
        self.bend = bend

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        return self.bend(batch, wanted, super().compute(batch, wanted))


def _unbent(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return p


def sign_flipped_virial(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, virials=None if p.virials is None else -p.virials)


def sign_flipped_forces(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, forces=None if p.forces is None else -p.forces)


def lopsided_virial(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    """Right symmetric part, wrong off-diagonal elements."""
    if p.virials is None:
        return p
    skew = torch.zeros_like(p.virials)
    skew[:, 0, 1], skew[:, 1, 0] = 0.1, -0.1
    return replace(p, virials=p.virials + skew)


def one_third_of_the_trace(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    if p.virials is None:
        return p
    trace = p.virials.diagonal(dim1=1, dim2=2).sum(1)
    return replace(p, virials=trace[:, None, None] * torch.eye(3, dtype=trace.dtype) / 3)


def forces_off_by_a_trifle(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, forces=None if p.forces is None else 1.00001 * p.forces)


def order_of_the_batch(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    place = torch.arange(batch.n_structures, dtype=torch.float64)
    return replace(p, energies=p.energies + 1e-8 * place)


def size_of_the_batch(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, energies=p.energies + 1e-8 * batch.n_structures)


def mean_over_the_batch(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    """As of a batch normalisation: energies shifted by what else is there."""
    return replace(p, energies=p.energies - 1e-3 * p.energies.mean())


def first_cell_for_all(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    """Energies per volume of the first structure."""
    return replace(p, energies=p.energies + 1e-6 * batch.volumes()[0])


def order_of_the_pairs(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    """As a table of fixed width that drops the last pair."""
    if batch.pairs is None or not batch.pairs.shape[1]:
        return p
    last = batch.pair_vectors()[-1].norm()
    extra = torch.zeros_like(p.energies)
    extra[batch.structure_index[batch.pairs[0, -1]]] = 1e-3 * last
    return replace(p, energies=p.energies + extra)


def writes_positions(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    batch.positions += 1e-3
    return p


def writes_shifts(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    assert batch.shifts is not None
    batch.shifts.mul_(-1.0)
    return p


def swaps_cells(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    batch.cells = batch.cells.transpose(1, 2)
    return p


def gives_forces_always(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, forces=torch.zeros_like(batch.positions) if p.forces is None else p.forces)


def energies_in_float32(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, energies=p.energies.float())


def forces_missing(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, forces=None)


def forces_of_wrong_shape(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, forces=None if p.forces is None else p.forces.reshape(-1))


def nan_for_a_lone_atom(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    alone = batch.n_atoms_per_structure == 1
    return replace(p, energies=p.energies.masked_fill(alone, torch.nan))


def feels_the_origin(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, energies=p.energies + 1e-6 * batch.sum_over_atoms(batch.positions[:, 0]))


def feels_north(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    north = batch.sum_over_pairs(batch.pair_vectors()[:, 2] ** 2)
    return replace(p, energies=p.energies + 1e-6 * north)


def first_atom_is_special(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    assert batch.pairs is not None
    of_first = torch.isin(batch.pairs[0], batch.offsets[:-1])
    extra = batch.sum_over_pairs(of_first * batch.pair_vectors().norm(dim=1))
    return replace(p, energies=p.energies + 1e-6 * extra)


def carried_graph(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, energies=p.energies * torch.ones(1, requires_grad=True))


def cell_of_an_open_structure(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    open_ = ~batch.pbc.any(1)
    return replace(p, energies=p.energies + 1e-6 * open_ * batch.volumes())


def drifting(batch: Batch, wanted: Wanted, p: Prediction) -> Prediction:
    return replace(p, forces=None if p.forces is None else p.forces + 1e-5)


@pytest.mark.parametrize(("fault", "check", "words"), [
    (sign_flipped_virial, "virials", "virials differ"),
    (one_third_of_the_trace, "virials", "virials differ"),
    (lopsided_virial, "net_force", "W and W^T"),
    (sign_flipped_forces, "forces", "forces differ"),
    (forces_off_by_a_trifle, "forces", "forces differ"),
    (drifting, "net_force", "net force"),
    (order_of_the_batch, "batch", "energies differ"),
    (size_of_the_batch, "batch", "energies differ"),
    (mean_over_the_batch, "batch", "energies differ"),
    (first_cell_for_all, "batch", "energies differ"),
    (order_of_the_pairs, "pair_order", "energies differ"),
    (writes_positions, "wanted", "changed positions"),
    (writes_shifts, "wanted", "changed shifts"),
    (swaps_cells, "wanted", "changed cells"),
    (gives_forces_always, "wanted", "forces given though not wanted"),
    (energies_in_float32, "wanted", "sum them in float64"),
    (forces_missing, "wanted", "forces wanted but not given"),
    (forces_of_wrong_shape, "wanted", "forces should be"),
    (carried_graph, "wanted", "detach"),
    (nan_for_a_lone_atom, "one_atom", "NaN"),
    (feels_the_origin, "translation", "energies differ"),
    (feels_the_origin, "lattice", "energies differ"),
    (feels_north, "rotation", "energies differ"),
    (first_atom_is_special, "permutation", "energies differ"),
    (cell_of_an_open_structure, "open", "energies differ"),
])  # fmt: skip
def test_faults_are_caught_and_named(
    fault: Callable[[Batch, Wanted, Prediction], Prediction], check: str, words: str
) -> None:
    with pytest.raises(AssertionError) as caught:
        check_potential(Bent(fault), STRUCTURES)
    failures = [line for line in str(caught.value).splitlines() if "FAILED" in line]
    assert any(line.strip().startswith(f"FAILED {check} (") and words in line for line in failures)


def test_a_sound_potential_passes_with_room_to_spare() -> None:
    report = check_potential(Bent(_unbent), STRUCTURES)
    assert report.potential == "lennard_jones"
    assert report.dtype == "float64"
    assert set(report.deviations) == set(CHECKS) - {"properties", "reference"}
    assert report.skipped == ["properties", "reference"]
    assert 0.0 < max(report.deviations.values()) < 0.1
    assert max(report.noise.values()) < 1e-12
    assert report.failures == []
    for name in report.deviations:
        assert f"  {name} " in str(report)


def test_an_external_field_is_not_held_to_invariance() -> None:
    report = check_potential(Harmonic(k=0.3))
    assert {"translation", "rotation", "net_force"} <= set(report.skipped)
    report_free = check_potential(Harmonic(k=1e-9))
    assert "forces" in report_free.deviations


def test_external_field_that_claims_invariance_is_caught() -> None:
    potential = Harmonic(k=0.3)
    potential.invariant = True
    with pytest.raises(AssertionError, match="FAILED translation"):
        check_potential(potential)


def test_what_a_potential_raises_is_a_failure_in_its_words() -> None:
    with pytest.raises(AssertionError, match=r"raised PotentialError: .*silicon"):
        check_potential(StillingerWeber(), example_structures(StillingerWeber.cutoff, number=18))


def test_checks_can_be_left_out_by_name() -> None:
    potential = Bent(nan_for_a_lone_atom)
    report = check_potential(potential, STRUCTURES, skip=("one_atom",))
    assert "one_atom" in report.skipped
    with pytest.raises(ValueError, match="no such check: lone_atom; there are wanted, forces"):
        check_potential(potential, STRUCTURES, skip=("lone_atom",))
    with pytest.raises(ValueError, match="at least one structure"):
        check_potential(potential, [])


def test_pairs_at_the_cutoff_of_a_truncated_potential_are_pointed_out() -> None:
    potential = LennardJones(mode="truncate", cutoff=8.0)
    at_cutoff = Structure([18, 18, 18], [[0, 0, 0], [8.001, 0, 0], [0, 3.3, 0]])
    with pytest.raises(AssertionError, match="1 pairs lie at the cutoff"):
        check_potential(potential, [at_cutoff])
    check_potential(LennardJones(mode="smooth", cutoff=8.0), [at_cutoff])


def test_single_precision_against_double() -> None:
    single = LennardJones(mode="smooth", cutoff=8.0, dtype="float32")
    double = LennardJones(mode="smooth", cutoff=8.0)
    report = check_potential(single, reference=double)
    assert report.dtype == "float32"
    assert 0.0 < report.deviations["reference"] < 1.0
    other = LennardJones(mode="smooth", cutoff=8.0, sigma=3.406)
    with pytest.raises(AssertionError, match="FAILED reference"):
        check_potential(single, reference=other)


def test_tolerances_can_be_given() -> None:
    bent = Bent(forces_off_by_a_trifle)
    check_potential(bent, STRUCTURES, derivative_tolerance=1e-4)
    check_potential(Bent(size_of_the_batch), STRUCTURES, energy_tolerance=1e-6)
    with pytest.raises(AssertionError, match="FAILED forces"):
        check_potential(Bent(_unbent), STRUCTURES, step=0.3)
    with pytest.raises(AssertionError, match="FAILED"):
        check_potential(Bent(_unbent), STRUCTURES, relative_tolerance=1e-18)


class Dipolar(LennardJones):
    """Lennard-Jones with a dipole, sum of atom vectors, and charges per atom."""

    properties: Mapping[str, PropertySpec] = {
        "dipole": PropertySpec("e Å", (3,)),
        "charges": PropertySpec("e", (), per_atom=True),
    }
    turned = False
    short = False

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        for name in wanted.properties:
            if name not in self.properties:
                raise PotentialError(f"no property {name}")
        prediction = super().compute(batch, replace(wanted, properties=()))
        values = {}
        if "dipole" in wanted.properties:
            r = batch.pair_vectors()
            values["dipole"] = batch.sum_over_pairs(r * torch.exp(-r[:, 2:] * self.turned - 1.0))
        if "charges" in wanted.properties:
            values["charges"] = batch.positions.new_ones(batch.n_atoms - self.short)
        return replace(prediction, properties=values)


def test_properties_are_checked() -> None:
    report = check_potential(Dipolar(mode="smooth"))
    assert "properties" in report.deviations
    turned, short = Dipolar(mode="smooth"), Dipolar(mode="smooth")
    turned.turned = short.short = True
    with pytest.raises(AssertionError, match=r"FAILED rotation .*dipole of rotated structures"):
        check_potential(turned)
    with pytest.raises(AssertionError, match=r"FAILED properties .*charges should be"):
        check_potential(short)


def test_placeholder_virials_are_not_compared() -> None:
    class NoVirials(Bent):
        gives_virials = False

    report = check_potential(NoVirials(one_third_of_the_trace), STRUCTURES)
    assert "virials" in report.skipped


@pytest.mark.parametrize("cutoff", [0.0, 5.0, 9.3])
def test_examples_keep_clear_of_the_cutoff(cutoff: float) -> None:
    structures = example_structures(cutoff, number=10, spacing=3.1, margin=0.04)
    assert {s.pbc.sum() for s in structures} == {0, 2, 3}
    for structure in structures:
        assert set(structure.numbers) == {10}
        everything = LennardJones(mode="truncate", cutoff=cutoff + 0.5)
        batch = _attach(structure, everything)
        if cutoff:
            assert (batch.pair_vectors().norm(dim=1) - cutoff).abs().min() > 0.04


def test_no_example_is_better_than_a_bad_one() -> None:
    with pytest.raises(ValueError, match=r"every structure has pairs within 2\.0 Å of 5\.0 Å"):
        example_structures(5.0, margin=2.0)


def _attach(structure: Structure, potential: Potential) -> Batch:
    from pimd.potentials.neighbours import NeighbourLists

    return NeighbourLists(potential.cutoff).attach(Batch.from_structures([structure]))


def test_structures_are_left_alone() -> None:
    before = [s.positions.copy() for s in STRUCTURES]
    check_potential(LennardJones(mode="smooth", cutoff=8.0), STRUCTURES)
    for s, x in zip(STRUCTURES, before, strict=True):
        np.testing.assert_array_equal(s.positions, x)
