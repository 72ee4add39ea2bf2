"""What a run shows, keeps and does about uncertainty, against a committee known exactly.

`odd_potentials.py:Committee` is a set of traps V_i = k/2 (1 + d_i) sum |x|^2 with sum d_i = 0, so
that sigma = std(d) V, and the members' forces are -k (1 + d_i) x.
"""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.io import read

from .odd_potentials import Committee
from .runs import ODD, Running, pimd, read_rows, summary, write_input
from .test_run import assert_same_outputs

K = 1.0
DEVIATIONS = np.array(Committee.deviations)
SPREAD = DEVIATIONS.std(ddof=1)
STEPS, BEADS, ATOMS = 24, 4, 3
SAVE, SPACING = 0.0005, 7


def committee_input(folder: Path, spec: str = "Committee", **options: object) -> Path:
    more = "".join(f", {key}: {value}" for key, value in options.items())
    return write_input(
        folder, f"{{potential: {ODD}:{spec}{more}}}", steps=STEPS, beads=BEADS, atoms=ATOMS
    )


def members(run: Path, group: str = "system_0/driver") -> dict[str, np.ndarray]:
    with h5py.File(run / "members.h5") as file:
        return {name: data[:] for name, data in file[group].items()}


def assert_same_members(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert set(one) == set(other)
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run that keeps everything; its folder."""
    folder = tmp_path_factory.mktemp("straight")
    done = pimd(
        "run", committee_input(folder), "--interval", "0", "--member-forces-every", "1",
        "--save-above", SAVE, "--save-spacing", SPACING,
    )
    assert done.returncode == 0, done.stdout
    (folder / "stdout").write_text(done.stdout)
    return folder


def sigma_per_atom(straight: Path) -> np.ndarray:
    """[step, bead], eV, of the whole run."""
    return members(straight / "input.run")["sigma"] / ATOMS


def test_members_in_the_file_are_those_of_the_potential(straight: Path) -> None:
    found = members(straight / "input.run")
    assert found["step"].tolist() == list(range(STEPS + 1))
    np.testing.assert_allclose(found["time"], 0.5 * np.arange(STEPS + 1), rtol=1e-12)
    x = found["positions"]  # [step, bead, atom, xyz]
    factors = K * (1.0 + DEVIATIONS)
    energies = 0.5 * K * (x**2).sum((2, 3))
    np.testing.assert_allclose(found["energies"], energies, rtol=1e-12)
    np.testing.assert_allclose(
        found["member_energies"], (1.0 + DEVIATIONS)[:, None] * energies[:, None], rtol=1e-12
    )
    np.testing.assert_allclose(
        found["member_forces"], -factors[:, None, None, None] * x[:, None], rtol=1e-12, atol=1e-14
    )
    virials = -np.einsum("tbax,tbay->tbxy", x, x)
    np.testing.assert_allclose(
        found["member_virials"], factors[:, None, None, None] * virials[:, None],
        rtol=1e-12, atol=1e-14,
    )
    np.testing.assert_allclose(found["sigma"], SPREAD * energies, rtol=1e-10)
    with h5py.File(straight / "input.run" / "members.h5") as file:
        group = file["system_0/driver"]
        assert group.attrs["numbers"].tolist() == [1] * ATOMS
        assert group["member_forces"].attrs["unit"] == "eV/angstrom"
        assert group["time"].attrs["unit"] == "fs"


def test_positions_in_the_file_are_those_of_the_step(straight: Path) -> None:
    run = straight / "input.run"
    found = members(run)["positions"]
    for bead in range(BEADS):
        frames = (run / f"sim.pos_{bead}.xyz").read_text().splitlines()
        assert re.search(r"Step: +4 ", frames[1 + (ATOMS + 2)])
        rows = frames[(ATOMS + 2) + 2 : 2 * (ATOMS + 2)]  # the second frame: step 4
        printed = np.array([[float(w) for w in row.split()[1:]] for row in rows])
        np.testing.assert_allclose(found[4, bead], printed, rtol=1e-5, atol=1e-6)


def test_progress_and_summary_tell_sigma(straight: Path) -> None:
    exact = 1000.0 * sigma_per_atom(straight)
    text = (straight / "stdout").read_text()
    lines = re.findall(r"step (\d+)/.* sigma ([\d.]+) \(max ([\d.]+)\) meV/atom", text)
    assert len(lines) == STEPS
    for step, mean, largest in lines:
        assert float(mean) == pytest.approx(exact[int(step)].mean(), abs=0.0051)
        assert float(largest) == pytest.approx(exact[int(step)].max(), abs=0.0051)
    told = summary(straight / "input.run")["uncertainty"]
    one = told["committees"]["driver"]
    after = exact[1:] / 1000.0
    assert one["mean"] == pytest.approx(after.mean(), rel=1e-9)
    assert one["max"] == pytest.approx(after.max(), rel=1e-9)
    step, bead = np.unravel_index(after.argmax(), after.shape)
    assert (one["max_at"]["step"], one["max_at"]["bead"]) == (step + 1, bead)
    assert one["steps_read"] == STEPS
    assert told["read"] == "after every step"
    assert told["members"] == {"file": "members.h5", "every": 1, "records": STEPS + 1}


def test_kept_beads_are_the_worst_and_spaced(straight: Path) -> None:
    run = straight / "input.run"
    frames = read(run / "uncertain.extxyz", ":")
    exact, found = sigma_per_atom(straight), members(run)
    expected, last = [], -SPACING
    for step in range(1, STEPS + 1):
        if exact[step].max() > SAVE and step - last >= SPACING:
            expected.append((step, int(exact[step].argmax())))
            last = step
    assert [(f.info["step"], f.info["bead"]) for f in frames] == expected
    assert len(expected) >= 3
    for frame in frames:
        step, bead = frame.info["step"], frame.info["bead"]
        energy = found["energies"][step, bead]
        np.testing.assert_allclose(
            frame.positions, found["positions"][step, bead], atol=1e-8
        )
        np.testing.assert_allclose(frame.get_forces(), -K * frame.positions, atol=1e-8)
        assert frame.get_potential_energy() == pytest.approx(energy, rel=1e-9)
        assert frame.info["sigma"] == pytest.approx(SPREAD * energy, rel=1e-9)
        assert frame.info["sigma_per_atom"] == pytest.approx(SPREAD * energy / ATOMS, rel=1e-9)
        np.testing.assert_allclose(
            frame.info["member_energies"], (1.0 + DEVIATIONS) * energy, rtol=1e-9
        )
        assert frame.info["system"] == 0
        assert frame.info["committee"] == "driver"
        assert frame.info["time_fs"] == pytest.approx(0.5 * step, rel=1e-9)


def test_a_limit_stops_the_run_in_order_and_resume_goes_on(straight: Path, tmp_path: Path) -> None:
    largest = sigma_per_atom(straight).max(1)
    crossed = next(s for s in range(6, STEPS) if largest[s] > largest[1:s].max())
    limit = 0.5 * (largest[crossed] + largest[1:crossed].max())
    xml = committee_input(tmp_path)
    done = pimd("run", xml, "--stop-above", limit, "--member-forces-every", 5)
    assert done.returncode == 0, done.stdout
    run = tmp_path / "input.run"
    data = summary(run)
    bead = int(sigma_per_atom(straight)[crossed].argmax())
    assert (data["exit_reason"], data["last_step"]) == ("stopped", crossed)
    for words in (f"at step {crossed}", f"bead {bead}", "meV/atom", "stopped.extxyz"):
        assert words in data["message"]
    assert data["uncertainty"]["stopped"]["file"] == "stopped.extxyz"
    assert "--resume" in done.stdout
    assert read_rows(run / "sim.out")[-1][0] == crossed - crossed % 2
    assert f"<step>{crossed}</step>" in (run / "RESTART").read_text().replace(" ", "")
    assert "total_time" not in re.sub(r"<total_time>\s*0(\.0*e\+00)?\s*</total_time>", "",
                                      (run / "RESTART").read_text())
    (frame,) = read(run / "stopped.extxyz", ":")
    assert (frame.info["step"], frame.info["bead"]) == (crossed, bead)
    done = pimd("run", xml, "--resume", "--member-forces-every", 5)
    assert done.returncode == 0, done.stdout
    assert_same_outputs(straight / "input.run", run)
    whole = members(straight / "input.run")
    assert_same_members({k: v[::5] for k, v in whole.items()}, members(run))


def test_kill_9_then_resume_keeps_nothing_twice(straight: Path, tmp_path: Path) -> None:
    xml = committee_input(tmp_path, pause=0.04)
    options = (
        "--member-forces-every", "1", "--save-above", str(SAVE), "--save-spacing", str(SPACING)
    )
    with Running(xml, *options) as run:
        run.wait_for_rows(tmp_path / "input.run" / "sim.out", 7)  # step 12: last kept is 10
        run.send(signal.SIGKILL)
        run.process.wait(10)
    folder = tmp_path / "input.run"
    before = members(folder)["step"].tolist()  # a killed run leaves a file that can be read
    assert before == list(range(len(before)))
    assert len(before) >= 12
    done = pimd("run", xml, "--resume", *options)
    assert done.returncode == 0, done.stdout
    if len(before) > 11:
        assert re.search(r"members.h5: dropped \d+ records made after step \d+", done.stdout)
    assert_same_members(members(straight / "input.run"), members(folder))
    frames = [read(f / "uncertain.extxyz", ":") for f in (straight / "input.run", folder)]
    places = [[(f.info["step"], f.info["bead"]) for f in some] for some in frames]
    assert places[0] == places[1]
    for one, other in zip(*frames, strict=True):
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-8)
        assert one.info["sigma"] == pytest.approx(other.info["sigma"], rel=1e-9)


def test_a_daemon_that_dies_at_a_record_is_replaced_and_asked_again(
    straight: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "died"
    xml = committee_input(tmp_path, "DiesAtMembers", marker=marker)
    done = pimd("run", xml, "--member-forces-every", 4)
    assert done.returncode == 0, done.stdout
    assert marker.exists()
    run = tmp_path / "input.run"
    assert summary(run)["daemon_restarts"] == 1
    whole = members(straight / "input.run")
    assert_same_members({k: v[::4] for k, v in whole.items()}, members(run))
    assert_same_outputs(straight / "input.run", run)


def test_options_that_need_an_uncertainty_are_refused_without(tmp_path: Path) -> None:
    xml = write_input(tmp_path, steps=2)
    done = pimd("run", xml, "--stop-above", 1, "--save-above", 1, "--member-forces-every", 2)
    assert done.returncode == 2, done.stdout
    words = " ".join(done.stdout.split())
    assert "--stop-above, --save-above: no potential of this input tells an unc" in words
    assert "use a committee" in words
    assert not (tmp_path / "input.run" / "RESTART").exists()
    done = pimd("run", xml)  # and the way is free
    assert done.returncode == 0, done.stdout
    assert summary(tmp_path / "input.run")["uncertainty"] == {}
    done = pimd("run", committee_input(tmp_path, "KnowsItsError"), "--fresh",
                "--member-forces-every", 2)
    assert done.returncode == 2
    assert "--member-forces-every: no potential of this input has members" in done.stdout


def test_members_without_forces_are_refused_at_the_start(tmp_path: Path) -> None:
    done = pimd("run", committee_input(tmp_path, "NoMemberForces"), "--member-forces-every", 2)
    assert done.returncode == 1
    assert "gives no forces of members: leave out --member-forces-every" in " ".join(
        done.stdout.split()
    )
    assert not (tmp_path / "input.run" / "RESTART").exists()


def test_an_uncertainty_without_members_counts_too(tmp_path: Path) -> None:
    xml = committee_input(tmp_path, "KnowsItsError")
    done = pimd("run", xml, "--save-above", SAVE, "--save-limit", 2, "--save-spacing", 3)
    assert done.returncode == 0, done.stdout
    assert "uncertain.extxyz holds 2 frames, the first that came" in done.stdout
    frames = read(tmp_path / "input.run" / "uncertain.extxyz", ":")
    assert [frame.info["step"] for frame in frames] == [1, 4]
    for frame in frames:
        assert frame.info["sigma"] == pytest.approx(0.1 * frame.get_potential_energy(), rel=1e-9)
        assert "member_energies" not in frame.info
    kept = summary(tmp_path / "input.run")["uncertainty"]["kept"]
    assert (kept["frames"], kept["frames_in_all"]) == (2, 2)


def test_wrong_limits_are_usage_errors(tmp_path: Path) -> None:
    for value in ("0", "-1", "nan", "inf"):
        done = pimd("run", write_input(tmp_path), "--stop-above", value)
        assert done.returncode == 2
        assert "expected a positive number" in " ".join(done.stderr.split())


def test_a_record_that_never_comes_ends_the_run(tmp_path: Path) -> None:
    xml = committee_input(tmp_path, "HangsAtMembers")
    done = pimd("run", xml, "--member-forces-every", 6, "--compute-limit", 2)
    assert done.returncode == 1, done.stdout
    words = " ".join(done.stdout.split())
    assert "the daemon of 'driver' gave no forces of members within 2 s" in words
    assert summary(tmp_path / "input.run")["exit_reason"] == "failed"


def test_a_signal_ends_a_run_that_waits_for_a_record(tmp_path: Path) -> None:
    xml = committee_input(tmp_path, "HangsAtMembers", calls=1)
    restart = tmp_path / "input.run" / "RESTART"
    with Running(xml, "--member-forces-every", "6") as run:
        run.wait_for_rows(tmp_path / "input.run" / "sim.out", 3)  # step 4: the next record is of 6
        time.sleep(0.5)
        run.send(signal.SIGTERM)
        deadline = time.monotonic() + 10.0
        while not restart.exists():
            assert time.monotonic() < deadline, "RESTART took longer than 10 s"
            time.sleep(0.05)
        text = run.output(60)
        assert run.process.returncode == 0, text
    assert summary(tmp_path / "input.run")["exit_reason"] == "stopped"
