"""Whether two runs at different temperature or pressure sample the ensembles they claim to.

Of two canonical ensembles with reduced energies u_1, u_2 the difference D = u_2 - u_1 has

    ln [p_2(D)/p_1(D)] = f - D

whatever the potential: a line of slope -1 with nothing to adjust but f, the difference of their
free energies f_2 - f_1 (M. R. Shirts, J. Chem. Theory Comput. 9, 909 (2013)). The slope is found by
maximum likelihood, without bins: a sample of D is one of run 2 with the probability
1/(1 + exp(s D - f - M)), M = ln(n_2/n_1). A thermostat that only holds the mean energy, a cut-off
that heats, a wrong number of degrees of freedom: all change the slope.

For P beads, with C = beta^2 S, which depends on the beads alone,

    u = beta (V + pV_cell) + C/beta

S: energy of the springs over P (i-PI's `spring`); V: mean over the beads. With P = 1, at one
pressure, D is (beta_2 - beta_1) V. Momenta, where they are to be checked too, add beta K, K the
kinetic energy of all beads over P (`kinetic_md`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pimd.analysis.statistics import inefficiency
from pimd.units import KB_EV_PER_KELVIN

__all__ = ["EnsembleCheck", "Sampled", "check_pair", "differences", "log_ratio"]

MOST_DEVIATION = 3.0
"""Standard errors by which the slope may be off."""
LEAST_PRECISE = 0.3
"""Error of the slope beyond which the check says nothing."""
MOST_ITERATIONS = 100


@dataclass(frozen=True)
class Sampled:
    """What a run has sampled, after equilibration, and at what state it was to be.

    Attributes:
        temperature: K.
        potential: (n_samples,) eV, mean over the beads.
        spring: (n_samples,) eV, S; None: classical.
        volume: (n_samples,) Å^3; None: it did not change.
        pressure: eV/Å^3 of the barostat; None: there is none.
        kinetic: (n_samples,) eV, of the momenta of all beads, over P; None: left out.
        n_beads: P; only runs of the same number of beads have a D.
    """

    temperature: float
    potential: np.ndarray
    spring: np.ndarray | None = None
    volume: np.ndarray | None = None
    pressure: float | None = None
    kinetic: np.ndarray | None = None
    n_beads: int = 1


@dataclass(frozen=True)
class EnsembleCheck:
    """Slope of ln[p_2/p_1] against -D, which is to be 1.

    Attributes:
        slope: by maximum likelihood.
        error: its standard error, correlation counted.
        difference: f with the slope at 1, that is f_2 - f_1 in kT (BAR).
        deviation: (slope - 1)/error.
        n_samples: of each run.
        inefficiencies: of D in each run.
        first, second: D of the samples of each run, kT.
        warnings: what should make a reader careful, one line each.
    """

    slope: float
    error: float
    difference: float
    n_samples: tuple[int, int]
    inefficiencies: tuple[float, float]
    first: np.ndarray
    second: np.ndarray
    warnings: tuple[str, ...] = ()

    @property
    def deviation(self) -> float:
        return (self.slope - 1.0) / self.error

    @property
    def passed(self) -> bool:
        """Whether the slope is 1 within its error, and the error small enough to tell."""
        return abs(self.deviation) <= MOST_DEVIATION and self.error <= LEAST_PRECISE


def differences(of: Sampled, first: Sampled, second: Sampled) -> np.ndarray:
    """D = u_2 - u_1 at the samples of one of the two runs, (n_samples,), kT.

    Raises:
        ValueError: states that do not differ, or quantities that one run lacks.
    """
    betas = [1.0 / (KB_EV_PER_KELVIN * run.temperature) for run in (first, second)]
    if betas[0] == betas[1] and first.pressure == second.pressure:
        raise ValueError(
            f"both runs are at {first.temperature:g} K and the same pressure: the check needs two "
            "temperatures, or two pressures"
        )
    if first.n_beads != second.n_beads:
        raise ValueError(
            f"runs of {first.n_beads} and {second.n_beads} beads have no states in common: the "
            "check needs as many beads in both"
        )
    if (first.pressure is None) != (second.pressure is None):
        raise ValueError("one of the two runs has a barostat and the other has none")
    for name in ("spring", "kinetic"):
        if (getattr(first, name) is None) != (getattr(second, name) is None):
            raise ValueError(f"one of the two runs has {name} energies and the other has none")
    found = (betas[1] - betas[0]) * np.asarray(of.potential, dtype=float)
    if of.kinetic is not None:
        found = found + (betas[1] - betas[0]) * of.kinetic
    if of.spring is not None:
        fixed = np.asarray(of.spring) / (KB_EV_PER_KELVIN * of.temperature) ** 2  # C, 1/eV
        found = found + (1 / betas[1] - 1 / betas[0]) * fixed
    if first.pressure is not None and second.pressure is not None:
        if of.volume is None:
            raise ValueError("a run at constant pressure needs the volumes of its samples")
        factor = betas[1] * second.pressure - betas[0] * first.pressure
        found = found + factor * of.volume
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError("energies of the samples must be finite numbers, (n_samples,)")
    return found


def check_pair(first: Sampled, second: Sampled) -> EnsembleCheck:
    """Compare two runs.

    Raises:
        ValueError: as `differences`, or the two have no energies in common.
    """
    d = [differences(run, first, second) for run in (first, second)]
    if min(len(x) for x in d) < 10:
        raise ValueError(f"too few samples for a check: {len(d[0])} and {len(d[1])}")
    g = [inefficiency(x) for x in d]
    if min(d[0].max(), d[1].max()) <= max(d[0].min(), d[1].min()):
        raise ValueError(
            "the energies of the two runs do not overlap: take temperatures or pressures that are "
            "closer together"
        )
    slope, error = _most_likely(d, g)
    difference = _most_likely(d, g, slope=1.0)[0]
    careful = []
    if error > LEAST_PRECISE:
        careful.append(
            f"the slope is known to {error:.2g} only: it says nothing; sample longer, or take "
            "temperatures further apart (but overlapping)"
        )
    elif abs(slope - 1) > MOST_DEVIATION * error:
        careful.append(
            f"the slope is {slope:.4g}, not 1, by {abs(slope - 1) / error:.1f} standard errors: "
            "at least one run does not sample its ensemble (a long time step, no equilibrium, or "
            "a thermostat or barostat that is not canonical)"
        )
    return EnsembleCheck(
        slope, error, difference, (len(d[0]), len(d[1])), (g[0], g[1]), d[0], d[1],
        tuple(careful),
    )


def log_ratio(
    check: EnsembleCheck, n_bins: int = 20
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres of bins of D, ln[p_2/p_1] there and its standard error, for a figure.

    Bins with fewer than 5 samples of either run are left out.
    """
    low = max(check.first.min(), check.second.min())
    high = min(check.first.max(), check.second.max())
    edges = np.linspace(low, high, n_bins + 1)
    counts = [np.histogram(x, edges)[0] for x in (check.first, check.second)]
    kept = np.minimum(*counts) >= 5
    a, b = (c[kept].astype(float) for c in counts)
    ratio = np.log(b / len(check.second)) - np.log(a / len(check.first))
    g1, g2 = check.inefficiencies
    return 0.5 * (edges[1:] + edges[:-1])[kept], ratio, np.sqrt(g1 / a + g2 / b)


