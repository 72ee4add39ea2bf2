"""Replies on the wire: layout, units, signs, the transposed virial, extras."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from daemon_potentials import Spring

from pimd.daemon.extras import ExtrasWriter
from pimd.daemon.replies import ReplyBuffer
from pimd.evaluator import Evaluated
from pimd.potentials.base import PotentialError, PropertySpec

HARTREE, BOHR = 27.211386245988, 0.529177210903


def arrays(b: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(b + n)
    return rng.normal(size=b), rng.normal(size=(b, n, 3)), rng.normal(size=(b, 3, 3))


@pytest.mark.parametrize("b", [1, 2, 5])
@pytest.mark.parametrize("with_extras", [False, True])
def test_layout_of_the_reply(b: int, with_extras: bool) -> None:
    n = 4
    energies, forces, virials = arrays(b, n)
    extras = [f'{{"n": "{"é" * k}"}}'.encode() for k in range(b)] if with_extras else None
    buffer = ReplyBuffer(b, n)
    for _ in range(2):  # written over, not appended to
        data = b"".join(buffer.write(energies, forces, virials, extras))
    assert data[:12] == b"FORCEREADY  "
    at = 12
    found = np.frombuffer(data, np.float64, b, at)
    np.testing.assert_allclose(found, energies / HARTREE, rtol=1e-15)
    at += 8 * b
    assert np.frombuffer(data, np.int32, 1, at)[0] == n
    at += 4
    found = np.frombuffer(data, np.float64, 3 * n * b, at).reshape(b, n, 3)
    np.testing.assert_allclose(found, forces / (HARTREE / BOHR), rtol=1e-14)
    at += 24 * n * b
    found = np.frombuffer(data, np.float64, 9 * b, at).reshape(b, 3, 3)
    np.testing.assert_allclose(found, virials.transpose(0, 2, 1) / HARTREE, rtol=1e-14)
    at += 72 * b
    for k in range(b):
        length = np.frombuffer(data, np.int32, 1, at)[0]
        at += 4
        assert data[at : at + length] == (extras[k] if extras else b"")
        at += length
    assert at == len(data)


def test_the_number_of_extras_is_checked() -> None:
    with pytest.raises(ValueError, match="expected 2 extras, got 1"):
        ReplyBuffer(2, 3).write(*arrays(2, 3), [b"{}"])


def evaluated(**properties: np.ndarray) -> Evaluated:
    return Evaluated(np.zeros(2), properties=properties)


STARTS = np.array([0, 3, 5])


def test_nothing_asked_gives_no_extras() -> None:
    assert ExtrasWriter(Spring()).write(evaluated(), STARTS) is None


def test_properties_travel_as_json_objects_in_atomic_units() -> None:
    dipole = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])  # e Å
    charges = np.arange(45.0).reshape(5, 3, 3)  # [atom, component of mu, component of x]
    writer = ExtrasWriter(Spring(), ["dipole", "born_charges"])
    texts = writer.write(evaluated(dipole=dipole, born_charges=charges), STARTS)
    assert texts is not None
    objects = [json.loads(text) for text in texts]
    for k, (start, end) in enumerate(((0, 3), (3, 5))):
        assert set(objects[k]) == {"dipole", "BEC"}
        np.testing.assert_allclose(objects[k]["dipole"], dipole[k] / BOHR, rtol=1e-14)
        found = np.array(objects[k]["BEC"])
        assert found.shape == (3 * (end - start), 3)
        for atom in range(end - start):
            for i in range(3):  # d mu / d x_i of the atom
                np.testing.assert_array_equal(found[3 * atom + i], charges[start + atom, :, i])


def test_properties_that_cannot_be_sent_are_refused() -> None:
    with pytest.raises(PotentialError, match="does not give spin; its properties: born_charges"):
        ExtrasWriter(Spring(), ["spin"])
    potential = Spring()
    potential.properties = {"odd": PropertySpec("furlong", ()), "raw": PropertySpec("e", ())}
    with pytest.raises(PotentialError, match="furlong"):
        ExtrasWriter(potential, ["odd"])
    with pytest.raises(PotentialError, match="raw"):
        ExtrasWriter(potential, ["raw"])
    with pytest.raises(ValueError, match="dipole is not finite"):
        ExtrasWriter(Spring(), ["dipole"]).write(
            evaluated(dipole=np.full((2, 3), np.nan)), STARTS
        )


@pytest.mark.parametrize("unit", ["e Å", "e*Å", "e·Å", "e angstrom", "eÅ", "e*angstrom"])
def test_units_are_read_however_they_are_written(unit: str) -> None:
    potential = Spring()
    potential.properties = {"p": PropertySpec(unit, (3,))}
    texts = ExtrasWriter(potential, ["p"]).write(evaluated(p=np.ones((2, 3))), STARTS)
    assert texts is not None
    np.testing.assert_allclose(json.loads(texts[0])["p"], 1 / BOHR, rtol=1e-14)


def test_the_virial_on_the_wire_is_that_of_columns() -> None:
    """-dV/de for x' = (1 + e) x, by finite differences of an energy without symmetric virial."""
    positions = np.array([[0.3, -0.2, 0.7], [1.1, 0.4, -0.5]])
    field = np.array([0.7, -1.3, 0.4])

    def energy(x: np.ndarray) -> float:
        return float((x @ field).sum())

    forces = -np.tile(field, (2, 1))
    # of rows: W_ij = -dE/de_ij with x' = x (1 + e) = sum_a x_ai F_aj
    rows = positions.T @ forces
    sent = np.frombuffer(
        b"".join(ReplyBuffer(1, 2).write(np.zeros(1), forces[None], rows[None])),
        np.float64,
        9,
        12 + 8 + 4 + 48,
    ).reshape(3, 3)
    h = 1e-5
    for i in range(3):
        for j in range(3):
            strain = np.zeros((3, 3))
            strain[i, j] = h
            up = energy(positions @ (np.eye(3) + strain).T)
            down = energy(positions @ (np.eye(3) - strain).T)
            assert sent[i, j] == pytest.approx(-(up - down) / (2 * h) / HARTREE, abs=1e-9)


