"""The step of `pimd.dynamics.chains` for few chains: one after another, in plain floats."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, nan

import numpy as np

from pimd.dynamics.chain_blocks import Block

__all__ = ["propagate"]


def propagate(
    block: Block,
    velocities: np.ndarray,
    twice: np.ndarray,
    durations: Sequence[float],
    scale: np.ndarray,
) -> float:
    """As `pimd.dynamics.chain_blocks.BlockStep.propagate`."""
    change = 0.0
    chains = zip(block.rows, velocities.T.tolist(), twice.tolist(), strict=True)
    for k, ((pull, ratio, inverse_mass, target, kT), v, kinetic2) in enumerate(chains):
        try:
            log_scale, shift = _propagate_one(v, kinetic2 * inverse_mass, pull, ratio, durations)
            scale[k] = exp(log_scale)
        except OverflowError:
            v = [nan] * len(v)
            log_scale = shift = nan
        velocities[:, k] = v
        change += kT * shift - target * log_scale
    return change


def _propagate_one(
    v: list[float],
    drive: float,
    pull: list[float],
    ratio: list[float],
    durations: Sequence[float],
) -> tuple[float, float]:
    """One chain, v_j changed in place.

    Args:
        v: v_1 ... v_M.
        drive: sum p^2/m / Q_1.
        pull: N_f kT/Q_1, kT/Q_2, ..., so that G_1 = drive - pull_1.
        ratio: Q_1/Q_2, Q_2/Q_3, ..., so that G_j = ratio_(j-1) v_(j-1)^2 - pull_j.
        durations: of the stages.

    Returns:
        -xi_1 and the sum of xi_2 ... xi_M, both as changed in the step.
    """
    last = len(v) - 1
    up, down = range(last), range(last - 1, -1, -1)
    force = [drive - pull[0], *(ratio[j] * v[j] * v[j] - pull[j + 1] for j in up)]
    factor = [1.0] * last
    log_scale = shift = 0.0
    for d in durations:
        half, exponent = 0.5 * d, -0.25 * d
        v[last] += half * force[last]
        for j in down:
            factor[j] = e = exp(exponent * v[j + 1])
            v[j] = (v[j] * e + half * force[j]) * e
        log_scale -= d * v[0]
        shift += d * sum(v[1:])
        force[0] = drive * exp(2.0 * log_scale) - pull[0]
        for j in up:
            e = factor[j]
            v[j] = (v[j] * e + half * force[j]) * e
            force[j + 1] = ratio[j] * v[j] * v[j] - pull[j + 1]
        v[last] += half * force[last]
    return log_scale, shift