def _most_likely(
    d: list[np.ndarray], g: list[float], slope: float | None = None
) -> tuple[float, float]:
    """Slope and its error; or, with the slope given, f and its error.

    Newton's method on the log-likelihood, which is concave; each sample counts 1/g, which makes the
    curvature at the maximum that of independent samples.
    """
    x = np.concatenate(d)
    of_second = np.repeat([0.0, 1.0], [len(d[0]), len(d[1])])
    weights = np.repeat([1 / g[0], 1 / g[1]], [len(d[0]), len(d[1])])
    centre, scale = x.mean(), x.std() or 1.0
    z = (x - centre) / scale
    fixed = np.zeros_like(z) if slope is None else -slope * scale * z
    columns = np.stack([np.ones_like(z), z], axis=1)[:, : 2 if slope is None else 1]
    theta = np.zeros(columns.shape[1])
    for _ in range(MOST_ITERATIONS):
        p = 1.0 / (1.0 + np.exp(-np.clip(columns @ theta + fixed, -500, 500)))
        gradient = columns.T @ (weights * (of_second - p))
        curvature = (columns * (weights * p * (1 - p))[:, None]).T @ columns
        try:
            step = np.linalg.solve(curvature, gradient)
        except np.linalg.LinAlgError:
            break
        size = float(np.abs(step).max())
        theta = theta + step * min(1.0, 5.0 / max(size, 1e-300))
        if size < 1e-10:
            covariance = np.linalg.inv(curvature)
            if slope is None:
                return float(-theta[1] / scale), float(math.sqrt(covariance[1, 1]) / scale)
            # theta = ln(n_2/n_1)(weighted) + f - s centre
            ratio = math.log(weights @ of_second) - math.log(weights @ (1 - of_second))
            return float(theta[0] + slope * centre - ratio), float(math.sqrt(covariance[0, 0]))
    raise ValueError(
        "the energies of the two runs hardly overlap: take temperatures or pressures that are "
        "closer together"
    )
