"""`pimd run` of inputs with `<ffcommittee>`: served as before, or by one committee through JSON."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from .runs import XML, pimd, read_rows, summary, write_input

CONSTANTS = (0.8, 1.0, 1.5)
ALPHA = 1.4
MEMBER = """<ffsocket mode='unix' name='{name}' pbc='False'><address>{name}</address>
  <parameters> {{potential: harmonic, k: {k}}} </parameters></ffsocket>"""
COMMITTEE = """<ffsocket mode='unix' name='members' pbc='False'><address>members</address>
  <parameters> {{potential: committee, device: cpu, members: [{members}]{more}}} </parameters>
  </ffsocket>"""
OUTPUT = """<trajectory filename='{name}' stride='1' extra_type='{name}'> extras </trajectory>"""


def harmonics() -> str:
    return "; ".join(f"(potential: harmonic; k: {k})" for k in CONSTANTS)


def write(folder: Path, forcefield: str, *outputs: str) -> Path:
    """An input whose forcefield is another, with some extras written."""
    folder.mkdir()
    path = write_input(folder, steps=6)
    text, found = re.subn(r"<ffsocket.*?</ffsocket>", lambda _: forcefield, path.read_text(),
                          flags=re.DOTALL)  # fmt: skip
    assert found == 1
    assert "forcefield='driver'" in XML
    extras = "".join(OUTPUT.format(name=name) for name in outputs)
    path.write_text(text.replace("</output>", extras + "</output>"))
    return path


def extras(folder: Path, name: str) -> np.ndarray:
    """[bead, step, ...] of what i-PI wrote."""
    files = sorted(folder.glob(f"sim.{name}_*"))
    assert len(files) == 4
    lines = [[w for w in path.read_text().splitlines() if "#" not in w] for path in files]
    return np.array([[[float(word) for word in line.split()] for line in own] for own in lines])


WRITTEN = ("committee_pot", "committee_uncertainty", "committee_force")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same dynamics: a socket for each member, one by JSON, and the committee alone."""
    folder = tmp_path_factory.mktemp("committees")
    sockets = "".join(MEMBER.format(name=f"m{k}", k=c) for k, c in enumerate(CONSTANTS))
    inner = COMMITTEE.format(members=harmonics(), more="")
    alone = COMMITTEE.format(members=harmonics(), more=f", alpha: {ALPHA}")
    alpha = f"<alpha> {ALPHA} </alpha>"
    inputs = {
        "sockets": write(
            folder / "sockets", f"<ffcommittee name='driver'>{sockets}{alpha}"
            "<weights> [3, 1, 1] </weights></ffcommittee>", *WRITTEN,
        ),
        "json": write(
            folder / "json", f"<ffcommittee name='driver'>{inner}{alpha}"
            "<parse_json> True </parse_json></ffcommittee>", *WRITTEN,
        ),
        "alone": write(folder / "alone", alone.replace("'members'", "'driver'"), *WRITTEN[:2]),
    }
    done = {name: pimd("run", path, "--threads", "1") for name, path in inputs.items()}
    for name, result in done.items():
        assert result.returncode == 0, result.stdout + result.stderr
        (folder / name / "said").write_text(result.stdout)
    return {name: folder / name / "input.run" for name in inputs}


def test_three_ways_give_the_same_dynamics(runs: dict[str, Path]) -> None:
    rows = {name: read_rows(folder / "sim.out") for name, folder in runs.items()}
    assert len(rows["json"]) == 4
    for name in ("sockets", "alone"):
        np.testing.assert_allclose(rows[name], rows["json"], rtol=1e-7)


def test_members_and_their_spread_reach_the_outputs(runs: dict[str, Path]) -> None:
    for key in WRITTEN:
        found = {name: extras(folder, key) for name, folder in runs.items()
                 if name != "alone" or key != "committee_force"}  # fmt: skip
        for value in found.values():
            np.testing.assert_allclose(value, found["json"], rtol=2e-8, atol=1e-12)
    members = extras(runs["json"], "committee_pot")  # [bead, step, member]
    sigma = extras(runs["json"], "committee_uncertainty")[..., 0]
    np.testing.assert_allclose(members.std(axis=2, ddof=1), sigma, rtol=1e-6)
    # E_i = k_i x²/2 calibrated: (E_i - mean)/(k_i - mean k) is the same for all members
    k = np.array(CONSTANTS)
    ratio = (members - members.mean(axis=2, keepdims=True)) / (k - k.mean())
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[..., :1], ratio.shape), rtol=1e-5)
    np.testing.assert_allclose(ratio * k.mean() / ALPHA, members.mean(axis=2, keepdims=True)
                               + 0 * ratio, rtol=1e-5)  # fmt: skip


def test_forces_of_members_were_switched_on_and_weights_warned_of(runs: dict[str, Path]) -> None:
    said = {name: (folder.parent / "said").read_text() for name, folder in runs.items()}
    assert "member_forces: True" in said["json"]
    assert "member_forces" not in said["sockets"] + said["alone"]
    assert "warning: <ffcommittee name='driver'>: i-PI ignores its <weights>" in said["sockets"]
    assert "<weights>" not in said["json"]
    assert set(summary(runs["sockets"])["potentials"]) == {"m0", "m1", "m2"}
    assert summary(runs["json"])["exchanges_per_step"] == 1.0


def test_weighted_baseline_here_and_in_i_pi(tmp_path: Path) -> None:
    """The committee with a baseline of its own, and i-PI's weighted baseline of the same parts."""
    sigma_b, n_atoms, hartree = 0.02, 3, 27.211386245988
    inner = COMMITTEE.format(members=harmonics(), more="")
    base = MEMBER.format(name="base", k=0.5)
    total = float(sigma_b * np.sqrt(n_atoms) / hartree)
    theirs = write(
        tmp_path / "theirs",
        f"<ffcommittee name='driver'>{base}{inner}<alpha> {ALPHA} </alpha>"
        f"<baseline_name> base </baseline_name><baseline_uncertainty> {total!r} "
        "</baseline_uncertainty><parse_json> True </parse_json></ffcommittee>",
        "wb_mixing", "committee_uncertainty",
    )
    more = (
        f", alpha: {ALPHA}, baseline: (potential: harmonic; k: 0.5), sigma_b: {sigma_b}, "
        "properties: wb_mixing"
    )
    ours = write(
        tmp_path / "ours",
        COMMITTEE.format(members=harmonics(), more=more).replace("'members'", "'driver'"),
        "wb_mixing", "committee_uncertainty",
    )
    for path in (theirs, ours):
        result = pimd("run", path, "--threads", "1")
        assert result.returncode == 0, result.stdout + result.stderr
    folders = [path.parent / "input.run" for path in (theirs, ours)]
    rows = [np.array(read_rows(folder / "sim.out")) for folder in folders]
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-6)
    assert np.ptp(rows[0][:, 1]) < 1e-3 * rows[0][0, 2]  # conserved: forces are those of U
    for key in ("wb_mixing", "committee_uncertainty"):
        np.testing.assert_allclose(*(extras(folder, key) for folder in folders), rtol=1e-6)
    mixing = extras(folders[1], "wb_mixing")
    assert ((mixing > 0.02) & (mixing < 0.98)).any()
