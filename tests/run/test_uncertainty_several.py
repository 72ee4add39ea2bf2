"""Uncertainty with several systems, committees and contracted beads, and in i-PI's own committee.

The committees are those of `test_uncertainty`: sigma = std(d) V.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.io import read

from .runs import ODD, pimd, summary
from .test_several import HEAD, SOCKET, structure, system
from .test_uncertainty import DEVIATIONS, members


def run(folder: Path, *parts: str, options: tuple[object, ...] = ()) -> str:
    xml = folder / "input.xml"
    xml.write_text(HEAD.format(threading="") + "".join(parts) + "</simulation>\n")
    done = pimd("run", xml, "--interval", "0", *options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_several_systems_and_contracted_committees(tmp_path: Path) -> None:
    """Two systems of different size on one daemon; in one of them a second committee that acts
    on the centroid alone, and a potential that tells nothing."""
    structure(tmp_path, "small.xyz", "HH")
    structure(tmp_path, "large.xyz", "HOHHH")
    one = f"{{potential: {ODD}:Committee, k: 1.0}}"
    text = run(
        tmp_path,
        SOCKET.format(name="a", spec=one), SOCKET.format(name="b", spec=one),
        SOCKET.format(name="soft", spec=f"{{potential: {ODD}:Committee, k: 0.2}}"),
        SOCKET.format(name="sure", spec="{potential: harmonic, k: 0.1}"),
        system("small.xyz", "a", prefix="s"),
        system("large.xyz", "b", "sure", prefix="l", beads=6).replace(
            "</forces>", "<force forcefield='soft' nbeads='1'/></forces>"
        ),
        options=("--member-forces-every", 2, "--save-above", 1e-5, "--save-spacing", 3),
    )
    folder = tmp_path / "input.run"
    found = {
        name: members(folder, name) for name in ("system_0/a", "system_1/b", "system_1/soft")
    }
    with h5py.File(folder / "members.h5") as file:
        assert [sorted(group) for group in file.values()] == [["a"], ["b", "soft"]]
    shapes = {"system_0/a": (4, 4, 2, 3), "system_1/b": (4, 6, 5, 3), "system_1/soft": (4, 1, 5, 3)}
    stiffness = {"system_0/a": 1.0, "system_1/b": 1.0, "system_1/soft": 0.2}
    for name, data in found.items():
        assert data["member_forces"].shape == (4, *shapes[name])
        assert data["step"].tolist() == [0, 2, 4, 6]
        factors = stiffness[name] * (1.0 + DEVIATIONS)
        np.testing.assert_allclose(
            data["member_forces"],
            -factors[:, None, None, None] * data["positions"][:, None], rtol=1e-12, atol=1e-14,
        )
    centroid = found["system_1/b"]["positions"].mean(1)
    np.testing.assert_allclose(found["system_1/soft"]["positions"][:, 0], centroid, atol=1e-12)
    last = text.rsplit("step 6/6", 1)[1]
    for label, name, n_atoms in (("a", "system_0/a", 2), ("soft", "system_1/soft", 5)):
        exact = 1000.0 * found[name]["sigma"][-1] / n_atoms
        words = re.search(rf"\b{label} ([\d.]+) \(max ([\d.]+)\)", last)
        assert words is not None, last
        assert float(words[1]) == pytest.approx(exact.mean(), rel=0.03)
        assert float(words[2]) == pytest.approx(exact.max(), rel=0.03)
    assert "sure" not in last
    assert set(summary(folder)["uncertainty"]["committees"]) == {"a", "b", "soft"}
    frames = read(folder / "uncertain.extxyz", ":")
    assert [(f.info["step"], f.info["system"]) for f in frames] == [(1, 0), (1, 1), (4, 0), (4, 1)]
    kept = found["system_1/b"]
    frame = frames[3]
    largest = int(kept["sigma"][2].argmax())
    assert (frame.info["committee"], frame.info["bead"], len(frame)) == ("b", largest, 5)
    assert frame.info["sigma"] == pytest.approx(kept["sigma"][2].max(), rel=1e-8)


def test_a_committee_that_i_pi_puts_together(tmp_path: Path) -> None:
    structure(tmp_path, "init.xyz", "HHH")
    parts = "".join(
        SOCKET.format(name=f"m{i}", spec=f"{{potential: harmonic, k: {k}}}")
        for i, k in enumerate((0.9, 1.1))
    )
    text = run(
        tmp_path, f"<ffcommittee name='pair' pbc='False'>{parts}</ffcommittee>",
        system("init.xyz", "pair"), options=("--member-forces-every", 3),
    )
    data = members(tmp_path / "input.run", "system_0/pair")
    assert data["step"].tolist() == [0, 3, 6]
    x = data["positions"]
    stiffness = np.array([0.9, 1.1])
    np.testing.assert_allclose(
        data["member_forces"], -stiffness[:, None, None, None] * x[:, None], rtol=1e-9, atol=1e-12
    )
    virials = -np.einsum("tbax,tbay->tbxy", x, x)
    np.testing.assert_allclose(
        data["member_virials"], stiffness[:, None, None, None] * virials[:, None],
        rtol=1e-9, atol=1e-12,
    )
    energies = 0.5 * (x**2).sum((2, 3))
    np.testing.assert_allclose(data["energies"], energies, rtol=1e-9)
    np.testing.assert_allclose(data["sigma"], 0.2 / np.sqrt(2.0) * energies, rtol=1e-9)
    last = float(re.findall(r"sigma ([\d.]+) ", text)[-1])
    assert last == pytest.approx(1000.0 * data["sigma"][-1].mean() / 3, rel=0.01)
