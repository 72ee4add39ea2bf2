"""Distributions of runs whose structure is known: oscillators, an ideal gas, a committee."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from oscillator_rings import KT, TEMPERATURE, oscillators

from pimd.analysis.distribution_result import distributions_result
from pimd.analysis.distribution_sampling import plan_pairs
from pimd.analysis.distributions import (
    Distribution,
    DistributionOptions,
    Distributions,
    distributions_of_run,
)
from pimd.analysis.peaks import highest_peak, minimum_after
from pimd.analysis.rdf import Bins, largest_distance
from pimd.analysis.start import first_frame
from pimd.record.missing import NotInRecord
from pimd.record.run import Run
from pimd.record.setup import Setup

MASS_H, MASS_O = 1.00794, 15.9994
N_FRAMES = 2000
SPRING = 5.0
"""beta hbar omega of the bond below."""


def stretching(n_beads: int, n_frames: int = N_FRAMES) -> tuple[Run, float]:
    """An oxygen at rest with a hydrogen that swings along x about 1 Å; and k, eV/Å^2."""
    q, k = oscillators(SPRING, n_beads, n_frames, MASS_H, seed=n_beads)
    q[..., 1:] = 0.0
    forces = np.zeros((n_frames, n_beads, 2, 3))
    forces[:, :, 1:] = -k * q
    x = np.zeros_like(forces)
    x[:, :, 1] = q[:, :, 0] + [1.0, 0.0, 0.0]
    setup = Setup(np.array([8, 1]), np.array([MASS_O, MASS_H]), n_beads, TEMPERATURE, 0.5)
    step = 10 * np.arange(n_frames)
    arrays = {"positions": x, "forces": forces, "cells": np.zeros((n_frames, 3, 3)) + np.eye(3)}
    return Run.from_arrays(setup, step, 0.5 * step, arrays), k


def one(found: Distributions, kind: str, of: str, name: str = "H-O") -> Distribution:
    return next(d for d in found.found if (d.kind, d.of, d.name) == (kind, of, name))


def test_bond_of_an_oscillator_over_beads_and_centroids() -> None:
    """<x^2> = E/(m omega^2) over 8 beads, kT/k of their centroid; error bars that say so."""
    run, k = stretching(8)
    found = distributions_of_run(run)
    hbar_omega = SPRING * KT
    for of, variance in (("beads", 0.48424396 * hbar_omega / k), ("centroids", KT / k)):
        bond = one(found, "bond", of)
        assert bond.mean is not None
        assert bond.mean.error < 0.003
        assert abs(bond.mean.mean - 1.0) < 4 * bond.mean.error
        assert bond.width_error < 0.025 * bond.width
        assert abs(bond.width - math.sqrt(variance)) < 4 * bond.width_error
        x = bond.curve.bins.centres
        assert bond.curve.mean.sum() * bond.curve.bins.width == pytest.approx(1.0, abs=1e-3)
        exact = np.exp(-0.5 * (x - 1.0) ** 2 / variance) / math.sqrt(2 * math.pi * variance)
        inside = exact > 0.3 * exact.max()
        off = np.abs(bond.curve.mean - exact)[inside] / bond.curve.error[inside]
        assert off.max() < 4.5
        assert 0.5 < np.mean(off < 1.0) < 0.9


def test_momentum_width_of_an_oscillator() -> None:
    run, _ = stretching(8)
    found = distributions_of_run(run).momenta
    by_symbol = {width.symbol: width for width in found}
    hydrogen = by_symbol["H"]
    exact = hydrogen.classical * math.sqrt(SPRING * 0.48424396)  # E/kT along x
    assert abs(hydrogen.directions[0] - exact) < 4 * hydrogen.direction_errors[0]
    assert hydrogen.directions[1] == pytest.approx(hydrogen.classical)
    assert by_symbol["O"].width == pytest.approx(by_symbol["O"].classical)


def test_momentum_width_from_columns_alone() -> None:
    run, _ = stretching(1, 50)
    arrays = {name: run.read(name) for name in ("positions", "cells")}
    columns = {"kinetic_cv(H)": np.full(50, 0.150), "kinetic_cv": np.full(50, 0.2)}
    bare = Run.from_arrays(run.setup, run.step, run.time, arrays, properties=columns)
    (width,) = distributions_of_run(bare).momenta
    assert (width.symbol, width.kinetic.mean) == ("H", pytest.approx(0.150))
    none = distributions_of_run(Run.from_arrays(run.setup, run.step, run.time, arrays))
    assert not none.momenta
    assert any("kinetic_cv(" in note for note in none.notes)


def gas(n_frames: int = 400, n_beads: int = 2) -> Run:
    """5 H and 4 O without interactions; two members of a committee, one wants two of them near."""
    rng = np.random.default_rng(7)
    cell = np.array([[8.0, 0.0, 0.0], [1.0, 8.0, 0.0], [0.0, 2.0, 8.0]])
    x = rng.uniform(size=(n_frames, n_beads, 9, 3)) @ cell
    setup = Setup(
        np.array([1] * 5 + [8] * 4), np.array([MASS_H] * 5 + [MASS_O] * 4), n_beads, TEMPERATURE,
        0.5, pbc=np.ones(3, dtype=bool),
    )  # fmt: skip
    energies = np.zeros((n_frames, n_beads))
    near = np.linalg.norm(x[:, :, 0] - x[:, :, 5], axis=-1) < 4.0
    members = 0.5 * KT * np.stack([-1.0 * near, 1.0 * near], axis=1)
    step = np.arange(n_frames)
    arrays = {
        "positions": x, "cells": np.stack([cell] * n_frames), "energies": energies,
        "member_energies": members,
    }
    return Run.from_arrays(setup, step, 5.0 * step, arrays)


def test_ideal_gas_has_g_of_one_and_its_neighbours() -> None:
    found = distributions_of_run(gas(), DistributionOptions(internals=False, n_bins=20))
    assert [(d.name, d.of) for d in found.found] == [
        (name, of) for name in ("H-H", "H-O", "O-O") for of in ("beads", "centroids")
    ]
    for name in ("H-H", "H-O", "O-O"):
        curve = one(found, "rdf", "beads", name).curve
        off = np.abs(curve.mean - 1.0)[3:] / curve.error[3:]
        assert off.max() < 4.0
        assert curve.error[10:].max() < 0.10
        assert curve.model_error is not None
        assert (curve.model_error[10:] > 0).all()


def test_neighbours_are_those_of_g() -> None:
    """4 pi rho int g r^2 dr, up to the same bin."""
    kind = plan_pairs(["H"] * 5 + ["O"] * 4, gas().read("cells"), 0.0, pairs=["O-H", "O-O"])
    run = gas(20)
    from pimd.analysis.distribution_sampling import sample

    sample(run, kind)
    volume = 512.0
    for pair, others in zip(kind, (4, 3), strict=True):
        edges = pair.bins.edges
        g = np.concatenate(pair.curves["beads"])
        expected = (g * 4 / 3 * math.pi * np.diff(edges**3)).sum(axis=1) * others / volume
        np.testing.assert_allclose(
            np.concatenate(pair.neighbours["beads"]).sum(axis=1), expected, rtol=1e-12
        )


def test_result_has_numbers_tables_and_figures(tmp_path: Path) -> None:
    run, _ = stretching(4, 60)
    result = distributions_result(distributions_of_run(run), "a bond")
    files = {path.name for path in result.write(tmp_path)}
    assert files == {
        "distributions.json", "distributions_distances.png", "distributions_bonds.png",
        "distributions_momentum.png",
    }  # fmt: skip
    data = json.loads((tmp_path / "distributions.json").read_text())
    names = [q["name"] for q in data["quantities"]]
    assert "bond H-O, beads: mean" in names
    assert "momentum width of H" in names
    assert len(data["data"]["distributions"][0]["x"]) == 200
    gas_files = distributions_result(distributions_of_run(gas(50)), "a gas").write(tmp_path)
    assert "distributions_rdf.png" in {path.name for path in gas_files}


def test_centroids_alone_will_do() -> None:
    run, k = stretching(8)
    arrays = {"centroids": run.read("positions").mean(axis=1), "cells": run.read("cells")}
    bare = Run.from_arrays(run.setup, run.step, run.time, arrays)
    found = distributions_of_run(bare)
    assert {d.of for d in found.found} == {"centroids"}
    bond = one(found, "bond", "centroids")
    assert abs(bond.width - math.sqrt(KT / k)) < 4 * bond.width_error


def test_what_cannot_be_is_refused_in_words() -> None:
    run = gas(10)
    for pairs, words in ((["H-X"], "H, O"), (["H"], "two elements"), (["H-O-H"], "two elements")):
        with pytest.raises(ValueError, match=words):
            distributions_of_run(run, DistributionOptions(pairs=pairs))
    with pytest.raises(ValueError, match="nearest images"):
        distributions_of_run(run, DistributionOptions(r_max=5.0))
    reach = largest_distance(run.read("cells"))
    half = DistributionOptions(r_max=reach * (1 + 1e-6), internals=False)
    assert distributions_of_run(run, half).found[0].curve.bins.stop == pytest.approx(reach)
    with pytest.raises(ValueError, match="cover"):
        distributions_of_run(run, DistributionOptions(skip=1e6))
    nothing = Run.from_arrays(run.setup, run.step, run.time, {"energies": run.read("energies")})
    with pytest.raises(NotInRecord, match="positions"):
        distributions_of_run(nothing)


def test_start_is_asked_for_or_found() -> None:
    run = gas(300)
    energies = run.read("energies").copy()
    energies += np.random.default_rng(0).normal(size=energies.shape)
    energies[:80] += 30.0 * np.exp(-np.arange(80) / 15.0)[:, None]
    arrays = {"positions": run.read("positions"), "energies": energies}
    late = Run.from_arrays(run.setup, run.step, run.time, arrays)
    assert 30 <= first_frame(late)[0] <= 90
    assert first_frame(late, 500.0)[0] == 100
    assert first_frame(late, 0.0)[0] == 0
    bare = Run.from_arrays(run.setup, run.step, run.time, {"positions": run.read("positions")})
    start, (note,) = first_frame(bare)
    assert start == 0
    assert "no potential energy" in note


def test_peaks_of_a_known_curve() -> None:
    """A parabola's vertex is found exactly, between bins."""
    bins = Bins(0.0, 4.0, 40)
    curve = np.maximum(0.0, 3.0 - 8.0 * (bins.centres - 1.234) ** 2)
    curve[25:] = 1.2
    peak = highest_peak(bins, np.tile(curve, (50, 1)))
    assert peak.position == pytest.approx(1.234)
    assert peak.height == pytest.approx(3.0)
    assert peak.height_error == pytest.approx(0.0, abs=1e-12)
    lowest = minimum_after(bins, curve)
    assert lowest is not None
    assert curve[lowest] == 0.0
    assert minimum_after(bins, np.linspace(1.0, 2.0, 40)) is None
