"""The energies that members of a committee give to the beads of a run, and the exponents h.

They come from the record of the run, from labels (`pimd.relabel`), or from members.h5. What is
reweighted must be what was sampled. Two questions can be asked, which differ where dynamics did not
follow the mean of the members (a head of its own, a weighted baseline):

    own       h_i = beta <V_i - V_sampled>_b     the averages that the members would have given
    centred   h_i = beta <V_i - mean V_j>_b      the members moved so that their mean is what was
                                                 sampled: how uncertain the average of the run is

pimd's committees send their members centred on what is sampled. With a weighted baseline,
U = V_b + w V, they send U + (V_i - V), and `committee_energy`, V_b + V; member i itself is
committee_energy + (V_i - V). i-PI's own <ffcommittee> writes the corrections V_i and
`baseline_pot`, and member i is their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.reweighting import exponents
from pimd.analysis.temperature import temperature_of
from pimd.potentials.committee_statistics import calibrated, centred
from pimd.record.missing import NotInRecord
from pimd.units import HARTREE_EV, KB_EV_PER_KELVIN

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = [
    "ABOUT", "OF_REWEIGHTING", "RunMembers", "members_of_labels", "members_of_run",
    "members_of_steps",
]

ABOUT = ("auto", "own", "centred")
OF_REWEIGHTING = "reweighting needs a canonical run"
"""Why there must be a temperature."""

EXTRAS = ("committee_energy", "baseline_energy", "baseline_pot")
"""Extras of weighted baselines; the last two are one, under pimd's name and i-PI's."""

CONSTANT = 1e-3
"""kT by which the mean of the members may stray from what was sampled, and yet be it."""


@dataclass(frozen=True)
class RunMembers:
    """A committee on the frames of a run.

    Attributes:
        step: (T,) of the frames.
        sampled: (T, P) eV, of the potential that moved the beads; None where it was not stored.
        energies: (M, T, P) eV, of the members, calibrated, as `about` says.
        h: (M, T) kT.
        temperature: K.
        about: `own` or `centred`, see the module.
        notes: how it was found, one line each.
    """

    step: np.ndarray
    sampled: np.ndarray | None
    energies: np.ndarray
    h: np.ndarray
    temperature: float
    about: str
    notes: tuple[str, ...] = field(default=())

    @property
    def n_members(self) -> int:
        return len(self.energies)

    def rows(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of these frames, and of `step`, that are of the same steps."""
        _, here, there = np.intersect1d(self.step, step, assume_unique=True, return_indices=True)
        return here, there


def members_of_run(
    run: Run, *, alpha: float = 1.0, about: str = "auto", temperature: float | None = None
) -> RunMembers:
    """The members whose energies the run has stored.

    Args:
        run: of `pimd.open_run`.
        alpha: factor of the members' deviations from their mean, on top of what they have.
        about: see the module; `auto`: `own` where the members' own energies are known.
        temperature: K; None: that of the run.

    Raises:
        NotInRecord: it stored none.
        ValueError: no temperature, or an unknown `about`.
    """
    stored = [name for name in ("energies", *EXTRAS) if _has(run, "member_energies", name)]
    frames = run.common("member_energies", *stored)
    v = frames.read("member_energies").transpose(1, 0, 2)  # [member, frame, bead]
    sampled = frames.read("energies") if "energies" in stored else None
    own = {
        name: _scalar(frames.read(name)) * _in_ev(run.unit(name)) for name in EXTRAS
        if name in stored
    }
    return members_of_steps(
        frames.step, v, sampled, temperature_of(run, temperature, OF_REWEIGHTING),
        alpha=alpha, about=about, committee_energy=own.get("committee_energy"),
        baseline=own.get("baseline_energy", own.get("baseline_pot")),
        n_forcefields=len(run.setup.forcefields),
    )


