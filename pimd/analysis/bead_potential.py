"""A potential on stored beads: energies, forces and virials of frames, bead by bead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pimd.potentials.registry import Spec
    from pimd.record.setup import Setup

__all__ = ["BeadPotential", "OnBeads"]

BATCH_ATOMS = 20_000
"""Atoms in one batch, at most, unless one frame has more."""


@dataclass(frozen=True)
class OnBeads:
    """What a potential says of T frames of P beads.

    Attributes:
        energies: (T, P) eV.
        forces: (T, P, n, 3) eV/Å.
        virials: (T, P, 3, 3) eV, W = -dV/dstrain; None: not asked for, or they mean
            nothing (an external field, a potential without virials).
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray | None


class BeadPotential:
    """Evaluates the beads of frames in batches; a context manager that closes the potential.

    Args:
        spec: the potential.
        setup: of the run whose beads they are.

    Raises:
        PotentialError: what is wrong with the SPEC.
    """

    def __init__(self, spec: str | Mapping[str, Any] | Spec, setup: Setup) -> None:
        from pimd.potentials.registry import Spec, make_potential, parse_spec
        from pimd.relabel.tasks import evaluator_for

        parsed = spec if isinstance(spec, Spec) else parse_spec(spec)
        self.spec, self.setup = str(parsed), setup
        pbc = parsed.options.get("pbc")
        self.pbc = setup.pbc if pbc is None else np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
        self._potential = make_potential(parsed)
        self._evaluator = evaluator_for(self._potential, BATCH_ATOMS)

    def __enter__(self) -> BeadPotential:
        return self

    def __exit__(self, *_: object) -> None:
        self._potential.close()

    def frames_at_once(self, n_beads: int) -> int:
        """Frames whose beads make a batch."""
        return max(1, BATCH_ATOMS // (n_beads * self.setup.n_atoms))

    def evaluate(
        self, positions: np.ndarray, cells: np.ndarray | None = None, *, virials: bool = True
    ) -> OnBeads:
        """Evaluate frames.

        Args:
            positions: (T, P, n, 3) Å.
            cells: (T, 3, 3) Å; None: there are none.
            virials: whether they are wanted.

        Raises:
            ValueError: a bead cannot be evaluated; the message says which.
        """
        from pimd.evaluator import BadPrediction
        from pimd.potentials.base import Batch, Wanted

        n_frames, n_beads = positions.shape[:2]
        if cells is None:
            cells = np.zeros((n_frames, 3, 3))
        # an external field has a virial that depends on the origin
        virials = virials and self._potential.gives_virials and self._potential.invariant
        batch = Batch.from_beads(
            positions, cells, self.setup.numbers, self.pbc,
            dtype=self._potential.dtype, device=self._potential.device,
        )
        try:
            found = self._evaluator.evaluate(batch, Wanted(virials=virials))
        except BadPrediction as error:
            frame, bead = divmod(error.index, n_beads)
            raise ValueError(
                f"{self.spec}, frame {frame} of this block, bead {bead}: {error.what}"
            ) from error
        assert found.forces is not None
        return OnBeads(
            np.asarray(found.energies, dtype=float).reshape(n_frames, n_beads),
            np.asarray(found.forces, dtype=float).reshape(positions.shape),
            None if found.virials is None
            else np.asarray(found.virials, dtype=float).reshape(n_frames, n_beads, 3, 3),
        )
