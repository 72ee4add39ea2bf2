"""Isotope estimators from the stored beads of a run: what each frame and atom contributes.

The potential is evaluated at the scaled beads of one atom after the other, and at the beads as
they are, in batches. It must be the one that was sampled; where the run has energies, they tell.
What was evaluated is kept in a file, so that an interrupted command goes on and a second one,
with other options, is cheap.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pimd.analysis.temperature import temperature_of
from pimd.analysis.work import reduced_work
from pimd.free_energy.isotopes import scaled_beads, spring_energy
from pimd.free_energy.substitution import Substitution
from pimd.units import KB_EV_PER_KELVIN
from pimd.whole_file import whole_file

if TYPE_CHECKING:
    from pimd.evaluator import Evaluator
    from pimd.free_energy.sampled import Mixture
    from pimd.record.run import Run

__all__ = ["BeadWork", "WrongPotential", "spring_work", "work_of_beads"]

ATOMS_AT_ONCE = 200_000
"""Atoms of the structures that are laid out for one call of the evaluator."""
KEEP_EVERY_S = 60.0
SAY_EVERY_S = 5.0
LARGEST_MISMATCH = 0.05
"""kT, between stored energies and those of the potential, on the average over beads, beyond a
constant. Text outputs have 9 digits, so that it is not smaller."""

OF_ISOTOPES = "isotope estimators need a canonical run"
"""Why there must be a temperature."""

Say = Callable[[str], None]


class WrongPotential(ValueError):
    """The potential is not the one that the run sampled."""


@dataclass(frozen=True)
class BeadWork:
    """Scaled-coordinates work of substitutions.

    Attributes:
        step: (T,) of the frames.
        atoms: (T, A), the atoms that were substituted, one at a time.
        work: (T, A) kT: beta/P sum_b [V(q'_b) - V(q_b)].
    """

    step: np.ndarray
    atoms: np.ndarray
    work: np.ndarray


def work_of_beads(
    run: Run,
    substitution: Substitution,
    mixture: Mixture,
    *,
    stride: int = 1,
    n_atoms: int | None = None,
    keep: Path | None = None,
    say: Say = lambda line: None,
) -> BeadWork:
    """Work of the scaled-coordinates estimator at the frames of a run.

    Args:
        run: with positions.
        substitution: of its atoms.
        mixture: the potential that was sampled.
        stride: every so many frames.
        n_atoms: atoms of a frame, drawn anew for each; None: all of them.
        keep: file for what was evaluated, .npz; None: it is not kept.
        say: prints a line of progress.

    Raises:
        WrongPotential: stored energies are not those of the potential.
        NotInRecord: the run has no positions.
        PotentialError, BadPrediction: as `pimd.evaluator.Evaluator`.
    """
    temperature = temperature_of(run, None, OF_ISOTOPES)
    frames = np.arange(run.n_frames)[::stride]
    count = min(n_atoms or len(substitution.atoms), len(substitution.atoms))
    atoms = np.array([_drawn(substitution, int(step), count) for step in run.step[frames]])
    work = np.full((len(frames), count), np.nan)
    identity = json.dumps([mixture.terms, repr(substitution.alpha), temperature])
    store = _Store(keep, identity, run)
    store.fill(frames, atoms, work)
    todo = np.flatnonzero(np.isnan(work).any(axis=1))
    if todo.size:
        with _Potentials(mixture) as potentials:
            for rows in _watched(_groups(run, todo, count), len(todo), say):
                work[rows] = _of_frames(run, frames[rows], atoms[rows], substitution, potentials)
                store.keep(frames, atoms, work)
        store.keep(frames, atoms, work, now=True)
    return BeadWork(run.step[frames], atoms, work)


def spring_work(run: Run, substitution: Substitution, stride: int = 1) -> np.ndarray:
    """(T, A) eV: energy of the springs of each atom that is substituted, see `spring_energy`.

    Raises:
        NotInRecord: the run has no positions.
    """
    temperature = temperature_of(run, None, OF_ISOTOPES)
    found = []
    for block in run.blocks(["positions"], stride=stride):
        paths = block["positions"].swapaxes(1, 2)[:, substitution.atoms]  # [frame, atom, bead]
        mass = float(run.setup.masses[substitution.atoms[0]])
        found.append(spring_energy(paths, mass, temperature))
    return np.concatenate(found) if found else np.empty((0, len(substitution.atoms)))


def _drawn(substitution: Substitution, step: int, count: int) -> np.ndarray:
    """`count` of the atoms, the same for a step whenever it is asked."""
    if count == len(substitution.atoms):
        return substitution.atoms
    rng = np.random.default_rng([step, count])
    return np.sort(rng.choice(substitution.atoms, count, replace=False))


def _groups(run: Run, rows: np.ndarray, n_substituted: int) -> Iterator[np.ndarray]:
    """Rows that are evaluated in one call, if their structures are small."""
    size = max(1, ATOMS_AT_ONCE // ((n_substituted + 1) * run.n_beads * run.n_atoms))
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def _of_frames(
    run: Run, frames: np.ndarray, atoms: np.ndarray, substitution: Substitution,
    potentials: _Potentials,
) -> np.ndarray:
    """(T, A) work of some frames, kT; atoms (T, A)."""
    q, cells = run.read("positions", frames), run.read("cells", frames)
    temperature = run.setup.temperature
    assert temperature is not None
    n_sets = atoms.shape[1] + 1  # of a frame: as it is, then one for each atom
    energies = np.empty((len(frames) * n_sets, run.n_beads))
    size = max(1, ATOMS_AT_ONCE // (run.n_beads * run.n_atoms))
    for first in range(0, len(energies), size):
        chosen = [divmod(k, n_sets) for k in range(first, min(first + size, len(energies)))]
        beads = np.stack([
            scaled_beads(q[t], int(atoms[t, k - 1]), substitution.alpha) if k else q[t]
            for t, k in chosen
        ])
        of_frames = cells[[t for t, _ in chosen]]
        energies[first : first + size] = potentials.energies(run, beads, of_frames)
    table = energies.reshape(len(frames), n_sets, run.n_beads)
    _check(run, frames, table[:, 0], temperature)
    before = np.broadcast_to(table[:, :1], table[:, 1:].shape).reshape(-1, run.n_beads)
    work = reduced_work(before, table[:, 1:].reshape(-1, run.n_beads), temperature)
    return work.reshape(atoms.shape)


def _check(run: Run, frames: np.ndarray, energies: np.ndarray, temperature: float) -> None:
    """Compare with the energies that the run has stored, but for a constant."""
    if not run.has("energies") or run.n_beads < 2:
        return
    difference = energies - run.read("energies", frames)
    spreads = difference.std(axis=1) / (KB_EV_PER_KELVIN * temperature)
    worst = int(spreads.argmax())
    if spreads[worst] > LARGEST_MISMATCH * np.sqrt(run.n_beads):
        raise WrongPotential(
            f"{run.where}: at step {run.step[frames[worst]]} the energies of the beads differ "
            f"from those of the potential by {spreads[worst]:.2g} kT, and not by a constant: it "
            "is not the potential that was sampled; name that one with --potential"
        )


class _Potentials:
    """Evaluates a sum of potentials, energies alone."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture
        self._evaluators: list[tuple[Evaluator, float]] = []

    def __enter__(self) -> _Potentials:
        from pimd.daemon.child import make_evaluator
        from pimd.potentials.registry import parse_spec

        for spec, weight in self.mixture.to_evaluate():
            self._evaluators.append((make_evaluator(parse_spec(spec), skin=0.0), weight))
        return self

    def __exit__(self, *_: object) -> None:
        for evaluator, _weight in self._evaluators:
            evaluator.potential.close()

    def energies(self, run: Run, positions: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """(K, P) eV of positions (K, P, n, 3) in cells (K, 3, 3)."""
        from pimd.potentials.base import Batch, Wanted

        n_sets, n_beads = positions.shape[:2]
        total = np.zeros(n_sets * n_beads)
        for evaluator, weight in self._evaluators:
            batch = Batch.from_beads(
                positions, cells, run.setup.numbers, run.setup.pbc,
                dtype=evaluator.potential.dtype, device=evaluator.potential.device,
            )
            wanted = Wanted(forces=False, virials=False)
            total += weight * evaluator.evaluate(batch, wanted).energies
        return total.reshape(n_sets, n_beads)


class _Store:
    """What was evaluated before, in a file that is replaced as a whole.

    A run that goes on from a checkpoint may come to other positions at the same steps; checksums
    of the positions tell.
    """

    def __init__(self, path: Path | None, identity: str, run: Run) -> None:
        self.path, self.identity, self.run = path, identity, run
        self._checksums: dict[int, int] = {}  # of frames
        self._kept_at = time.monotonic()

    def fill(self, frames: np.ndarray, atoms: np.ndarray, work: np.ndarray) -> None:
        """Put in what the file has of these frames and atoms."""
        if self.path is None or not self.path.is_file():
            return
        with np.load(self.path) as file:
            if str(file["identity"]) != self.identity:
                return
            columns = (file["step"], file["checksum"], file["atoms"], file["work"])
        known = {int(step): rest for step, *rest in zip(*columns, strict=True)}
        for row, frame in enumerate(frames):
            kept = known.get(int(self.run.step[frame]))
            if kept is None or not np.array_equal(kept[1], atoms[row]):
                continue
            if int(kept[0]) == self._checksum(int(frame)):
                work[row] = kept[2]

    def keep(
        self, frames: np.ndarray, atoms: np.ndarray, work: np.ndarray, now: bool = False
    ) -> None:
        """Write what there is, now and then."""
        if self.path is None or not (now or time.monotonic() - self._kept_at > KEEP_EVERY_S):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        done = np.flatnonzero(~np.isnan(work).any(axis=1))
        checksums = [self._checksum(int(frame)) for frame in frames[done]]
        with whole_file(self.path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file, identity=self.identity, step=self.run.step[frames[done]],
                checksum=np.array(checksums, dtype=np.uint32), atoms=atoms[done], work=work[done],
            )
        self._kept_at = time.monotonic()

    def _checksum(self, frame: int) -> int:
        from pimd.record.labels import checksum

        if frame not in self._checksums:
            self._checksums[frame] = checksum(self.run.read("positions", frame))
        return self._checksums[frame]


def _watched(groups: Iterator[np.ndarray], total: int, say: Say) -> Iterator[np.ndarray]:
    """Groups one after another, with a line now and then."""
    from pimd.run.progress import duration

    started = said = time.monotonic()
    done = 0
    for rows in groups:
        yield rows
        done += len(rows)
        now = time.monotonic()
        if now - said > SAY_EVERY_S:
            said = now
            left = (now - started) / done * (total - done)
            say(f"frame {done}/{total}  ETA {duration(left)}")
