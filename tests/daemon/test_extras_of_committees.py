"""What is sent of committees: keys, shapes, units, signs and order as i-PI reads them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from daemon_potentials import Spring

from pimd.daemon.extras import ExtrasWriter, wanted_for
from pimd.daemon.numbers import json_rows
from pimd.evaluator import Evaluated
from pimd.potentials.base import PropertySpec

HARTREE, BOHR = 27.211386245988, 0.529177210903
STARTS = np.array([0, 3, 5])
M = 4


def evaluated(offset: float = 0.0) -> Evaluated:
    """Two structures of 3 and 2 atoms; `offset` puts the mean of the members off the rest."""
    rng = np.random.default_rng(8)
    forces, virials = rng.normal(size=(M, 5, 3)), rng.normal(size=(M, 2, 3, 3))
    energies = rng.normal(-1e5, 0.3, size=(M, 2))
    return Evaluated(
        energies.mean(0), forces.mean(0), virials.mean(0),
        energies + offset, forces + offset, virials + offset,
    )


def objects(found: Evaluated, **options: bool) -> list[dict]:
    texts = ExtrasWriter(Spring(), **options).write(found, STARTS)
    assert texts is not None
    return [json.loads(text) for text in texts]


def test_energies_and_their_spread_are_always_sent() -> None:
    found = evaluated()
    assert found.member_energies is not None
    for k, entry in enumerate(objects(found)):
        assert set(entry) == {"committee_pot", "committee_uncertainty"}
        np.testing.assert_allclose(
            entry["committee_pot"], found.member_energies[:, k] / HARTREE, rtol=1e-15
        )
        spread = found.member_energies[:, k].std(ddof=1) / HARTREE
        assert entry["committee_uncertainty"] == pytest.approx(spread, rel=1e-14)


def test_forces_and_virials_as_lists_of_members() -> None:
    """[n_members][3 n_atoms] and [n_members][9] of the strain of columns."""
    found = evaluated()
    assert found.member_forces is not None
    assert found.member_virials is not None
    for k, entry in enumerate(objects(found, member_forces=True)):
        own = found.member_forces[:, STARTS[k] : STARTS[k + 1]].reshape(M, -1)
        sent = np.array(entry["committee_force"])
        assert sent.shape == own.shape
        np.testing.assert_allclose(sent, own / HARTREE * BOHR, rtol=0, atol=1e-14)
        columns = found.member_virials[:, k].transpose(0, 2, 1).reshape(M, 9)
        np.testing.assert_allclose(
            entry["committee_virial"], columns / HARTREE, rtol=0, atol=1e-14
        )


def test_members_are_sent_centred_on_what_is_sampled() -> None:
    """A model whose own head is not the mean of its members: i-PI takes the mean for it."""
    usual, off = (objects(evaluated(offset), member_forces=True) for offset in (0.0, 0.7))
    for k, (a, b) in enumerate(zip(usual, off, strict=True)):
        assert abs(np.mean(b["committee_pot"]) - evaluated().energies[k] / HARTREE) < 1e-9
        for key in a:
            np.testing.assert_allclose(a[key], b[key], rtol=0, atol=2e-13 if key != "committee_pot"
                                       else 1e-11)  # fmt: skip


def test_forces_are_not_sent_unless_asked_for() -> None:
    assert "committee_force" not in objects(evaluated())[0]
    without = evaluated()
    without.member_forces = without.member_virials = None
    assert set(objects(without, member_forces=True)[0]) == {
        "committee_pot", "committee_uncertainty"
    }  # fmt: skip


def test_an_uncertainty_without_members_is_sent() -> None:
    potential = Spring()
    potential.properties = {"energy_uncertainty": PropertySpec("eV", ())}
    wanted = wanted_for(potential, member_forces=True)
    assert wanted.properties == ("energy_uncertainty",)
    assert not wanted.member_forces
    found = Evaluated(np.zeros(2), properties={"energy_uncertainty": np.array([0.1, 0.2])})
    texts = ExtrasWriter(potential).write(found, STARTS)
    assert texts is not None
    sent = [json.loads(text) for text in texts]
    assert sent == [{"committee_uncertainty": v / HARTREE} for v in (0.1, 0.2)]


def test_what_is_asked_of_a_committee() -> None:
    potential = Spring()
    assert not wanted_for(potential, member_forces=True).member_forces
    potential.n_members = 3
    assert wanted_for(potential).member_forces is False
    wanted = wanted_for(potential, ("dipole",), member_forces=True)
    assert wanted.member_forces
    assert wanted.member_virials
    assert wanted.properties == ("dipole",)


def test_members_that_are_not_finite_are_refused() -> None:
    found = evaluated()
    assert found.member_energies is not None
    found.member_energies[1, 1] = np.inf
    with pytest.raises(ValueError, match="energy of a member of the committee is not finite"):
        objects(found)
    found = evaluated()
    assert found.member_forces is not None
    found.member_forces[2, 4, 1] = np.nan
    with pytest.raises(ValueError, match=r"force or virial of a member .* is not finite"):
        objects(found, member_forces=True)


# -- numbers as text --------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-290, 1e-250, 1e-9, 0.02, 0.9999999999999999, 1.0, 9.99999,
                                   9.999999999999998, 10.0, 42.0, 1e5, 3e300])  # fmt: skip
def test_numbers_come_back_to_fifteen_digits_of_the_largest(scale: float) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(7, 30))
    values *= scale / np.abs(values).max()
    back = np.array(json.loads(json_rows(values)))
    assert back.shape == values.shape
    if scale < 1e-280:
        assert not back.any()
    else:
        np.testing.assert_allclose(back / scale, values / scale, rtol=0, atol=6e-15)


def test_numbers_at_the_edges() -> None:
    values = np.array([[0.0, -0.0, 1.0, -1.0], [0.1, -9.999999999999999, 9.999999999999999, 5e-15]])
    back = np.array(json.loads(json_rows(values)))
    np.testing.assert_allclose(back, values, rtol=0, atol=1e-13)
    assert json.loads(json_rows(np.zeros((2, 3)))) == [[0.0] * 3] * 2
    assert json.loads(json_rows(np.zeros((2, 0)))) == [[], []]
    assert json.loads(json_rows(np.full((1, 1), -2.5))) == [[-2.5]]


def test_any_matrix_is_written() -> None:
    """Not only those that lie in memory as they are read."""
    values = np.random.default_rng(2).normal(size=(9, 4)).T[::2]
    np.testing.assert_allclose(json.loads(json_rows(values)), values, rtol=0, atol=1e-13)