def members_of_labels(
    run: Run,
    labels: Sequence[str],
    *,
    alpha: float = 1.0,
    about: str = "own",
    temperature: float | None = None,
) -> RunMembers:
    """A committee of potentials with which the run was labelled: one committee, or several models.

    Raises:
        NotInRecord: no such label, or the run stored no energies to reweight from.
        ValueError: fewer than two members, or no frame that all of them have.
    """
    frames = run.common("energies")
    found = [frames.label(name) for name in labels]
    if len(found) == 1 and found[0].member_energies is not None:
        v = found[0].member_energies.transpose(1, 0, 2)
    else:
        v = np.array([label.energies for label in found])
    if len(v) < 2:
        raise ValueError(
            f"expected at least 2 members: labels of 2 potentials, or of one with members; got "
            f"{', '.join(labels)}"
        )
    kept = np.flatnonzero(np.isfinite(v).all(axis=(0, 2)))
    if not len(kept):
        raise ValueError(f"no frame has all labels {', '.join(labels)}: run pimd relabel again")
    return members_of_steps(
        frames.step[kept], v[:, kept], frames.read("energies", kept),
        temperature_of(run, temperature, OF_REWEIGHTING), alpha=alpha,
        about="own" if about == "auto" else about,
    )


def members_of_steps(
    step: np.ndarray,
    members: np.ndarray,
    sampled: np.ndarray | None,
    temperature: float,
    *,
    alpha: float = 1.0,
    about: str = "auto",
    committee_energy: np.ndarray | None = None,
    baseline: np.ndarray | None = None,
    n_forcefields: int = 1,
) -> RunMembers:
    """A committee from arrays.

    Args:
        step: (T,).
        members: (M, T, P) eV, as they were stored.
        sampled: (T, P) eV, of all forcefields together; None: not known.
        temperature: K.
        alpha, about: as `members_of_run`.
        committee_energy: (T, P) eV, what the committee alone would sample where the members are
            centred on a weighted baseline.
        baseline: (T, P) eV, to be added to members that are corrections.
        n_forcefields: how many there are; the energies of others than the committee are in
            `sampled` too.
    """
    if about not in ABOUT:
        raise ValueError(f"about is one of {', '.join(ABOUT)}, got '{about}'")
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha}, expected a positive number")
    v = calibrated(np.asarray(members, dtype=float), alpha)
    kt = KB_EV_PER_KELVIN * temperature
    if sampled is None:
        own = None
        said = "energies of the beads were not stored: members are taken as centred on them"
    elif (v.mean(axis=0) - sampled).mean(axis=-1).std() <= CONSTANT * kt:
        own, said = _own_of_centred(v, committee_energy, baseline is not None)
    elif baseline is not None:
        own, said = v + baseline, "members are corrections to a baseline, which was added"
    elif n_forcefields <= 1:
        own, said = v, "dynamics did not follow the mean of the members"
    else:
        own = None
        said = f"{n_forcefields} forcefields: members are taken as centred on what theirs gave"
    if about == "own" and own is None:
        raise ValueError(
            "the members' own energies are not known: store the energies of the beads, and with "
            "several forcefields take about = centred"
        )
    if own is None or sampled is None or about == "centred":
        base = v.mean(axis=0) if sampled is None else sampled
        v, about = centred(v, base), "centred"
    else:
        base, v, about = sampled, own, "own"
    notes = [said] if said else []
    if alpha != 1.0:
        notes.append(f"deviations of the members times alpha = {alpha:.4g}")
    h = exponents(v, base, temperature)
    return RunMembers(np.asarray(step), sampled, v, h, temperature, about, tuple(notes))


def _own_of_centred(
    v: np.ndarray, committee_energy: np.ndarray | None, weighted: bool
) -> tuple[np.ndarray, str]:
    """The members' own energies where they were centred on what was sampled."""
    if committee_energy is not None:
        return centred(v, committee_energy), "weighted baseline: U was sampled, not the committee"
    if weighted:
        return v, (
            "weighted baseline: members are centred on U, which was sampled; where the extra "
            "committee_energy is stored too, they are what they are"
        )
    return v, ""


def _has(run: Run, *names: str) -> bool:
    """Whether some frames have all of these."""
    try:
        run.common(*names)
    except NotInRecord:
        return False
    return True


def _in_ev(unit: str) -> float:
    """Factor from the unit of an extra to eV; i-PI passes extras on in atomic units."""
    return HARTREE_EV if unit in ("a.u.", "hartree", "atomic_unit") else 1.0


def _scalar(values: np.ndarray) -> np.ndarray:
    """(T, P) of what may have been stored as a list of one number for each bead."""
    return values.reshape(values.shape[:2])
