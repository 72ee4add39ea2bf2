"""From predictions to the reply to GETFORCE, in atomic units.

    V = E / hartree,  f = F / (hartree/bohr),  W = -dE/dstrain / hartree

i-PI's virial is -dV/dstrain of column vectors, x' = (1 + e) x; ours is that of row vectors,
x' = x (1 + e), so it is transposed. The layout of the reply is in `messages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pimd.daemon.messages import DOUBLE, HEADER_BYTES, INT, header
from pimd.daemon.segments import Segments
from pimd.units import FORCE_AU_EV_PER_ANGSTROM, HARTREE_EV

__all__ = ["ReplyBuffer"]

FORCEREADY = header("FORCEREADY")


class ReplyBuffer:
    """Memory for the replies of one connection, made once and written over every round.

    Args:
        n_structures: structures of every reply.
        n_atoms: atoms of each.
        segments: where the arrays go with shared memory; None: into the message.
    """

    def __init__(
        self, n_structures: int, n_atoms: int, segments: Segments | None = None
    ) -> None:
        self.n_structures, self.n_atoms = n_structures, n_atoms
        sizes = [DOUBLE * n_structures, INT, 3 * DOUBLE * n_atoms * n_structures]
        sizes.append(9 * DOUBLE * n_structures)
        in_message = [0, 0, 0, 0] if segments else sizes
        starts = np.cumsum([HEADER_BYTES, *in_message]).tolist()
        self._fixed = int(starts[-1])
        no_extras = INT * n_structures  # lengths of zero
        buffer = np.zeros(self._fixed + no_extras, np.uint8)
        buffer[:HEADER_BYTES] = np.frombuffer(FORCEREADY, np.uint8)
        self._view = buffer.data
        if segments:
            self._energies = segments.arrays["pot"]
            self._forces = segments.arrays["force"]
            self._virials = segments.arrays["vir"]
            return
        parts = [buffer[a:b] for a, b in pairwise(starts)]
        self._energies = parts[0].view(np.float64)
        parts[1].view(np.int32)[0] = n_atoms
        self._forces = parts[2].view(np.float64).reshape(n_structures, n_atoms, 3)
        self._virials = parts[3].view(np.float64).reshape(n_structures, 3, 3)

    def write(
        self,
        energies_ev: np.ndarray,
        forces_ev_per_angstrom: np.ndarray,
        virials_ev: np.ndarray,
        extras: Sequence[bytes] | None = None,
    ) -> list[memoryview]:
        """The reply, as pieces to be sent one after another; valid until the next `write`.

        Args:
            energies_ev: (n_structures,)
            forces_ev_per_angstrom: (n_structures, n_atoms, 3)
            virials_ev: (n_structures, 3, 3), -dE/dstrain of row vectors.
            extras: a JSON object per structure; None where nothing was asked for.
        """
        np.multiply(energies_ev, 1.0 / HARTREE_EV, out=self._energies)
        np.multiply(forces_ev_per_angstrom, 1.0 / FORCE_AU_EV_PER_ANGSTROM, out=self._forces)
        np.multiply(virials_ev.transpose(0, 2, 1), 1.0 / HARTREE_EV, out=self._virials)
        if extras is None:
            return [self._view]
        if len(extras) != self.n_structures:
            raise ValueError(f"expected {self.n_structures} extras, got {len(extras)}")
        tail = b"".join(np.int32(len(text)).tobytes() + text for text in extras)
        return [self._view[: self._fixed], memoryview(tail)]
