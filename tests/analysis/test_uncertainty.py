"""Errors of a run's averages: oscillators whose beads, members and averages are exact."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from oscillator_rings import KT, TEMPERATURE, oscillators

from pimd.analysis.estimators import pressure_tensors
from pimd.analysis.member_forces import MemberForces
from pimd.analysis.uncertainty import Uncertainty, UncertaintyOptions, uncertainty_of_run
from pimd.analysis.uncertainty_result import result_of
from pimd.free_energy.sampled import NotCanonical
from pimd.ipi.uncertainty import Geometry, Members
from pimd.record.missing import NotInRecord
from pimd.record.run import Run
from pimd.record.setup import Setup
from pimd.run.member_file import MEMBER_FILE, MemberFile, MemberRecord

X, N_BEADS = 5.0, 8
DELTAS = np.array([-0.06, -0.02, 0.02, 0.06])
"""Members have force constants 1 + delta times that of what was sampled."""


def kinetic(x: float, n_beads: int) -> float:
    """Kinetic energy of a three-dimensional oscillator at finite P, eV; x = beta hbar omega."""
    e = 2.0 * np.arcsinh(x / (2.0 * n_beads))
    return float(0.75 * x * KT / np.tanh(0.5 * n_beads * e) / np.cosh(0.5 * e))


def oscillator_run(n: int, seed: int, directory: Path | None = None, **setup: object) -> Run:
    """Independent samples of one oscillator's beads, with energies of members."""
    q, k = oscillators(X, N_BEADS, n, 1.0, seed)
    energies = 0.5 * k * np.square(q).sum(axis=(2, 3))  # [frame, bead]
    members = energies[:, None] * (1 + DELTAS)[:, None]
    step = np.arange(n) * 10
    d = q - q.mean(axis=1, keepdims=True)
    virial = 1.5 * KT + 0.5 * k * (d * q).mean(axis=1).sum(axis=(1, 2))
    given = {"temperature": TEMPERATURE, "mode": "nvt", "timestep": 0.5, **setup}
    run = Run.from_arrays(
        Setup(np.array([1]), np.array([1.0]), N_BEADS, forcefields={"oscillator": ""}, **given),  # type: ignore[arg-type]
        step, 0.5 * step,
        {"positions": q, "energies": energies, "member_energies": members},
        {"kinetic_cv": virial}, units={"kinetic_cv": "eV"}, directory=directory,
    )  # fmt: skip
    if directory is not None:
        forces = -k * q[:, None] * (1 + DELTAS)[:, None, None, None]
        write_members(directory / MEMBER_FILE, step, q, energies, members, forces)
    return run


def write_members(
    path: Path, step: np.ndarray, q: np.ndarray, energies: np.ndarray, members: np.ndarray,
    forces: np.ndarray, virials: np.ndarray | None = None,
) -> None:  # fmt: skip
    """members.h5 of these frames, in a box through which the beads are wrapped."""
    box = 20.0
    geometry = Geometry(np.array([1]), np.ones(3, dtype=bool), box * np.eye(3), q[0] % box)
    first = MemberRecord(0, "oscillator", 0, 0.0, geometry,
                         Members(energies[0], members[0], forces[0],
                                 None if virials is None else virials[0]))  # fmt: skip
    MemberFile(path).append([first])
    rows = {
        "step": step, "time": 0.5 * step, "positions": q % box, "energies": energies,
        "member_energies": members, "member_forces": forces,
        "cells": np.broadcast_to(box * np.eye(3), (len(step), 3, 3)),
        "sigma": members.std(axis=1, ddof=1),
    }
    if virials is not None:
        rows["member_virials"] = virials
    with h5py.File(path, "r+") as file:
        for name, values in rows.items():
            data = file[first.group][name]
            data.resize(len(step), axis=0)
            data[...] = values


def averages(found: Uncertainty) -> dict[str, object]:
    return {one.observable.name: one.found for one in found.scalars}


def test_kinetic_energies_need_the_forces_of_each_member(tmp_path: Path) -> None:
    """K_i of each member at finite P; with the forces of what was sampled it shifts the other way.
    """
    run = oscillator_run(6000, 0, tmp_path)
    options = UncertaintyOptions(("potential", "kinetic", "kinetic_cv"), method="direct")
    found = averages(uncertainty_of_run(run, options))
    exact = np.array([kinetic(X * np.sqrt(1 + d), N_BEADS) for d in DELTAS])
    own = found["kinetic"]
    assert np.abs(np.diag(own.matrix) - exact).max() < 4 * own.statistical_error
    assert own.statistical_error < 0.005 * exact.mean()
    assert own.model_error == pytest.approx(exact.std(ddof=1), abs=3 * own.noise)
    assert own.model_error > 5 * own.noise
    # V = K for an oscillator, member by member
    potential = found["potential"]
    assert np.abs(np.diag(potential.matrix) - exact).max() < 4 * potential.statistical_error
    # kinetic_cv falls where the force constant, and so the kinetic energy, rises
    assert np.polyfit(DELTAS, exact, 1)[0] > 0
    assert np.polyfit(DELTAS, np.diag(own.matrix), 1)[0] > 0
    assert np.polyfit(DELTAS, found["kinetic_cv"].matrix[0], 1)[0] < 0


