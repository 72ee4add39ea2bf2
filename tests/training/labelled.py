"""Small labelled sets for the tests of training."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from ase import Atoms
from ase.io import write

from pimd.evaluator import Evaluator
from pimd.potentials.registry import make_potential
from pimd.structure import Structure
from pimd.training.data import Labelled

SIGMA, EPSILON = 2.5, 0.05
LENNARD_JONES = {
    "potential": "lennard_jones", "sigma": SIGMA, "epsilon": EPSILON, "cutoff": 6.0,
}


WATER_COMMITTEE = Path(__file__).parents[2] / "inputs" / "water_committee"


def ring_polymers() -> ModuleType:
    """The module of inputs/water_committee that samples structures."""
    file = WATER_COMMITTEE / "ring_polymers.py"
    spec = importlib.util.spec_from_file_location("ring_polymers", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clusters(n: int, seed: int, number: int = 18) -> list[Structure]:
    """Dimers, trimers and tetramers, no two atoms nearer than 0.95 sigma."""
    rng = np.random.default_rng(seed)
    found: list[Structure] = []
    while len(found) < n:
        size = int(rng.integers(2, 5))
        x = rng.uniform(-2.6, 2.6, (size, 3))
        distances = np.linalg.norm(x[:, None] - x, axis=-1)[np.triu_indices(size, 1)]
        if distances.min() > 0.95 * SIGMA:
            found.append(Structure(np.full(size, number), x))
    return found


def labelled(structures: list[Structure], spec: object = None) -> list[Labelled]:
    """With energies and forces of a potential, Lennard-Jones by default."""
    evaluator = Evaluator(make_potential(spec or LENNARD_JONES), skin=0.0)
    result = evaluator.evaluate_structures(structures)
    ends = np.cumsum([len(s) for s in structures])
    return [
        Labelled(s, float(e), result.forces[end - len(s) : end], f"frame {k}")
        for k, (s, e, end) in enumerate(zip(structures, result.energies, ends, strict=True))
    ]


def write_labels(path: Path, data: list[Labelled], energy: str = "energy") -> Path:
    """An extended xyz."""
    frames = []
    for one in data:
        atoms: Atoms = one.structure.to_ase()
        atoms.info[energy] = one.energy
        atoms.arrays["forces"] = one.forces
        frames.append(atoms)
    write(path, frames, format="extxyz", write_results=False)
    return path
