"""Energies of the stored beads of one run, in the potential that it sampled and in others.

Stored energies are taken where they are those of the potential at the stored positions: a few
frames are evaluated to see. Positions of few digits have energies of their own, and a difference
of energies must then take both at the same positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pimd.free_energy.sampled import Mixture, mixture_names
from pimd.units import BOHR_ANGSTROM, KB_EV_PER_KELVIN

if TYPE_CHECKING:
    from pimd.evaluate_progress import Progress
    from pimd.record.run import Run

__all__ = ["EnergiesOfRun", "MakeProgress"]

MakeProgress = Callable[[int | None], "Progress"]

ROUNDED = 0.01
"""kT by which stored and evaluated energies may differ before both are evaluated."""
ANOTHER = 0.05
"""kT beyond which it is not the potential that was sampled; or, where that is more,"""
NOISE = 2e-6
"""eV per atom, by which networks in fp32 may differ from one device to another."""
OF_FEW_DIGITS = 0.5
"""kT, where positions are stored with few digits."""
DIGITS = 8
"""Significant ones, of i-PI's text files at most."""
CHECKED = 3
"""Frames compared."""


class EnergiesOfRun:
    """Energies of the beads of one run.

    Args:
        run: as stored.
        mixture: the potential that it sampled.
        stride: every so many frames.
        check: whether stored energies are compared with those of the potential.
        progress: as of `pimd.relabel`.

    Attributes:
        frames: (n_frames,) indices of those that count.
        own: (n_frames, n_beads) eV, in the potential that was sampled.
        note: how `own` was had, in words.

    Raises:
        ValueError: too few frames, or `mixture` is not the potential that was sampled.
    """

    def __init__(
        self, run: Run, mixture: Mixture, stride: int, check: bool, progress: MakeProgress | None
    ) -> None:
        self.run, self._mixture, self._stride = run, mixture, stride
        self._progress = progress
        self.frames = np.arange(0, run.n_frames, stride)
        if len(self.frames) < 2:
            raise ValueError(f"{run.where}: {run.n_frames} frames with positions; run longer")
        self.note = "energies as stored"
        stored = run.read("energies", self.frames) if run.has("energies") else None
        if stored is None:
            self.note = "energies evaluated anew, as none are stored"
        elif check and (why := self._difference(stored)):
            self.note, stored = why, None
        self.own = self._evaluated(mixture) if stored is None else stored

    def of(self, state: Mixture) -> np.ndarray:
        """In a state."""
        return self.own if state == self._mixture else self._evaluated(state)

    def _evaluated(self, state: Mixture) -> np.ndarray:
        from pimd.relabel import relabel

        total = np.zeros((len(self.frames), self.run.n_beads))
        for spec, weight in state.to_evaluate():
            label = relabel(self.run, spec, stride=self._stride, progress=self._progress)
            total += weight * label.energies[self.frames]
        return total

    def _difference(self, stored: np.ndarray) -> str:
        """Why the energies have to be evaluated anew; empty: those stored are good.

        Raises:
            ValueError: the potential is not the one that was sampled.
        """
        from pimd.relabel import evaluate_frames

        chosen = np.unique(np.linspace(0, len(self.frames) - 1, CHECKED).round().astype(int))
        found = np.zeros((len(chosen), self.run.n_beads))
        for spec, weight in self._mixture.to_evaluate():
            found += weight * evaluate_frames(self.run, spec, self.frames[chosen])
        temperature = self.run.setup.temperature
        assert temperature is not None
        kt = KB_EV_PER_KELVIN * temperature
        off = (found - stored[chosen]).mean(axis=1) / kt
        coarse = _few_digits(self.run.read("positions", self.frames[chosen]))
        limit = max(ANOTHER, NOISE * self.run.n_atoms / kt)
        if np.abs(off).max() > (max(limit, OF_FEW_DIGITS) if coarse else limit):
            name = mixture_names([self._mixture])[0]
            raise ValueError(
                f"{self.run.where}: at {len(chosen)} frames {name} gives energies that are "
                f"{kt * off.mean():.6g} eV ({off.mean():.3g} kT) from those stored, "
                f"spread over {np.ptp(off):.2g} kT: it is not the potential that was sampled, or "
                "has another zero of energy (an <offset> of the forcefield, another version of the "
                "model); say what was sampled with --potential"
            )
        if np.abs(off).max() > ROUNDED:
            why = "positions have few digits" if coarse else "those stored differ by rounding"
            return f"energies evaluated anew: {why} ({np.abs(off).max():.2g} kT)"
        return ""


def _few_digits(positions: np.ndarray) -> bool:
    """Whether positions were rounded, in Å or in bohr."""
    for unit in (1.0, BOHR_ANGSTROM):
        x = np.abs(positions / unit)
        x = x[x > 0]
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(x)))
        if (np.abs(x * scale - np.round(x * scale)) < 1e-5).all():
            return True
    return False
