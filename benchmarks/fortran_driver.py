"""i-PI's Fortran driver, asked for energies and forces through its unix socket.

The server's half of i-PI's protocol, for single structures: STATUS -> READY, POSDATA with GETFORCE
right behind, -> FORCEREADY. Several drivers share the structures of a round, each served by a
thread of its own, as i-PI serves several drivers of one forcefield.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np

from pimd.units import BOHR_ANGSTROM, FORCE_AU_EV_PER_ANGSTROM, HARTREE_EV

TIME_LIMIT_S = 120.0


class FortranDrivers:
    """Drivers as child processes, until the `with` block ends.

    Args:
        executable: `driver.x` or `i-pi-driver`.
        number: how many.
        model: of its `-m`.
    """

    def __init__(self, executable: Path, number: int, model: str = "qtip4pf") -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(Path(self._folder.name) / "ipi_benchmark"))
        self._server.listen(number)
        self._server.settimeout(TIME_LIMIT_S)
        self._processes = [
            subprocess.Popen(
                [executable, "-u", "-a", "benchmark", "-m", model,
                 "-S", str(Path(self._folder.name) / "ipi_")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # it complains when its server leaves
            )
            for _ in range(number)
        ]  # fmt: skip
        self._connections = [self._server.accept()[0] for _ in range(number)]
        for connection in self._connections:
            connection.settimeout(TIME_LIMIT_S)
        self._pool = ThreadPoolExecutor(number)

    def __enter__(self) -> FortranDrivers:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.terminate()
            process.wait()
        self._server.close()
        self._folder.cleanup()

    def evaluate(self, positions: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies, eV, (n,), and forces, eV/Å, of positions (n, n_atoms, 3) in one cell, Å."""
        shares = np.array_split(np.arange(len(positions)), len(self._connections))
        energies = np.empty(len(positions))
        forces = np.empty_like(positions)

        def serve(connection: socket.socket, share: np.ndarray) -> None:
            for k in share:
                energies[k], forces[k] = _ask(connection, positions[k], cell)

        list(self._pool.map(serve, self._connections, shares))
        return energies, forces


def _ask(
    connection: socket.socket, positions: np.ndarray, cell: np.ndarray
) -> tuple[float, np.ndarray]:
    """Energy (eV) and forces (eV/Å) of one structure."""
    connection.sendall(_header("STATUS"))
    answer = _receive(connection, 12)
    if answer != _header("READY"):
        raise RuntimeError(f"the Fortran driver should be READY, but says {answer!r}")
    columns = cell.T / BOHR_ANGSTROM
    n_atoms = len(positions)
    connection.sendall(
        _header("POSDATA")
        + columns.tobytes()
        + np.linalg.inv(columns).tobytes()
        + struct.pack("=i", n_atoms)
        + (positions / BOHR_ANGSTROM).tobytes()
        + _header("GETFORCE")
    )
    answer = _receive(connection, 12)
    if answer != _header("FORCEREADY"):
        raise RuntimeError(f"the Fortran driver should give FORCEREADY, but says {answer!r}")
    (energy,) = struct.unpack("=d", _receive(connection, 8))
    _receive(connection, 4)  # number of atoms
    forces = np.frombuffer(_receive(connection, 24 * n_atoms)).reshape(-1, 3)
    _receive(connection, 72)  # virial
    (length,) = struct.unpack("=i", _receive(connection, 4))
    _receive(connection, length)
    return energy * HARTREE_EV, forces * FORCE_AU_EV_PER_ANGSTROM


def _header(word: str) -> bytes:
    return word.ljust(12).encode()


def _receive(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise RuntimeError("the Fortran driver closed its connection")
        parts += part
    return bytes(parts)
