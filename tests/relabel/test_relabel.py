"""Stored beads under another potential: exact energies, resuming, labels that are out of date."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import pimd
from pimd.claim import Claim
from pimd.commands.relabel import relabel as command
from pimd.potentials.base import Potential, PotentialError, Prediction
from pimd.record.labels import label_path, read_label
from pimd.record.run import NotInRecord, Run
from pimd.record.setup import Setup
from pimd.relabel import evaluate_frames, relabel
from pimd.relabel.errors import RelabelError
from pimd.relabel.job import Job
from pimd.relabel.ranks import launched_ranks, ranks
from pimd.structure import StructureFailed

T, P, N = 9, 4, 3
TRAP = "{potential: harmonic, k: 2.0}"
POSITIONS = np.random.default_rng(4).normal(size=(T, P, N, 3))


def make_run(positions=POSITIONS, directory=None, first=0):
    setup = Setup([8, 1, 1], [15.999, 1.008, 1.008], n_beads=P, temperature=300.0)
    step = 10 * np.arange(first, first + len(positions))
    arrays = {"positions": positions, "cells": np.tile(30.0 * np.eye(3), (len(positions), 1, 1))}
    return Run.from_arrays(setup, step, 1.0 * step, arrays, directory=directory)


def trap_energies(positions, k=2.0):
    return 0.5 * k * (positions**2).sum(axis=(-1, -2))


class Counting(Potential):
    """E = sum x^2, counted, until a structure reaches beyond a limit."""

    name = "counting"

    def __init__(self, limit=np.inf):
        self.n_structures, self.limit = 0, limit

    def compute(self, batch, wanted):
        for k in range(batch.n_structures):
            if float(batch.structure(k).positions.max()) > self.limit:
                raise StructureFailed(k, "too far out")
        self.n_structures += batch.n_structures
        energies = batch.sum_over_atoms((batch.positions**2).sum(1))
        return Prediction(energies, -2 * batch.positions if wanted.forces else None)


@pytest.mark.parametrize("in_memory", [True, False])
def test_energies_and_forces_are_exact(tmp_path, in_memory):
    run = make_run(directory=None if in_memory else tmp_path)
    label = pimd.relabel(run, TRAP, forces=True)
    np.testing.assert_allclose(label.energies, trap_energies(POSITIONS), rtol=1e-13)
    np.testing.assert_allclose(label.forces, -2.0 * POSITIONS, rtol=1e-13)
    assert run.labels == ("harmonic",)
    assert label.name == "harmonic"
    assert label.frames.tolist() == list(range(T))


@pytest.mark.parametrize("batch_atoms", [1, N, 2 * P * N, 10_000])
def test_the_size_of_batches_changes_nothing(batch_atoms):
    whole = relabel(make_run(), TRAP)
    label = relabel(make_run(), TRAP, batch_atoms=batch_atoms)
    np.testing.assert_array_equal(label.energies, whole.energies)


def test_only_what_is_missing_is_evaluated(tmp_path):
    potential = Counting()
    run = make_run(directory=tmp_path)
    label = relabel(run, potential, name="counting", stride=4)
    assert label.frames.tolist() == [0, 4, 8]
    assert np.isnan(label.energies[1]).all()
    assert potential.n_structures == 3 * P
    label = relabel(run, potential, name="counting", stride=2, stop=6)
    assert label.frames.tolist() == [0, 2, 4, 8]
    assert potential.n_structures == 4 * P
    label = relabel(run, potential, name="counting")
    assert potential.n_structures == T * P
    np.testing.assert_allclose(label.energies, trap_energies(POSITIONS), rtol=1e-13)
    assert label.forces is None
    relabel(run, potential, name="counting")
    assert potential.n_structures == T * P


def test_forces_asked_for_later_are_made_later(tmp_path):
    potential = Counting()
    run = make_run(directory=tmp_path)
    relabel(run, potential, name="counting", stride=2)
    label = relabel(run, potential, name="counting", forces=True, start=1, stop=3)
    assert potential.n_structures == 7 * P
    np.testing.assert_allclose(label.forces[1:3], -2.0 * POSITIONS[1:3])
    assert np.isnan(label.forces[4]).all()
    np.testing.assert_allclose(label.energies[[0, 1, 2, 4, 6, 8]],
                               trap_energies(POSITIONS)[[0, 1, 2, 4, 6, 8]])


def test_what_was_done_before_a_failure_is_kept(tmp_path):
    positions = POSITIONS.clip(max=5.0)
    positions[6, 2] += 20.0
    run = make_run(positions, tmp_path)
    potential = Counting(limit=10.0)
    with pytest.raises(RelabelError, match="step 60, bead 2: too far out"):
        relabel(run, potential, name="counting", batch_atoms=2 * P * N)
    found = read_label(label_path(tmp_path, "counting"))
    assert found.step.tolist() == [0, 10, 20, 30, 40, 50]
    potential.limit = np.inf
    label = relabel(run, potential, name="counting", batch_atoms=2 * P * N)
    np.testing.assert_allclose(label.energies, trap_energies(positions))
    assert potential.n_structures == T * P
    assert not list(tmp_path.glob("labels/.*"))


def test_parts_that_a_kill_left_are_taken_in(tmp_path):
    run = make_run(directory=tmp_path)
    potential = Counting()
    job = Job(run, potential, name="counting")
    from pimd.relabel.parts import LabelParts

    parts = LabelParts(label_path(tmp_path, "counting"), "counting", run)
    for outcome in job._outcomes(np.array([1, 5]), None):
        parts.add(outcome)
    parts.flush()  # and the process is gone
    assert run.labels == ()
    label = relabel(run, potential, name="counting")
    assert potential.n_structures == T * P
    np.testing.assert_allclose(label.energies, trap_energies(POSITIONS))
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["counting.h5"]


def test_two_cannot_make_one_label_at_once(tmp_path):
    run = make_run(directory=tmp_path)
    path = label_path(tmp_path, "counting")
    with Claim(path, ValueError, ""):
        with pytest.raises(RelabelError, match=r"counting\.h5 is being made, by process"):
            relabel(run, Counting(), name="counting")
        relabel(run, Counting(), name="other")
    relabel(run, Counting(), name="counting")
    assert run.labels == ("counting", "other")


def test_frames_that_were_replaced_are_evaluated_again(tmp_path):
    potential = Counting()
    relabel(make_run(directory=tmp_path), potential, name="counting")
    changed = POSITIONS.copy()
    changed[6:] += 0.1  # the run was resumed at step 50
    run = make_run(changed, tmp_path)
    with pytest.raises(NotInRecord, match="positions at step 80 are not those"):
        run.label("counting")
    label = relabel(run, potential, name="counting")
    assert potential.n_structures == (T + 3) * P
    np.testing.assert_allclose(label.energies, trap_energies(changed))


def test_a_run_that_became_longer_keeps_its_label(tmp_path):
    potential = Counting()
    relabel(make_run(POSITIONS[:5], tmp_path), potential, name="counting")
    run = make_run(directory=tmp_path)
    label = run.label("counting")
    assert label.frames.tolist() == [0, 1, 2, 3, 4]
    assert label.step.tolist() == run.step.tolist()
    relabel(run, potential, name="counting")
    assert potential.n_structures == T * P


def test_labels_of_other_potentials_have_other_names(tmp_path):
    run = make_run(directory=tmp_path)
    first = relabel(run, TRAP)
    second = relabel(run, "{potential: harmonic, k: 4.0}")
    assert first.name == "harmonic"
    assert second.name.startswith("harmonic-")
    assert len(run.labels) == 2
    np.testing.assert_allclose(second.energies, 2 * first.energies)
    third = relabel(run, TRAP, name="trap")
    assert third.name == "trap"
    assert relabel(run, TRAP).name == "harmonic"
    with pytest.raises(RelabelError, match=r"is of \{potential: harmonic, k: 2.*another --name"):
        relabel(run, "{potential: harmonic, k: 4.0}", name="trap")


def test_a_committee_gives_the_energies_of_its_members(tmp_path):
    from pimd.potentials.registry import make_potential

    spec = "{potential: committee, members: [{potential: harmonic, k: 1.0}, " \
           "{potential: harmonic, k: 3.0}]}"
    make_potential(spec).close()
    label = relabel(make_run(directory=tmp_path), spec)
    assert label.member_energies.shape == (T, 2, P)
    np.testing.assert_allclose(label.member_energies[:, 0], trap_energies(POSITIONS, 1.0))
    np.testing.assert_allclose(label.member_energies[:, 1], trap_energies(POSITIONS, 3.0))
    np.testing.assert_allclose(label.energies, trap_energies(POSITIONS, 2.0))


def test_periodicity_is_that_of_the_run_unless_the_spec_says_otherwise():
    class Pbc(Counting):
        def compute(self, batch, wanted):
            self.pbc = batch.pbc.numpy().copy()
            return super().compute(batch, wanted)

    potential = Pbc()
    relabel(make_run(), potential, name="counting")
    assert not potential.pbc.any()
    assert Job(make_run(), "{potential: harmonic, k: 1, pbc: True}").pbc.all()


def test_some_frames_without_keeping_anything(tmp_path):
    run = make_run(directory=tmp_path)
    found = evaluate_frames(run, TRAP, np.array([7, 0, 7]))
    np.testing.assert_allclose(found, trap_energies(POSITIONS[[7, 0, 7]]))
    assert not (tmp_path / "labels").exists()


def test_over_the_workers_of_an_executor(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    run = make_run(directory=tmp_path)
    with ThreadPoolExecutor(2) as executor:
        label = relabel(run, TRAP, executor=executor, batch_atoms=P * N)
        with pytest.raises(RelabelError, match="the potential is a SPEC"):
            relabel(run, Counting(), executor=executor)
    np.testing.assert_allclose(label.energies, trap_energies(POSITIONS))


def test_a_failure_in_a_worker_is_that_of_the_call(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    run = make_run(directory=tmp_path)
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(RelabelError, match="stillinger_weber is for silicon"),
    ):
        relabel(run, "stillinger_weber", executor=executor)


def test_a_potential_that_is_none():
    with pytest.raises(PotentialError):
        relabel(make_run(), "nonsense")


def test_a_potential_that_is_ready_made_needs_a_name(tmp_path):
    with pytest.raises(RelabelError, match=r"counting is ready made: .* give a name"):
        relabel(make_run(directory=tmp_path), Counting())
    assert relabel(make_run(), Counting()).name == "counting"


def test_without_cells_nothing_is_periodic():
    run = make_run()
    bare = Run.from_arrays(run.setup, run.step, run.time, {"positions": POSITIONS})
    np.testing.assert_array_equal(relabel(bare, TRAP).energies, relabel(run, TRAP).energies)


def test_there_are_no_positions():
    run = Run.from_arrays(Setup([1], [1.0]), [0], [0.0], {"cells": np.eye(3)[None]})
    with pytest.raises(NotInRecord, match="holds no positions"):
        relabel(run, TRAP)


def test_the_command(tmp_path):
    from pimd.record.h5md_file import H5MDFile
    from pimd.record.h5md_layout import Field, SystemLayout

    layout = SystemLayout(
        np.array([8, 1, 1]), np.array([15.999, 1.008, 1.008]), ("O", "H", "H"),
        np.zeros(3, dtype=bool), P, 300.0, 0.5,
        (Field("cells", "cell", (3, 3), "Angstrom"),
         Field("positions", "beads", (P, N, 3), "Angstrom")),
    )
    file = H5MDFile(tmp_path / "sim.trajectory.h5", [0])
    for k in range(T):
        file.append(0, layout, {
            "step": np.array(10 * k), "time": np.array(5.0 * k), "cells": 30.0 * np.eye(3),
            "positions": POSITIONS[k],
        })
    file.close()
    app = typer.Typer()
    app.command()(command)
    runner = CliRunner()
    done = runner.invoke(app, [str(tmp_path), "--potential", TRAP, "--forces", "--stride", "2"])
    assert done.exit_code == 0, done.output
    assert f"labels/harmonic.h5: 5 of {T} frames, {P} beads each" in done.output.replace("\n", "")
    label = pimd.open_run(tmp_path).label("harmonic")
    np.testing.assert_allclose(label.energies[::2], trap_energies(POSITIONS[::2]))
    np.testing.assert_allclose(label.forces[::2], -2.0 * POSITIONS[::2])
    done = runner.invoke(app, [str(tmp_path), "--potential", "stillinger_weber"])
    assert done.exit_code == 2
    assert "is for silicon" in done.output


def test_without_mpiexec_there_is_one_rank(monkeypatch):
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert launched_ranks() == 1
    with ranks() as mine:
        assert mine.leads
        assert mine.executor is None
    monkeypatch.setenv("PMI_SIZE", "4")
    assert launched_ranks() == 4
    monkeypatch.delenv("PMI_SIZE")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert launched_ranks() == 1  # of a batch job, outside srun
    monkeypatch.setenv("PMIX_RANK", "0")
    assert launched_ranks() == 8


def test_a_label_is_told_from_other_files(tmp_path):
    path = label_path(tmp_path, "x")
    path.parent.mkdir()
    path.write_text(json.dumps({}))
    with pytest.raises(NotInRecord, match="cannot be read"):
        read_label(path)
