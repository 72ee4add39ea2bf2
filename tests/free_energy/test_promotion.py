"""Free energies from runs and potentials, on oscillators that are exact for 8 beads."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from oscillator_runs import KT, oscillator_run, spec

from pimd.free_energy.perturbation import NoOverlap
from pimd.free_energy.promotion import free_energies
from pimd.free_energy.promotion_result import promotion_result
from pimd.free_energy.sampled import NotCanonical
from pimd.record.run import Run
from pimd.units import BOHR_ANGSTROM

PER_DOF = 0.47727381
"""F(x = 6) - F(x = 5) of one degree of freedom with 8 beads, kT."""


def free_energy(x: float, n_beads: int = 8) -> float:
    """beta F of an oscillator of P beads, but for a constant."""
    eta = 2.0 * math.asinh(x / (2.0 * n_beads))
    return 0.5 * n_beads * eta + math.log1p(-math.exp(-n_beads * eta))


def test_the_reference() -> None:
    assert free_energy(6.0) - free_energy(5.0) == pytest.approx(PER_DOF, abs=1e-8)


def test_from_one_run_to_a_potential_that_was_not_sampled() -> None:
    """EXP; energies of the other potential are evaluated at the stored beads."""
    (found,) = free_energies([oscillator_run(5.0, 2, 4000, 1)], [spec(6.0)])
    (one,) = found.differences
    assert one.method == "EXP"
    assert abs(one.value - 6 * PER_DOF) < 4 * one.error
    assert one.error < 0.02
    assert one.one_way is not None
    assert one.one_way.kish / one.one_way.n_samples == pytest.approx(0.924267**6, rel=0.05)
    assert found.energies.parts[0].note == "energies as stored"


def test_two_runs_are_joined_by_bar() -> None:
    runs = [oscillator_run(5.0, 2, 1500, 1), oscillator_run(6.0, 2, 1000, 2)]
    (found,) = free_energies(runs, skip=0.0)
    (one,) = found.differences
    assert one.method == "BAR"
    assert abs(one.value - 6 * PER_DOF) < 4 * one.error
    assert one.error < 0.02
    assert abs(one.crossing - one.value) < 0.2
    both = one.both_ways
    assert both is not None
    assert abs(both.forward.difference - 6 * PER_DOF) < 4 * both.forward.error
    assert abs(both.reverse.difference + 6 * PER_DOF) < 4 * both.reverse.error
    assert abs(one.convergence.drift) < 3.5
    np.testing.assert_array_equal(found.energies.counts, [1500, 1000])


def test_many_states_by_mbar_and_runs_of_one_potential_are_one_state() -> None:
    runs = [
        oscillator_run(x, 1, 800, seed) for seed, x in enumerate((5.0, 6.0, 7.5, 6.0))
    ]
    (found,) = free_energies(runs, [spec(6.7)], skip=0.0)
    assert [one.method for one in found.differences] == ["MBAR"] * 3
    np.testing.assert_array_equal(found.energies.counts, [800, 1600, 800, 0])
    for one, x in zip(found.differences, (6.0, 7.5, 6.7), strict=True):
        assert abs(one.value - 3 * (free_energy(x) - free_energy(5.0))) < 4 * one.error
        assert one.error < 0.04
    assert found.solved is not None
    np.testing.assert_allclose(found.solved.overlap.sum(axis=1), 1.0)


def test_a_mixture_of_two_potentials_is_a_state(tmp_path: Path) -> None:
    """(U_5 + U_6)/2 as an input has it: of k halfway between."""
    middle = math.sqrt(0.5 * (5.0**2 + 6.0**2))
    run = oscillator_run(
        middle, 1, 1500, 3, directory=tmp_path, forcefields={"a": spec(5.0), "b": spec(6.0)}
    )
    (tmp_path / "input.xml").write_text(
        "<simulation><system><initialize nbeads='8'/><forces><force forcefield='a' weight='0.5'/>"
        "<force forcefield='b' weight='0.5'/></forces></system></simulation>"
    )
    (found,) = free_energies([oscillator_run(5.0, 1, 1500, 4), run])
    (one,) = found.differences
    assert found.energies.names[1].count("0.5") == 2
    assert abs(one.value - 3 * (free_energy(middle) - free_energy(5.0))) < 4 * one.error
    assert one.error < 0.02


def test_sizes_are_compared_per_atom(tmp_path: Path) -> None:
    runs = [oscillator_run(5.0, n, 2000, n) for n in (4, 1)]
    systems = free_energies(runs, [spec(6.0)])
    assert [found.units for found in systems] == [1, 4]
    result = promotion_result(systems)
    overall = next(one for one in result.quantities if "all sizes" in one.name)
    assert not overall.warnings
    assert overall.unit == "meV/atom"
    assert abs(overall.value - 3000 * PER_DOF * KT) < 4 * overall.error
    names = {path.name for path in result.write(tmp_path)}
    assert {"fep.json", "fep_sizes.png", "fep_work_1.png", "fep_weights_4.png"} <= names


def test_the_result_holds_what_shows_whether_to_believe_it(tmp_path: Path) -> None:
    runs = [oscillator_run(x, 1, 400, k) for k, x in enumerate((5.0, 5.5, 6.0))]
    (found,) = free_energies(runs, skip=0.0)
    result = promotion_result([found])
    names = {path.name for path in result.write(tmp_path)}
    assert names == {
        "fep.json", "fep_work.png", "fep_weights.png", "fep_convergence.png", "fep_overlap.png",
    }  # fmt: skip
    ways = [table for table in result.tables if table.title.startswith("0: ")]
    assert [table.title for table in ways] == [
        "0: harmonic k 4.02875, 1: harmonic k 4.87479",
        "0: harmonic k 4.02875, 1: harmonic k 5.8014",
    ]
    for table in ways:
        assert [row[0] for row in table.rows] == [
            "EXP", "EXP", "hysteresis", "BAR", "crossing *", "MBAR", "cumulant *",
        ]  # fmt: skip
    value = next(one for one in result.quantities if one.note == "MBAR")
    assert value.value == pytest.approx(1000 * KT * found.differences[0].value)  # one atom
    assert result.as_json()["data"]["systems"][0]["overlap"][0][0] > 0.3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"thermostats": ("nm_gle",)}, "break detailed balance"),
        ({"mode": "nve"}, "microcanonical"),
        ({"mode": "sc"}, "Suzuki-Chin"),
        ({"dynamics": "replay"}, "samples no ensemble"),
        ({"temperature": None}, "no temperature"),
        ({"forcefields": {"trap": "{potential: metatomic, model: m.pt, non_conservative: true}"}},
         "no derivatives of its energy"),
    ],
)  # fmt: skip
def test_what_samples_no_canonical_ensemble_is_refused(
    change: dict[str, object], match: str
) -> None:
    run = oscillator_run(5.0, 1, 50, 1)
    run.setup = dataclasses.replace(run.setup, **change)
    with pytest.raises(NotCanonical, match=match):
        free_energies([run], [spec(6.0)])


INPUT = """<simulation><system><initialize nbeads='8'/>
  <forces><force forcefield='trap'>{force}</force></forces>
  <ensemble>{ensemble}</ensemble>
  <motion mode='dynamics'><dynamics mode='nvt'>{thermostat}</dynamics></motion>