def test_one_bead_alone_would_be_wrong() -> None:
    """<q^2>_i falls with k_i as over all beads; h of one bead gives less than half of it."""
    run = oscillator_run(6000, 1)
    found = averages(uncertainty_of_run(run, UncertaintyOptions(("gyration:H",), method="direct")))
    one = found["gyration:H"]

    def exact(delta: float) -> float:
        x = X * np.sqrt(1 + delta)
        k = kinetic(x, N_BEADS) - 1.5 * KT  # virial: K - 3/2 kT = k Rg^2/2
        return 2 * k / (kinetic_constant() * (1 + delta))

    np.testing.assert_allclose(
        one.matrix[0], [exact(d) for d in DELTAS], atol=4 * one.statistical_error
    )
    assert one.statistical_error < 0.01 * one.mean


def kinetic_constant() -> float:
    return float(oscillators(X, N_BEADS, 1, 1.0, 0)[1])


def test_an_observable_of_every_kind(tmp_path: Path) -> None:
    run = oscillator_run(300, 2)
    steps = run.step[::2]
    table = np.column_stack([steps, np.sin(steps), np.cos(steps), 2 * np.sin(steps)])
    np.savetxt(tmp_path / "a.txt", table)
    names = ("potential", "kinetic_cv", f"a={tmp_path / 'a.txt'}", "gyration:H")
    found = uncertainty_of_run(run, UncertaintyOptions(names))
    assert [one.observable.name for one in found.scalars] == ["potential", "kinetic_cv", "a",
                                                               "gyration:H"]  # fmt: skip
    of_file = found.scalars[2].found
    assert of_file.matrix.shape == (3, 4)
    assert of_file.n_samples == (steps >= found.start).sum()
    assert any("forces of the members" in w for w in found.scalars[1].observable.warnings)


def test_a_radial_distribution_function_of_beads(tmp_path: Path) -> None:
    """Values are those of a plain histogram; members have curves of their own."""
    rng = np.random.default_rng(7)
    n, n_beads, box = 60, 3, 8.0
    numbers = np.array([8] * 6 + [1] * 10)
    q = rng.uniform(0.0, box, size=(n, n_beads, 16, 3))
    energies = rng.normal(size=(n, n_beads)) * 0.1
    members = energies[:, None] + 0.01 * rng.normal(size=(n, 4, n_beads))
    members += (energies - members.mean(axis=1))[:, None]
    cells = np.broadcast_to(box * np.eye(3), (n, 3, 3))
    run = Run.from_arrays(
        Setup(numbers, np.ones(16), n_beads, TEMPERATURE, 0.5, np.ones(3, dtype=bool), "nvt",
              forcefields={"gas": ""}),
        np.arange(n), 0.5 * np.arange(n),
        {"positions": q, "energies": energies, "member_energies": members, "cells": cells},
    )  # fmt: skip
    found = uncertainty_of_run(run, UncertaintyOptions(("rdf:O-H:4:20", "rdf:O-O"), skip=0.0))
    curve = found.curves[0]
    d = q[:, :, :6, None] - q[:, :, None, 6:]
    r = np.linalg.norm(d - box * np.round(d / box), axis=-1)
    shells = 4 / 3 * np.pi * np.diff(np.linspace(0, 4, 21) ** 3)
    counts = np.histogram(r, np.linspace(0, 4, 21))[0] / (n * n_beads)
    np.testing.assert_allclose(curve.found.mean, counts * box**3 / (60 * shells), rtol=1e-9)
    assert curve.found.matrix.shape == (20, 4)
    assert found.curves[1].observable.x[-1] < 4.0  # half of the box
    names = {path.name for path in result_of(found).write(tmp_path)}
    assert {"uncertainty_rdf_O-H.png", "uncertainty_rdf_O-O.png"} < names


