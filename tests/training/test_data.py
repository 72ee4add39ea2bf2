"""Reading labels, splitting them, and the composition baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from labelled import clusters, labelled, write_labels

from pimd.evaluate import evaluate_file
from pimd.structure import Structure
from pimd.training.baseline import fit_baseline, given_baseline, refuse_outliers
from pimd.training.data import DataError, Labelled, read_labels, split


def mixed(n: int, seed: int = 0) -> list[Labelled]:
    """Structures of O and H in all ratios, with energies still to be given."""
    rng = np.random.default_rng(seed)
    return [
        Labelled(
            Structure(rng.choice([1, 8], size), rng.uniform(0, 5, (size, 3))),
            0.0, np.zeros((size, 3)), f"frame {k}",
        )
        for k, size in enumerate(rng.integers(2, 7, n))
    ]  # fmt: skip


def with_energies(data: list[Labelled], energies: np.ndarray) -> list[Labelled]:
    return [
        Labelled(one.structure, float(e), one.forces, one.frame)
        for one, e in zip(data, energies, strict=True)
    ]


def test_reads_what_evaluate_writes(tmp_path: Path) -> None:
    data = labelled(clusters(5, seed=1))
    write(tmp_path / "bare.xyz", [one.structure.to_ase() for one in data])
    spec = "lennard_jones, sigma: 2.5, epsilon: 0.05, cutoff: 6.0"
    evaluate_file(tmp_path / "bare.xyz", spec, tmp_path / "labels.extxyz")
    found, left_out = read_labels(tmp_path / "labels.extxyz")
    assert not left_out
    for one, expected in zip(found, data, strict=True):
        assert np.allclose(one.structure.positions, expected.structure.positions, atol=1e-7)
        assert one.energy == pytest.approx(expected.energy, abs=1e-6)
        assert np.allclose(one.forces, expected.forces, atol=1e-6)


def test_reads_what_ase_writes(tmp_path: Path) -> None:
    """A calculator's results come back under plain names; REF_ names win over them."""
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])
    forces = np.array([[0, 0, 0.5], [0, 0, -0.5]])
    atoms.calc = SinglePointCalculator(atoms, energy=-1.25, forces=forces)
    write(tmp_path / "plain.extxyz", atoms)
    (one,), _ = read_labels(tmp_path / "plain.extxyz")
    assert one.energy == -1.25
    assert np.array_equal(one.forces, forces)
    atoms.info["REF_energy"] = -7.5
    write(tmp_path / "both.extxyz", atoms)
    (one,), _ = read_labels(tmp_path / "both.extxyz")
    assert one.energy == -7.5
    (one,), _ = read_labels(tmp_path / "both.extxyz", energy_key="energy")
    assert one.energy == -1.25


def test_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_labels(tmp_path / "none.extxyz")
    data = labelled(clusters(2, seed=1))
    path = write_labels(tmp_path / "odd.extxyz", data, energy="DFT")
    with pytest.raises(DataError, match=r"odd.extxyz, frame 0: no energy.*DFT.*--energy-key"):
        read_labels(path)
    found, _ = read_labels(path, energy_key="DFT")
    assert found[1].energy == pytest.approx(data[1].energy)
    path = write_labels(tmp_path / "bare.extxyz", data)
    path.write_text(path.read_text().replace("forces:R:3", "velo:R:3"))
    with pytest.raises(DataError, match=r"frame 0: no forces"):
        read_labels(path)


def test_refuses_bad_numbers(tmp_path: Path) -> None:
    data = labelled(clusters(30, seed=2))
    broken = Labelled(data[3].structure, float("nan"), data[3].forces, "")
    path = write_labels(tmp_path / "nan.extxyz", [*data[:3], broken])
    with pytest.raises(DataError, match="frame 3: energy that are not finite"):
        read_labels(path)
    huge = Labelled(data[3].structure, data[3].energy, data[3].forces + 200.0, "")
    found, left_out = read_labels(write_labels(tmp_path / "huge.extxyz", [*data, huge]))
    assert len(found) == 30
    assert len(left_out) == 1
    assert "frame 30" in left_out[0]
    path = write_labels(tmp_path / "all.extxyz", [huge, *data[:2]])
    with pytest.raises(DataError, match="--max-force"):
        read_labels(path)
    found, left_out = read_labels(path, max_force=1e4)
    assert len(found) == 3
    assert not left_out


def test_split_shares_nothing_and_follows_the_seed() -> None:
    data = mixed(50)
    one = split(data, 0.2, 0.1, seed=3)
    sizes = [len(one.train), len(one.validation), len(one.test)]
    assert sizes == [35, 10, 5]
    frames = [d.frame for part in (one.train, one.validation, one.test) for d in part]
    assert sorted(frames) == sorted(d.frame for d in data)
    assert [d.frame for d in split(data, 0.2, 0.1, seed=3).train] == frames[:35]
    assert [d.frame for d in split(data, 0.2, 0.1, seed=4).train] != frames[:35]
    own = split(data, mixed(4, seed=9), 0.0, seed=3)
    assert [len(own.train), len(own.validation), len(own.test)] == [50, 4, 0]


def test_split_refuses_what_cannot_work() -> None:
    data = mixed(4)
    with pytest.raises(DataError, match="at least one of each"):
        split(data, 0.0, 0.0, seed=0)
    with pytest.raises(DataError, match="--test is a share"):
        split(data, 0.2, 1.5, seed=0)
    with pytest.raises(DataError, match="C is in no structure of the training set"):
        split(data, labelled(clusters(1, seed=0, number=6), "free"), 0.0, seed=0)


def test_baseline_is_exact_where_energies_are_sums() -> None:
    data = mixed(20)
    counts = np.array([[(d.structure.numbers == z).sum() for z in (1, 8)] for d in data])
    energies = counts @ [-13.6, -2041.8]
    data = with_energies(data, energies)
    found = fit_baseline(data, (1, 8))
    assert found == pytest.approx([-13.6, -2041.8], rel=1e-10)
    refuse_outliers(data, (1, 8), found)
    assert given_baseline({"O": -2041.8, "H": -13.6}, (1, 8)).tolist() == [-13.6, -2041.8]
    with pytest.raises(DataError, match="lacks O"):
        given_baseline({"H": -13.6}, (1, 8))


def test_energy_of_another_method_is_refused() -> None:
    data = mixed(20)
    energies = np.array([-10.0 * len(d.structure) for d in data])
    energies[7] -= 1000.0
    data = with_energies(data, energies)
    with pytest.raises(DataError, match=r"frame 7: its energy is .* off the other"):
        refuse_outliers(data, (1, 8), np.array([-10.0, -10.0]))