</system></simulation>"""


def with_input(tmp_path: Path, force: str = "", ensemble: str = "", thermostat: str = "") -> Run:
    (tmp_path / "input.xml").write_text(
        INPUT.format(force=force, ensemble=ensemble, thermostat=thermostat)
    )
    return oscillator_run(5.0, 1, 300, 1, thermostats=("nm_gle",), directory=tmp_path)


def test_the_matrix_c_tells_piglet_from_optimal_sampling(tmp_path: Path) -> None:
    piglet = "<thermostat mode='nm_gle'><A shape='(8,1,1)'> [1] </A><C> {c} </C></thermostat>"
    with pytest.raises(NotCanonical, match="PIGLET"):
        free_energies([with_input(tmp_path, thermostat=piglet.format(c="[ 1.0 ]"))], [spec(6.0)])
    (found,) = free_energies(
        [with_input(tmp_path, thermostat=piglet.format(c="[ ]"))], [spec(6.0)]
    )
    assert found.differences[0].error < 0.1


def test_a_bias_is_refused(tmp_path: Path) -> None:
    run = with_input(tmp_path, ensemble="<bias><force forcefield='plumed'/></bias>")
    with pytest.raises(NotCanonical, match="bias"):
        free_energies([run], [spec(6.0)])


def test_no_overlap_is_an_error() -> None:
    with pytest.raises(NoOverlap):
        free_energies([oscillator_run(5.0, 30, 100, 1)], [spec(9.0)])
    runs = [oscillator_run(5.0, 40, 200, 1), oscillator_run(12.0, 40, 200, 2)]
    with pytest.raises(NoOverlap):
        free_energies(runs)


def test_a_potential_that_was_not_sampled_is_noticed() -> None:
    run = oscillator_run(5.0, 2, 100, 1, given=spec(5.05))
    with pytest.raises(ValueError, match="not the potential that was sampled"):
        free_energies([run], [spec(6.0)])
    (found,) = free_energies([run], [spec(6.0)], potentials={"": spec(5.0)})
    assert found.energies.parts[0].note == "energies as stored"


def test_a_record_without_its_input_is_told_what_was_sampled() -> None:
    run = oscillator_run(5.0, 1, 300, 1, forcefields={})
    with pytest.raises(ValueError, match="--potential NAME=SPEC"):
        free_energies([run], [spec(6.0)])
    (found,) = free_energies([run], [spec(6.0)], potentials={"": spec(5.0)})
    assert found.energies.parts[0].note == "energies as stored"


def test_rounded_positions_have_both_energies_evaluated() -> None:
    run = oscillator_run(5.0, 2, 400, 1)
    arrays = {name: run.read(name) for name in ("positions", "energies", "cells")}
    exact = arrays["positions"]
    for unit in (1.0, BOHR_ANGSTROM):
        arrays["positions"] = unit * (exact / unit).round(2)
        coarse = Run.from_arrays(run.setup, run.step, run.time, arrays)
        (found,) = free_energies([coarse], [spec(6.0)])
        assert "few digits" in found.energies.parts[0].note
        (one,) = found.differences
        assert abs(one.value - 6 * PER_DOF) < 4 * one.error


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"temperature": 310.0}, "temperature"),
        ({"masses": np.full(2, 2.0)}, "masses"),
        ({"pressure": 1e-5}, "pressure"),
    ],
)
def test_runs_of_different_ensembles_are_refused(other: dict[str, object], match: str) -> None:
    runs = [oscillator_run(5.0, 2, 50, 1), oscillator_run(6.0, 2, 50, 2)]
    runs[1].setup = dataclasses.replace(runs[1].setup, **other)
    with pytest.raises(ValueError, match=f"differ in their {match}"):
        free_energies(runs)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ValueError, match="name a second potential"):
        free_energies([oscillator_run(5.0, 1, 50, 1)])
    with pytest.raises(ValueError, match="--potential trap=SPEC"):
        free_energies([oscillator_run(5.0, 1, 50, 1, given="")], [spec(6.0)])
    two = oscillator_run(5.0, 1, 50, 1, forcefields={"a": spec(5.0), "b": spec(6.0)})
    with pytest.raises(ValueError, match="weights"):
        free_energies([two], [spec(6.0)])
    with pytest.raises(ValueError, match="left out"):
        free_energies([oscillator_run(5.0, 1, 50, 1)], [spec(6.0)], skip=10_000.0)


def test_at_constant_pressure_they_are_gibbs_free_energies() -> None:
    runs = [oscillator_run(x, 1, 300, 1, mode="npt", pressure=1e-6) for x in (5.0, 6.0)]
    (found,) = free_energies(runs)
    assert promotion_result([found]).title.startswith("Gibbs free energies of 2 potentials")


def test_options_that_leave_energies_as_they_are_make_no_new_state() -> None:
    given = spec(5.0).replace("}", ", device: cpu, skin: 0.5}")
    runs = [oscillator_run(5.0, 1, 300, 1), oscillator_run(5.0, 1, 300, 2, given=given)]
    (found,) = free_energies(runs, [spec(6.0)])
    assert len(found.energies.states) == 2
    assert {part.state for part in found.energies.parts} == {0}


def test_time_left_out_is_that_asked_for() -> None:
    run = oscillator_run(5.0, 1, 500, 1)  # 5 fs between frames
    (found,) = free_energies([run], [spec(6.0)], skip=1000.0)
    assert found.energies.parts[0].start == 200
    (found,) = free_energies([run], [spec(6.0)], skip=0.0, stride=5)
    assert found.energies.counts[0] == 100
