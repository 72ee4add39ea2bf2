"""A driver that follows a script: a harmonic potential, until it does what a test wants to see.

    python scripted_driver.py unix:PATH [--fault NAME] [--at N] [--bead B] [--delay S]
                              [--calls FILE]

Works for N exchanges, then does NAME once. Speaks the batched and the single protocol. Writes one
line for each exchange to FILE: the number of structures that differ and the number sent.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time

import numpy as np

STIFFNESS = 0.02
"""Hartree per bohr squared."""


def header(word: str) -> bytes:
    return word.ljust(12).encode()


class Closed(Exception):
    """The server has gone."""


class Driver:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.batch_size = 1
        self.exchanges = 0
        self.initialised = self.has_data = False
        self.socket = connect(options.address)

    def read(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise Closed
            data += part
        return data

    def read_array(self, kind: type, *shape: int) -> np.ndarray:
        n = int(np.prod(shape)) * np.dtype(kind).itemsize
        return np.frombuffer(self.read(n), kind).reshape(shape)

    def serve(self) -> None:
        while True:
            word = self.read(12).strip().decode()
            if word == "STATUS":
                self.say_status()
            elif word == "INIT":
                self.read_array(np.int32, 1)
                length = int(self.read_array(np.int32, 1)[0])
                text = self.read(length).decode()
                for token in text.split(","):
                    name, _, value = token.partition(":")
                    if name.strip() == "batch_size" and self.options.fault != "no_batches":
                        self.batch_size = int(value)
                self.initialised = True
            elif word == "POSDATA":
                positions = self.read_positions()
                if self.options.fault == "die" and self.exchanges == self.options.at:
                    os._exit(1)  # with GETFORCE unread: the server's connection is reset
                self.has_data = True
            elif word == "GETFORCE":
                self.answer(positions)
                self.has_data = False
            elif word == "EXIT":
                return
            else:
                raise SystemExit(f"scripted_driver: unexpected message {word!r}")

    def say_status(self) -> None:
        if self.options.fault == "no_greeting":
            time.sleep(3600)
        if self.options.fault == "mute" and self.exchanges > self.options.at:
            time.sleep(3600)
        state = "HAVEDATA" if self.has_data else "READY" if self.initialised else "NEEDINIT"
        self.socket.sendall(header(state))

    def read_positions(self) -> np.ndarray:
        """[structure, atom * xyz], bohr."""
        if self.batch_size == 1:
            self.read_array(np.float64, 18)
            n_atoms = int(self.read_array(np.int32, 1)[0])
            return self.read_array(np.float64, 1, 3 * n_atoms)
        n_atoms = int(self.read_array(np.int32, 1)[0])
        self.read_array(np.float64, self.batch_size, 18)
        return self.read_array(np.float64, self.batch_size, 3 * n_atoms)

    def answer(self, positions: np.ndarray) -> None:
        self.exchanges += 1
        if self.options.calls:
            with open(self.options.calls, "a") as file:
                file.write(f"{len(np.unique(positions, axis=0))} {len(positions)}\n")
        time.sleep(self.options.delay)
        energies = 0.5 * STIFFNESS * (positions**2).sum(axis=1)
        forces = -STIFFNESS * positions
        virials = np.zeros((len(positions), 3, 3))
        n_atoms = positions.shape[1] // 3
        extras = [b""] * len(positions)
        fault = self.options.fault if self.exchanges == self.options.at + 1 else ""
        bead = min(self.options.bead, len(positions) - 1)
        if fault == "close":
            self.socket.close()
            raise Closed
        if fault == "hang":
            time.sleep(3600)
        if fault == "nan_force":
            forces[bead, 4] = np.nan
        if fault == "fewer_atoms":
            n_atoms -= 2
            forces = np.zeros((len(positions), 3 * n_atoms))
        if fault == "list_extras":
            extras[bead] = b"[1, 2, 3]"
        message = (
            header("FORCEREADY")
            + energies.tobytes()
            + np.int32(n_atoms).tobytes()
            + forces.tobytes()
            + virials.tobytes()
            + b"".join(np.int32(len(text)).tobytes() + text for text in extras)
        )
        if fault == "truncate":
            self.socket.sendall(message[: len(message) // 2])
            time.sleep(3600)
        self.socket.sendall(message)


def connect(address: str) -> socket.socket:
    """Connect, waiting up to 20 s for the server to exist."""
    kind, _, rest = address.partition(":")
    deadline = time.monotonic() + 20.0
    while True:
        try:
            if kind == "unix":
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connection.connect(rest)
            else:
                host, _, port = rest.partition(":")
                connection = socket.create_connection((host, int(port)))
            return connection
        except OSError:
            if time.monotonic() > deadline:
                sys.exit(f"scripted_driver: nobody listens at {address}")
            time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--fault", default="")
    parser.add_argument("--at", type=int, default=3)
    parser.add_argument("--bead", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--calls", default="")
    driver = Driver(parser.parse_args())
    try:
        driver.serve()
    except (Closed, OSError):
        sys.exit(1)


if __name__ == "__main__":
    main()
