"""The H5MD record of whole runs: what is in it, and that no frame is lost or doubled."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ipi.utils.nmtransform import nm_rescale

from pimd.record.h5md_file import opened, was_closed
from pimd.record.h5md_pending import pending_file
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HARTREE_EV

from .runs import ODD, Running, pimd, read_rows, write_input
from .test_several import HEAD, SOCKET, structure, system

RECORD = """<trajectory format='h5md' filename='all' stride='{stride}'>
  [ positions, velocities, forces, energies, x_centroid, temperature, kinetic_cv, potential,
    pressure_md{{megapascal}}, atom_x(atom=1) ] </trajectory>"""
IPI_EV = 0.036749326 * HARTREE_EV
"""i-PI's electronvolt, with which it writes text, in eV."""
IPI_KELVIN = 3.1668152e-06 * HARTREE_EV
"""i-PI's kelvin, with which it reads and writes temperatures, in eV."""
CHECKPOINT = "<checkpoint filename='chk' stride='5'/>"


def record_input(folder: Path, stride: int = 2, wanted: str = "", **options: Any) -> Path:
    spec = options.pop("spec", "{potential: harmonic, k: 1.0}")
    wanted = wanted or RECORD.format(stride=stride)
    checkpoint = options.pop("checkpoint", CHECKPOINT)
    return write_input(folder, spec, checkpoint=wanted + checkpoint, **options)


def contents(path: Path) -> dict[str, np.ndarray]:
    """Everything that grows in a record of one system."""
    with opened(path) as file:
        fields = json.loads(file["parameters/system_0"].attrs["fields"])
        edges = file["particles/system_0/box/edges"]
        found = {name: file[field["path"]][:] for name, field in fields.items()}
        return {**found, "step": edges["step"][:], "time": edges["time"][:]}


