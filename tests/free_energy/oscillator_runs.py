"""Runs of oscillators whose beads come from the exact distribution, with energies as stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from oscillator_beads import oscillator_beads

from pimd.record.run import Run
from pimd.record.setup import Setup
from pimd.units import AMU_ANGSTROM2_PER_FS2_EV, HBAR_EV_FS, KB_EV_PER_KELVIN

TEMPERATURE, MASS, N_BEADS = 300.0, 1.00794, 8
KT = KB_EV_PER_KELVIN * TEMPERATURE


def spec(x: float) -> str:
    """A trap with beta hbar omega = x."""
    stiffness = MASS * AMU_ANGSTROM2_PER_FS2_EV * (x * KT / HBAR_EV_FS) ** 2
    return f"{{potential: harmonic, k: {stiffness:.12g}}}"


def oscillator_run(
    x: float,
    n_atoms: int,
    n_frames: int,
    seed: int,
    *,
    given: str | None = None,
    directory: Path | None = None,
    **setup: object,
) -> Run:
    """Particles in a trap with beta hbar omega = x, or that has been given another name."""
    omega = x * KT / HBAR_EV_FS
    mass = MASS * AMU_ANGSTROM2_PER_FS2_EV
    flat = oscillator_beads(
        N_BEADS, 3 * n_atoms * n_frames, seed, kt=KT, mass=mass, omega=omega, hbar=HBAR_EV_FS
    )
    q = flat.reshape(n_frames, n_atoms, 3, N_BEADS).transpose(0, 3, 1, 2)
    energies = 0.5 * mass * omega**2 * np.square(q).sum(axis=(2, 3))  # [frame, bead]
    description = Setup(**{
        "numbers": np.ones(n_atoms, dtype=int), "masses": np.full(n_atoms, MASS),
        "n_beads": N_BEADS, "temperature": TEMPERATURE, "timestep": 0.5, "mode": "nvt",
        "thermostats": ("pile_l",), "fixcom": False,
        "forcefields": {"trap": spec(x) if given is None else given}, **setup,
    })  # fmt: skip
    steps = np.arange(n_frames) * 10
    arrays = {"positions": q, "energies": energies, "cells": np.zeros((n_frames, 3, 3))}
    return Run.from_arrays(description, steps, 0.5 * steps, arrays, directory=directory)
