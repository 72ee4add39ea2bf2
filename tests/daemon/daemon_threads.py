"""A daemon in a thread of the test, so that the test itself can play the server."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from daemon_servers import LIMIT, Peer, Reply

from pimd.daemon.models import NamedModels
from pimd.daemon.serve import ExitReason, Target, serve, serve_named
from pimd.evaluator import Evaluator
from pimd.potentials.base import Potential, Structure

BOHR, HARTREE = 0.529177210903, 27.211386245988


def structure(n_atoms: int, periodic: bool = False) -> Structure:
    """Hydrogen atoms along x, 1 Å apart."""
    positions = np.zeros((n_atoms, 3))
    positions[:, 0] = 0.1 * np.arange(n_atoms)
    return Structure(np.ones(n_atoms, int), positions, 30.0 * np.eye(3), np.full(3, periodic))


class Daemon:
    """`serve` in a thread, or `serve_named` where servers name their potentials."""

    def __init__(
        self,
        potential: Potential | NamedModels,
        targets: list[Target],
        dump_dir: Path | str = ".",
        **options: Any,
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.reason: ExitReason | None = None
        self.error: BaseException | None = None
        options.setdefault("connect_timeout", LIMIT)
        options.setdefault("reconnect_timeout", LIMIT)

        def run() -> None:
            try:
                options.update(report=self.events.append, dump_dir=dump_dir)
                if isinstance(potential, NamedModels):
                    self.reason = serve_named(potential, targets, **options)
                else:
                    self.reason = serve(Evaluator(potential), targets, **options)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def end(self) -> ExitReason:
        """Why the daemon ended, which it does within the limit."""
        self.thread.join(LIMIT)
        assert not self.thread.is_alive(), "the daemon did not end"
        if self.error is not None:
            raise self.error
        assert self.reason is not None
        return self.reason

    def told(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event]

    def budget(self) -> dict[str, Any]:
        return self.told("budget")[-1]

def beads(n_structures: int, n_atoms: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random positions and cubic cells, bohr."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(n_structures, n_atoms, 3))
    return positions, np.tile(40.0 * np.eye(3), (n_structures, 1, 1))


def check_spring(reply: Reply, positions: np.ndarray, k: float = 1.0) -> None:
    """The reply of a spring, V = k x²/2 with k in eV/Å²."""
    k_au = k / HARTREE * BOHR**2
    np.testing.assert_allclose(
        reply.energies, 0.5 * k_au * (positions**2).sum((1, 2)), rtol=1e-12
    )
    np.testing.assert_allclose(reply.forces, -k_au * positions, rtol=1e-12)
    virials = -k_au * np.einsum("bax,bay->bxy", positions, positions)
    np.testing.assert_allclose(reply.virials, virials, rtol=1e-11, atol=1e-12)


def assert_orderly_end(peer: Peer) -> None:
    """The client's end reads as an end of file, not as a reset connection."""
    with pytest.raises(EOFError):
        peer.read(1)