def test_results_go_into_shared_memory_and_only_extras_into_the_message() -> None:
    class Fake:
        def __init__(self) -> None:
            self.arrays = {"pot": np.zeros(2), "force": np.zeros((2, 3, 3))}
            self.arrays["vir"] = np.zeros((2, 3, 3))

    fake = Fake()
    energies, forces, virials = arrays(2, 3)
    buffer = ReplyBuffer(2, 3, fake)  # type: ignore[arg-type]
    data = b"".join(buffer.write(energies, forces, virials))
    assert data == b"FORCEREADY  " + bytes(8)
    np.testing.assert_allclose(fake.arrays["pot"], energies / HARTREE, rtol=1e-15)
    np.testing.assert_allclose(fake.arrays["force"], forces / HARTREE * BOHR, rtol=1e-14)
    np.testing.assert_allclose(fake.arrays["vir"], virials.swapaxes(1, 2) / HARTREE, rtol=1e-14)
    data = b"".join(buffer.write(energies, forces, virials, [b"{}", b'{"a": 1}']))
    assert data == b"FORCEREADY  \x02\0\0\0{}\x08\0\0\0" + b'{"a": 1}'


def test_a_round_trip_through_torch_keeps_the_potentials_numbers() -> None:
    from pimd.potentials.base import Batch, Structure, Wanted

    spring = Spring(k=2.0)
    structure = Structure(np.array([1, 1]), np.array([[1.0, 0, 0], [0, 2.0, 0]]))
    prediction = spring.compute(Batch.from_structures([structure]), Wanted())
    assert prediction.forces is not None
    assert prediction.virials is not None
    data = b"".join(
        ReplyBuffer(1, 2).write(
            prediction.energies.numpy(),
            prediction.forces.numpy()[None],
            prediction.virials.numpy(),
        )
    )
    assert np.frombuffer(data, np.float64, 1, 12)[0] * HARTREE == pytest.approx(5.0, rel=1e-14)
    forces = np.frombuffer(data, np.float64, 6, 24).reshape(2, 3) * HARTREE / BOHR
    np.testing.assert_allclose(forces, [[-2, 0, 0], [0, -4, 0]], atol=1e-13)
    virial = np.frombuffer(data, np.float64, 9, 72).reshape(3, 3) * HARTREE
    # W = -dE/de = -k sum x_i x_j
    np.testing.assert_allclose(virial, np.diag([-2.0, -8.0, 0.0]), atol=1e-13)
    assert torch.isfinite(prediction.energies).all()
