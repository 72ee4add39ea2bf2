"""Makes init.xyz: 32 para-hydrogen molecules in the order of a liquid.

    python make_init.py > init.xyz

Metropolis Monte Carlo of classical particles with the Silvera-Goldman potential at 100 K, hot
enough to melt the face-centred cubic lattice it starts from; the seed is fixed.
"""

import numpy as np
import torch

from pimd.potentials.silvera_goldman import pair_energy
from pimd.units import KB_EV_PER_KELVIN

LENGTH = 11.896  # Å, box of 32 molecules
TEMPERATURE = 100.0  # K
SWEEPS = 300
STEP = 0.9  # Å
SEED = 25


def energies(site: np.ndarray, others: np.ndarray) -> float:
    """Energy of a molecule with the others, nearest images within half the box, eV."""
    vectors = others - site
    vectors -= LENGTH * np.round(vectors / LENGTH)
    distances = np.linalg.norm(vectors, axis=1)
    near = distances[distances < LENGTH / 2]
    if near.size and near.min() < 1.5:  # the potential is no longer repulsive at 0
        return float("inf")
    return float(pair_energy(torch.from_numpy(near)).sum())


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    corners = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2.0
    cells = np.stack(np.meshgrid(*[range(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = (cells[:, None, :] + corners).reshape(-1, 3) * LENGTH / 2.0
    n = len(positions)
    for _ in range(SWEEPS * n):
        k = int(rng.integers(n))
        others = np.delete(positions, k, axis=0)
        trial = positions[k] + rng.uniform(-STEP, STEP, 3)
        change = energies(trial, others) - energies(positions[k], others)
        if rng.random() < np.exp(min(0.0, -change / (KB_EV_PER_KELVIN * TEMPERATURE))):
            positions[k] = trial
    positions %= LENGTH
    print(n)
    box = f"{LENGTH:.5f} {LENGTH:.5f} {LENGTH:.5f} 90.0 90.0 90.0"
    print(f"# CELL(abcABC): {box} positions{{angstrom}} cell{{angstrom}}")
    for x in positions:
        print(f"H {x[0]:12.6f} {x[1]:12.6f} {x[2]:12.6f}")


if __name__ == "__main__":
    main()
