"""A run in memory: four harmonic waters-to-be with ring polymers, and series of known averages."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pimd.record.run import Run
from pimd.record.series import Series
from pimd.record.setup import Setup

CELL = 9.0
N_ATOMS, N_BEADS, N_FRAMES, N_MEMBERS = 6, 4, 40, 5


def correlated(n: int, seed: int, memory: float = 0.5) -> np.ndarray:
    """(n,) with <x> = 0, <x^2> = 1, and correlation memory^t."""
    noise = np.random.default_rng(seed).normal(size=n)
    x = np.empty(n)
    x[0] = noise[0]
    for k in range(1, n):
        x[k] = memory * x[k - 1] + np.sqrt(1.0 - memory**2) * noise[k]
    return x


def setup(**changes: object) -> Setup:
    """Two molecules of water in a cubic cell."""
    numbers = np.array([8, 1, 1, 8, 1, 1])
    options: dict[str, object] = {
        "numbers": numbers, "masses": np.where(numbers == 8, 15.999, 1.008),
        "n_beads": N_BEADS, "temperature": 300.0, "timestep": 0.5,
        "pbc": np.ones(3, dtype=bool), "mode": "nvt", "splitting": "obabo",
        "thermostats": ("pile_l",), "forcefields": {"water": "{potential: <qtip4pf>}"},
        "total_steps": 390,
    }  # fmt: skip
    return Setup(**{**options, **changes})  # type: ignore[arg-type]


def positions(n_frames: int = N_FRAMES, seed: int = 3) -> np.ndarray:
    """(n_frames, N_BEADS, N_ATOMS, 3) Å: the first molecule lies across a face of the cell."""
    rng = np.random.default_rng(seed)
    molecule = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    places = np.array([[8.9, 4.0, 4.0], [4.0, 6.5, 2.0]])
    still = (places[:, None] + molecule).reshape(-1, 3)
    return still + 0.05 * rng.normal(size=(n_frames, N_BEADS, N_ATOMS, 3))


def run(
    directory: Path | None = None, *, members: bool = True, n_samples: int = 2000,
    temperature: float = 300.0, drift: float = 0.0,
) -> Run:
    """A run with series of `n_samples` and 40 frames, its conserved quantity drifting (eV/fs)."""
    step, frames = np.arange(n_samples), 10 * np.arange(N_FRAMES)
    time = 0.5 * step
    rng = np.random.default_rng(11)
    energies = rng.normal(-2.0, 0.01, (N_FRAMES, N_BEADS))
    arrays = {
        "positions": positions(), "cells": np.tile(CELL * np.eye(3), (N_FRAMES, 1, 1)),
        "energies": energies,
    }  # fmt: skip
    if members:
        spread = 0.006 * rng.normal(size=(N_FRAMES, N_MEMBERS, N_BEADS))
        arrays["member_energies"] = energies[:, None] + spread
    columns = {
        "temperature": Series("temperature", step, time,
                              temperature + 5.0 * correlated(n_samples, 1), "K"),
        "potential": Series("potential", step, time, -2.0 + 0.1 * correlated(n_samples, 2), "eV"),
        "conserved": Series("conserved", step, time,
                            7.0 + drift * time + 0.001 * correlated(n_samples, 4), "eV"),
        "pressure_cv": Series("pressure_cv", step, time, 1e-3 * correlated(n_samples, 5),
                              "eV/Å^3"),
    }  # fmt: skip
    return Run.from_arrays(setup(), frames, 0.5 * frames, arrays, columns, directory=directory)
