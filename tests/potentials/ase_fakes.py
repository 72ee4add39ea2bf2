"""ASE calculators that misbehave, or tell about the process they run in."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Springs(Calculator):
    """E = k/2 sum of squared distances from the mean; with a free energy 1 eV below."""

    implemented_properties = ("energy", "free_energy", "forces")
    default_parameters: ClassVar = {"k": 2.0}

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        arms = atoms.positions - atoms.positions.mean(axis=0)
        energy = 0.5 * self.parameters.k * (arms**2).sum()
        self.results = {
            "energy": energy + 1.0,
            "free_energy": energy,
            "forces": -self.parameters.k * arms,
        }


class Witness(Calculator):
    """Energy: how often this calculator was asked. Dipole: process id, threads, torch loaded.

    Computes only what is asked for, so that each call shows.
    """

    implemented_properties = ("energy", "forces", "stress", "dipole", "charges")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        facts = [os.getpid(), int(os.environ["OMP_NUM_THREADS"]), "torch" in sys.modules]
        values = {
            "energy": float(self.calls),
            "forces": np.zeros((len(atoms), 3)),
            "stress": np.zeros(6),
            "dipole": np.array(facts, dtype=float),
            "charges": np.zeros(len(atoms)),
        }
        self.results.update({name: values[name] for name in properties})


class Trouble(Springs):
    """Does what the first atom's element says; see `TROUBLES`."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        number = int(atoms.numbers[0])
        if number == TROUBLES["exception"]:
            raise RuntimeError("the moon is in the wrong phase")
        if number == TROUBLES["sleep"]:
            time.sleep(60.0)
        if number == TROUBLES["segfault"]:
            print("last words", flush=True)
            ctypes.string_at(0)
        if number == TROUBLES["exit"]:
            sys.exit(3)
        if number == TROUBLES["chatter"]:
            os.write(1, b"x" * 300_000)
        super().calculate(atoms, properties, system_changes)
        if number == TROUBLES["shape"]:
            self.results["forces"] = self.results["forces"][:-1]


TROUBLES = {"exception": 2, "sleep": 3, "segfault": 4, "exit": 5, "chatter": 6, "shape": 7}


class FromFile(Springs):
    """Reads its spring constant from a file, and writes one where it works."""

    def __init__(self, file, **kwargs):
        super().__init__(k=float(Path(file).read_text()), **kwargs)
        Path("written.txt").write_text("by a calculator")
