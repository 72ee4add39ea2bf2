"""A run from arrays: frames, blocks, views of what is stored at other steps, words of errors."""

import numpy as np
import pytest

import pimd
from pimd.record.channels import ArrayChannel
from pimd.record.labels import Label
from pimd.record.run import NotInRecord, Run
from pimd.record.series import Series
from pimd.record.setup import Setup

T, P, N, M = 7, 4, 3, 2
RNG = np.random.default_rng(3)
ARRAYS = {
    "positions": RNG.normal(size=(T, P, N, 3)),
    "cells": RNG.normal(size=(T, 3, 3)),
    "energies": RNG.normal(size=(T, P)),
    "member_energies": RNG.normal(size=(T, M, P)),
    "dipole": RNG.normal(size=(T, P, 3)),
}


@pytest.fixture
def run():
    setup = Setup([8, 1, 1], [15.999, 1.008, 1.008], n_beads=P, temperature=300.0, timestep=0.5)
    step = np.arange(T) * 10
    potential = Series("potential", step[::2], 0.5 * step[::2], RNG.normal(size=4), "eV")
    return Run.from_arrays(setup, step, 0.5 * step, ARRAYS, {"potential": potential})


def test_sizes(run):
    assert (run.n_frames, run.n_beads, run.n_atoms, run.n_members) == (T, P, N, M)
    assert run.names == tuple(ARRAYS)
    assert run.setup.symbols == ("O", "H", "H")
    assert run.unit("positions") == "Å"
    assert run.unit("potential") == run.unit("energies") == "eV"


@pytest.mark.parametrize("name", list(ARRAYS))
@pytest.mark.parametrize(
    "frames", [slice(None), slice(1, 6, 2), slice(None, None, -1), np.array([5, 0, 5]), 3, -1]
)
def test_reading_frames_is_indexing(run, name, frames):
    np.testing.assert_array_equal(run.read(name, frames), ARRAYS[name][frames])


@pytest.mark.parametrize("beads", [slice(1, 3), slice(None, None, 2), slice(0, 1)])
def test_beads_are_chosen_on_their_own_axis(run, beads):
    np.testing.assert_array_equal(run.read("positions", beads=beads),
                                  ARRAYS["positions"][:, beads])
    np.testing.assert_array_equal(run.read("member_energies", beads=beads),
                                  ARRAYS["member_energies"][:, :, beads])
    np.testing.assert_array_equal(run.read("cells", beads=beads), ARRAYS["cells"])


@pytest.mark.parametrize("size", [None, 1, 3, 100])
def test_blocks_put_together_are_the_whole(run, size):
    blocks = list(run.blocks(["positions", "energies"], size, start=1, stride=2))
    for name in ("positions", "energies"):
        whole = np.concatenate([block[name] for block in blocks])
        np.testing.assert_array_equal(whole, ARRAYS[name][1::2])
    np.testing.assert_array_equal(np.concatenate([b["step"] for b in blocks]), run.step[1::2])
    if size == 3:
        assert [len(block["step"]) for block in blocks] == [3]


def test_a_block_keeps_to_its_memory(run, monkeypatch):
    monkeypatch.setattr("pimd.record.run.BLOCK_BYTES", 8 * 2 * P * N * 3)
    assert [len(block["step"]) for block in run.blocks(["positions"])] == [2, 2, 2, 1]


def test_a_quantity_stored_at_other_steps_is_read_through_a_view(run):
    steps = np.array([0, 5, 10, 15, 20])
    charges = RNG.normal(size=(5, P, 2))
    run._channels["charges"] = ArrayChannel("charges", steps, 0.5 * steps, charges, P)
    assert not run.has("charges")
    with pytest.raises(NotInRecord, match=r"not at step 30; .* run.common\('charges'\)"):
        run.read("charges")
    np.testing.assert_array_equal(run.read("charges", slice(0, 3)), charges[::2])
    view = run.common("charges")
    np.testing.assert_array_equal(view.step, steps)
    np.testing.assert_array_equal(view.time, 0.5 * steps)
    both = run.common("positions", "charges")
    assert both.step.tolist() == [0, 10, 20]
    np.testing.assert_array_equal(both.read("positions"), ARRAYS["positions"][:3])
    np.testing.assert_array_equal(both.read("charges"), charges[::2])


def test_what_is_missing_is_said_with_the_xml_that_stores_it(run):
    with pytest.raises(NotInRecord, match=r"holds no forces; .*\n.*\[positions, forces\]"):
        run.read("forces")
    with pytest.raises(NotInRecord, match=r"no property kinetic_cv; it has potential.*\n.*<prop"):
        run.properties["kinetic_cv"]
    assert run.properties.get("kinetic_cv") is None
    assert "kinetic_cv" not in run.properties
    with pytest.raises(NotInRecord, match="no label 'x'"):
        run.label("x")


def test_names_of_properties_are_found_with_blanks_or_without():
    setup = Setup([1], [1.0])
    run = Run.from_arrays(setup, [0], [0.0], {}, {"isotope_scfep(2.0;H)": np.array([1.0])})
    assert run.properties["isotope_scfep(2.0; H)"].values.tolist() == [1.0]


def test_labels_of_a_run_in_memory(run):
    label = Label(np.ones((2, P)), "{potential: x}", run.step[[1, 4]])
    run.keep_label("x", label)
    assert run.labels == ("x",)
    found = run.label("x")
    assert found.energies.shape == (T, P)
    assert found.frames.tolist() == [1, 4]
    assert found.name == "x"


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("positions", np.zeros((T, P, N)), "expected"),
        ("energies", np.zeros((T, P + 1)), "expected"),
        ("member_energies", np.zeros((T, P + 1, M)), "n_members"),
        ("dipole", np.zeros((T - 1, P, 3)), "expected 7 frames"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(run, name, values, words):
    with pytest.raises(ValueError, match=words):
        Run.from_arrays(run.setup, run.step, run.time, {name: values})


def test_steps_must_increase(run):
    with pytest.raises(ValueError, match="increase"):
        Run.from_arrays(run.setup, [0, 0], [0.0, 0.0], {})


def test_there_is_nothing_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such run"):
        pimd.open_run(tmp_path / "run")
    with pytest.raises(ValueError, match="holds no run"):
        pimd.open_run(tmp_path)
