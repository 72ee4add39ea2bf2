"""Whether the momenta of a run have the distribution of their temperature, not only its mean.

The kinetic energy of f degrees of freedom is gamma distributed, of shape f/2 and scale kT: mean
f kT/2, variance f (kT)^2/2. A thermostat that only holds the mean (Berendsen's), or chains that do
not mix, show in the distribution. For a ring polymer, i-PI's kinetic energies are over P, of P
times as many degrees of freedom at P T, which leaves the scale kT. Samples are taken far enough
apart to be independent, and compared by the Kolmogorov-Smirnov test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pimd.analysis.statistics import inefficiency
from pimd.units import KB_EV_PER_KELVIN

__all__ = ["MomentaCheck", "check_momenta", "kinetic_of_temperature"]

APART = 2.0
"""Inefficiencies between samples that count as independent."""
FEWEST = 20
UNLIKELY = 1e-3


@dataclass(frozen=True)
class MomentaCheck:
    """Kinetic energies against a gamma distribution.

    Attributes:
        mean: over f kT/2.
        variance: over f (kT)^2/2.
        probability: of a deviation at least as large (Kolmogorov-Smirnov).
        n_samples: independent ones.
    """

    mean: float
    variance: float
    probability: float
    n_samples: int

    @property
    def passed(self) -> bool:
        return self.probability >= UNLIKELY


def check_momenta(
    kinetic: np.ndarray, freedoms: float, temperature: float
) -> MomentaCheck | None:
    """Compare; None: there are fewer than 20 independent samples.

    Args:
        kinetic: (n_samples,) eV, of the momenta of all beads, over P, after equilibration.
        freedoms: degrees of freedom of all beads: 3 N P, less 3 where the centre of mass is held.
        temperature: K.

    Raises:
        ValueError: no series, or no degrees of freedom.
    """
    from scipy.stats import gamma, kstest

    if not freedoms > 0 or not temperature > 0:
        raise ValueError(f"{freedoms} degrees of freedom at {temperature} K have no momenta")
    k = np.asarray(kinetic, dtype=float) / (KB_EV_PER_KELVIN * temperature)
    g = inefficiency(k)
    stride = math.ceil(APART * g) if g > 1.0 else 1
    independent = k[::stride]
    if len(independent) < FEWEST:
        return None
    tested = kstest(independent, gamma(freedoms / 2).cdf)
    return MomentaCheck(
        float(k.mean() / (freedoms / 2)), float(k.var(ddof=1) / (freedoms / 2)),
        float(tested.pvalue), len(independent),
    )


def kinetic_of_temperature(
    kelvin: np.ndarray, n_atoms: int, n_beads: int, fixcom: bool, temperature: float
) -> tuple[np.ndarray, int]:
    """Kinetic energies, eV, over P, of i-PI's `temperature`, and the degrees of freedom they have.

    i-PI adds the mean of the three of the centre of mass that are held, and divides by all 3 N P.

    Args:
        kelvin: (n_samples,) i-PI's temperatures, K.
        n_atoms, n_beads, fixcom: of the run.
        temperature: K, of the ensemble.
    """
    every, held = 3 * n_atoms * n_beads, 3 if fixcom else 0
    kinetic = 0.5 * KB_EV_PER_KELVIN * (every * np.asarray(kelvin, float) - held * temperature)
    return kinetic, every - held
