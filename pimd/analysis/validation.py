"""A committee on labelled structures that no member was trained on -> its calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pimd.analysis.calibration import CalibrationReport, calibration_report
from pimd.results.quantity import Quantity
from pimd.results.result import Result, Table
from pimd.results.style import GREY, PALETTE, new_axes
from pimd.structure import PotentialError

__all__ = ["Validation", "result_of_validation", "validate"]

BATCH_ATOMS = 20_000
"""Atoms of one batch, at most, unless one structure alone has more."""
LARGEST_CHANGE = 0.1
"""alpha of forces and of energies, relative, beyond which the difference is told."""


@dataclass(frozen=True)
class Validation:
    """Calibrations of one committee.

    Attributes:
        spec: the potential, in words.
        file: the labelled structures.
        n_structures: in it.
        energy: of total energies, eV.
        forces: of force components, eV/Å; None where members give no forces.
    """

    spec: str
    file: str
    n_structures: int
    energy: CalibrationReport
    forces: CalibrationReport | None


def validate(
    spec: str,
    path: str | Path,
    *,
    method: str = "auto",
    energy_key: str | None = None,
    forces_key: str | None = None,
    progress: Callable[[int, int], None] = lambda structures, atoms: None,
) -> Validation:
    """Calibrate the committee of a SPEC on labelled structures.

    Args:
        spec: of a potential with members; its own alpha stays, what is found comes on top of it.
        path: structures with energies and forces, as `pimd train` takes them.
        method: as of `calibrate_spread`.
        energy_key, forces_key: as of `read_labels`.
        progress: told of structures and atoms done.

    Raises:
        PotentialError: no potential, or none with members.
        ValueError: structures without labels, or that cannot be calibrated on.
    """
    from pimd.potentials.registry import make_potential
    from pimd.training.data import read_labels

    samples, _ = read_labels(path, energy_key=energy_key, forces_key=forces_key)
    potential = make_potential(spec)
    try:
        if potential.n_members < 2:
            raise PotentialError(
                f"{potential.name} has no members: calibrate a committee, such as "
                "{potential: committee, members: [a.model; b.model]}"
            )
        energies, forces = _members(potential, [one.structure for one in samples], progress)
    finally:
        potential.close()
    reference = np.array([one.energy for one in samples])
    truth = np.concatenate([one.forces for one in samples]).ravel()
    return Validation(
        spec, str(path), len(samples),
        calibration_report(energies, reference, method=method),
        None if forces is None else calibration_report(
            forces.reshape(len(forces), -1), truth, method=method
        ),
    )


def _members(
    potential: Any, structures: Sequence[Any], progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Energies (M, n_structures) and forces (M, n_atoms of all, 3) of the members."""
    from pimd.evaluator import Evaluator
    from pimd.potentials.base import Wanted

    evaluator = Evaluator(potential, skin=0.0, force_limit=float("inf"))
    energies, forces, done, atoms = [], [], 0, 0
    for batch in _batches(structures):
        wanted = Wanted(forces=True, virials=False, member_forces=True)
        found = evaluator.evaluate_structures(batch, wanted)
        assert found.member_energies is not None
        energies.append(found.member_energies)
        if found.member_forces is not None:
            forces.append(found.member_forces)
        done += len(batch)
        atoms += sum(map(len, batch))
        progress(done, atoms)
    return (
        np.concatenate(energies, axis=1),
        np.concatenate(forces, axis=1) if len(forces) == len(energies) else None,
    )


def _batches(structures: Sequence[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for one in structures:
        if batch and sum(map(len, batch)) + len(one) > BATCH_ATOMS:
            yield batch
            batch = []
        batch.append(one)
    yield batch


def result_of_validation(found: Validation) -> Result:
    """What `pimd uncertainty --validation` shows of a calibration."""
    result = Result(
        "calibration",
        f"Calibration of {found.spec} on {found.n_structures} structures of {found.file}",
        notes=["alpha comes on top of what the potential has; <z^2> and coverage are of folds "
               "that it was not fitted to"],
    )
    table = Table(
        "Committee against reference",
        ["", "unit", "rms error", "alpha s", "<z^2>", "expected", "miscalibration"],
    )
    for name, unit, report in (
        ("energy", "eV", found.energy), ("forces", "eV/Å", found.forces),
    ):  # fmt: skip
        if report is None:
            continue
        result.quantities.append(Quantity(
            f"alpha of {name}", report.alpha, report.error, n_samples=report.n_points,
            warnings=report.warnings, note=f"{report.method}, {report.n_members} members",
        ))
        table.rows.append([
            name, unit, f"{report.rms_error:.3g}", f"{report.sharpness:.3g}",
            f"{report.z_squared:.3g}", f"{report.z_expected:.3g}", f"{report.miscalibration:.2g}",
        ])
        result.figures[name] = partial(_draw, report=report, unit=unit)
        result.data[name] = report
    result.tables.append(table)
    result.warnings += _differs(found)
    return result


def _differs(found: Validation) -> list[str]:
    if found.forces is None:
        return []
    ratio = found.forces.alpha / found.energy.alpha
    if abs(ratio - 1.0) <= LARGEST_CHANGE:
        return []
    return [
        f"alpha of forces is {ratio:.2g} times that of energies: reweighting needs that of "
        "energies"
    ]


def _draw(figure: Any, report: CalibrationReport, unit: str) -> None:
    first, second = new_axes(figure, 1, 2)
    ends = [min(report.predicted.min(), report.actual.min()),
            max(report.predicted.max(), report.actual.max())]
    first.plot(ends, ends, color=GREY, linewidth=0.8)
    first.errorbar(report.predicted, report.actual, report.actual / np.sqrt(2.0 * report.counts),
                   fmt="o", markersize=4, color=PALETTE[0])
    first.set_xscale("log")
    first.set_yscale("log")
    first.set_xlabel(f"predicted error / {unit}")
    first.set_ylabel(f"actual error / {unit}")
    second.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    second.plot(report.levels, report.coverage, color=PALETTE[1])
    second.set_xlabel("central interval")
    second.set_ylabel("errors within")