def test_pressures_hold_the_virials_of_each_member(tmp_path: Path) -> None:
    """Members about what was sampled: alpha widens them and leaves their mean."""
    q, k = oscillators(X, N_BEADS, 30, 1.0, 8)
    step = np.arange(30) * 10
    energies = 0.5 * k * np.square(q).sum(axis=(2, 3))
    forces = -k * q[:, None] * (1 + DELTAS)[:, None, None, None]
    virials = np.einsum("tbax,tmbay->tmbxy", q, forces)
    path = tmp_path / MEMBER_FILE
    members = energies[:, None] * (1 + DELTAS)[:, None]
    write_members(path, step, q, energies, members, forces, virials)
    group = MemberForces(path, "system_0/oscillator", TEMPERATURE, N_BEADS)
    plain, wide = group.pressure(), group.pressure(alpha=3.0)
    cells = np.broadcast_to(20.0 * np.eye(3), (30, 3, 3))
    for i in range(4):
        expected = pressure_tensors(q, forces[:, i], virials[:, i], cells, TEMPERATURE)
        np.testing.assert_allclose(
            plain[i], np.trace(expected, axis1=1, axis2=2) / 3, rtol=1e-9, atol=1e-15
        )
    np.testing.assert_allclose(wide.mean(axis=0), plain.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(
        wide - wide.mean(axis=0), 3 * (plain - plain.mean(axis=0)), atol=1e-12
    )
    np.testing.assert_allclose(group.members(alpha=3.0).h, 3 * group.members().h, atol=1e-10)
    with pytest.raises(ValueError, match="8 beads, the ring polymer 4"):
        MemberForces(path, "system_0/oscillator", TEMPERATURE, 4)
    with pytest.raises(ValueError, match="one of 2 forcefields"):
        MemberForces(path, "system_0/oscillator", TEMPERATURE, N_BEADS, 2)


def test_results_are_written(tmp_path: Path) -> None:
    found = uncertainty_of_run(oscillator_run(400, 3))
    result = result_of(found)
    paths = result.write(tmp_path)
    assert {path.name for path in paths} == {
        "uncertainty.json", "uncertainty_averages.png", "uncertainty_exponents.png",
    }  # fmt: skip
    told = json.loads(paths[0].read_text())
    potential = told["quantities"][0]
    assert potential["name"] == "potential"
    scalar = told["data"]["scalars"]["potential"]
    assert potential["value"] == scalar["mean"]
    assert scalar["model_error"] == pytest.approx(found.scalars[0].found.model_error)
    assert len(told["tables"][1]["rows"]) == 4
    # 4 members know their spread to 42 % only: one digit
    errors = dict(zip(told["tables"][0]["columns"], told["tables"][0]["rows"][0], strict=True))
    assert errors["model"] == f"{scalar['model_error']:.1g}"


def test_the_beginning_is_left_out() -> None:
    run = oscillator_run(400, 4)
    found = uncertainty_of_run(run, UncertaintyOptions(skip=500.0))
    assert found.start == 1000
    assert found.members.step[0] == 1000
    with pytest.raises(ValueError, match="to be left out"):
        uncertainty_of_run(run, UncertaintyOptions(skip=1e6))


def test_the_beginning_of_members_alone_is_that_of_their_records(tmp_path: Path) -> None:
    """A run of members.h5 and no frames, which goes on from step 5000 of another."""
    run = oscillator_run(400, 4, tmp_path)
    with h5py.File(tmp_path / MEMBER_FILE, "r+") as file:
        group = file["system_0/oscillator"]
        group["step"][...] += 5000
        group["time"][...] += 2500.0
    none = np.zeros(0, dtype=int)
    alone = Run.from_arrays(run.setup, none, none.astype(float), {}, directory=tmp_path)
    found = uncertainty_of_run(alone, UncertaintyOptions(("kinetic",), skip=500.0))
    assert found.start == 6000
    assert found.members.step[0] == 6000
    with pytest.raises(ValueError, match="left out"):
        uncertainty_of_run(alone, UncertaintyOptions(("kinetic",), skip=2000.0))


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("no_such",), "no observable 'no_such'"),
        (("rdf:O-H",), "two elements of the run"),
        (("gyration:O",), "no atom of the run is O"),
        (("a=missing.txt",), "no such file"),
        (("kinetic",), "member-forces-every"),
        (("positions",), "components"),
    ],
)
def test_what_is_not_there_is_told(names: tuple[str, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        uncertainty_of_run(oscillator_run(50, 5), UncertaintyOptions(names))


def test_runs_that_cannot_be_reweighted_are_refused() -> None:
    with pytest.raises(NotCanonical, match="detailed balance"):
        uncertainty_of_run(oscillator_run(50, 6, thermostats=("nm_gle",)))
    with pytest.raises(NotCanonical, match="no temperature"):
        uncertainty_of_run(oscillator_run(50, 6, temperature=None))
    run = oscillator_run(50, 6)
    bare = Run.from_arrays(run.setup, run.step, run.time, {"energies": run.read("energies")})
    with pytest.raises(NotInRecord, match="members"):
        uncertainty_of_run(bare)