def assert_same_records(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys()
    for name, values in first.items():
        exact = values.dtype.kind in "iOb"
        np.testing.assert_allclose(
            values, second[name], rtol=0 if exact else 1e-9, atol=0 if exact else 1e-11,
            err_msg=name,
        )


def test_a_record_agrees_with_the_outputs_of_i_pi(tmp_path: Path) -> None:
    done = pimd("run", record_input(tmp_path, steps=12))
    assert done.returncode == 0, done.stdout
    folder = tmp_path / "input.run"
    assert not pending_file(folder / "sim.all.h5").exists()
    assert was_closed(folder / "sim.all.h5")
    rows = np.array(read_rows(folder / "sim.out"))
    with h5py.File(folder / "sim.all.h5") as file:
        beads, observables = file["particles/system_0"], file["observables/system_0"]
        assert beads["position/step"][:].tolist() == list(range(0, 13, 2))
        np.testing.assert_allclose(beads["position/time"][:], 0.5 * np.arange(0, 13, 2))
        positions = beads["position/value"][:].reshape(7, 4, 3, 3)  # [frame, bead, atom, xyz]
        forces = beads["forces/value"][:].reshape(positions.shape)
        velocities = beads["velocity/value"][:].reshape(positions.shape)
        np.testing.assert_allclose(forces, -positions, rtol=1e-12)  # of k = 1 eV/Å^2
        energies = observables["energies/value"][:]
        np.testing.assert_allclose(
            energies, 0.5 * (positions**2).sum(axis=(-2, -1)), rtol=1e-12
        )
        potential = observables["potential/value"][:]
        np.testing.assert_allclose(potential, energies.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(potential, IPI_EV * rows[:, 2], rtol=6e-9)  # 9 digits
        np.testing.assert_allclose(
            observables["kinetic_cv/value"][:], IPI_EV * rows[:, 3], rtol=6e-9
        )
        np.testing.assert_allclose(
            file["particles/system_0_centroid/position/value"][:], positions.mean(axis=1),
            rtol=0, atol=1e-14,
        )
        np.testing.assert_allclose(
            observables["atom_x(atom=1)/value"][:],
            positions[:, :, 1].mean(axis=1), rtol=0, atol=1e-14,
        )
        assert observables["pressure_md/value"].attrs["unit"] == "megapascal"
        mass = file["parameters/system_0/masses"][0] * AMU_ANGSTROM2_PER_FS2_EV
        kinetic = 0.5 * mass * (velocities**2).sum(axis=(-2, -1))  # [frame, bead], eV
        expected = kinetic.mean(axis=1) / (0.5 * 9 * IPI_KELVIN) / 4  # the beads are at 4 T
        np.testing.assert_allclose(observables["temperature/value"][:], expected, rtol=1e-7)


LONG: dict[str, Any] = {
    "stride": 1, "steps": 60, "beads": 16, "atoms": 40,  # 16 frames in a chunk
    "spec": f"{{potential: {ODD}:Trap, pause: 0.02}}",
}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("straight")
    done = pimd("run", record_input(folder, **LONG | {"spec": f"{{potential: {ODD}:Trap}}"}))
    assert done.returncode == 0, done.stdout
    return folder / "input.run" / "sim.all.h5"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_with_the_same_record(
    tmp_path: Path, straight: Path, number: signal.Signals
) -> None:
    xml = record_input(tmp_path, **LONG)
    with Running(xml) as run:
        run.wait_for_rows(tmp_path / "input.run" / "sim.out", 13)  # 24 frames
        run.send(number)
        run.process.wait(60)
    path = tmp_path / "input.run" / "sim.all.h5"
    assert was_closed(path) == (number == signal.SIGINT)
    done = pimd("run", xml, "--resume")
    assert done.returncode == 0, done.stdout
    if number == signal.SIGKILL:
        assert "sim.all.h5: " in done.stdout
    assert_same_records(path, straight)
    assert contents(path)["step"].tolist() == list(range(61))


def test_a_record_that_lacks_frames_is_refused(tmp_path: Path) -> None:
    xml = record_input(tmp_path, steps=12)
    assert pimd("run", xml).returncode == 0
    folder = tmp_path / "input.run"
    (folder / "other").mkdir()
    shorter = record_input(folder / "other", steps=4)
    assert pimd("run", shorter).returncode == 0
    os.replace(folder / "other/input.run/sim.all.h5", folder / "sim.all.h5")
    refused = pimd("run", xml, "--resume", "--steps", "20")
    assert refused.returncode == 2
    assert "it ends at step 4, and there should be a frame of step 12" in refused.stdout


def test_what_nobody_knows_ends_the_run_with_its_name(tmp_path: Path) -> None:
    wanted = "<trajectory format='h5md' filename='all'> [ positions, dipole ] </trajectory>"
    done = pimd("run", record_input(tmp_path, wanted=wanted))
    assert done.returncode == 1
    assert "'dipole', which is neither a property of i-PI nor an extra" in done.stdout


def test_systems_share_a_file_and_members_stand_in_for_the_whole(tmp_path: Path) -> None:
    """A committee that is contracted and has a weight, and one that corrects a baseline."""
    structure(tmp_path, "one.xyz", "HHO")
    structure(tmp_path, "two.xyz", "HO")
    sockets = [
        SOCKET.format(name="plain", spec="{potential: harmonic, k: 0.5}"),
        SOCKET.format(name="few", spec=f"{{potential: {ODD}:Committee}}"),
        "<ffcommittee name='pair'>", SOCKET.format(name="base", spec="{potential: harmonic, k: 1}"),
        SOCKET.format(name="learned", spec=f"{{potential: {ODD}:Committee}}"),
        "<baseline_name> base </baseline_name><baseline_uncertainty units='electronvolt'> 0.02 "
        "</baseline_uncertainty><parse_json> True </parse_json></ffcommittee>",
    ]
    one = system("one.xyz", "plain", "few", prefix="a").replace(
        "<force forcefield='few' />", "<force forcefield='few' weight='0.3' nbeads='2'/>"
    )
    two = system("two.xyz", "pair", prefix="b")
    head = HEAD.format(threading="").replace("</output>", """
      <trajectory format='h5md' filename='all' stride='3'> [ positions, energies, members ]
      </trajectory></output>""")
    xml = tmp_path / "input.xml"
    xml.write_text(head + "".join(sockets) + one + two + "</simulation>")
    done = pimd("run", xml)
    assert done.returncode == 0, done.stdout
    assert sorted(p.name for p in (tmp_path / "input.run").glob("*.h5*")) == ["sim.all.h5"]
    deviations = np.array([-0.06, -0.02, 0.03, 0.05])
    with h5py.File(tmp_path / "input.run" / "sim.all.h5") as file:
        for index, n_atoms in enumerate((3, 2)):
            beads, seen = file[f"particles/system_{index}"], file[f"observables/system_{index}"]
            assert beads["position/step"][:].tolist() == [0, 3, 6]
            positions = beads["position/value"][:].reshape(3, 4, n_atoms * 3)
            energies, members = seen["energies/value"][:], seen["member_energies/value"][:]
            full = 0.5 * (positions**2).sum(axis=-1)  # [frame, bead], k = 1 eV/Å^2
            if index == 1:
                variance = (0.02 * IPI_EV) ** 2
                mixing = variance / (variance + (full * deviations.std(ddof=1)) ** 2)
                np.testing.assert_allclose(energies, (1.0 + mixing) * full, rtol=1e-10)
                spread = full[:, None] * (2.0 + deviations[:, None]) - energies[:, None]
            else:
                contraction = nm_rescale(4, 2)
                inner = np.array([0.5 * (contraction.b1tob2(q) ** 2).sum(-1) for q in positions])
                mean = np.array([contraction.b2tob1(row) for row in inner])
                np.testing.assert_allclose(energies, 0.5 * full + 0.3 * mean, rtol=1e-10)
                spread = 0.3 * mean[:, None] * deviations[:, None]
            np.testing.assert_allclose(members - energies[:, None], spread, rtol=1e-9, atol=1e-15)
