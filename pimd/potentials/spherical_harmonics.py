"""Real spherical harmonics of unit vectors, and what they make of powers of cosines.

    S_l,m = q_lm(z) A_m,  S_l,-m = q_lm(z) B_m,  A_m + i B_m = (x + i y)^m,  0 <= m <= l,
    q_mm = 1,  q_lm = z q_{l-1,m} - c_lm q_{l-2,m},  c_lm = ((l-1)² - m²) / (4 (l-1)² - 1)

with q_lm the associated Legendre functions without sin^m, scaled so that the leading coefficient
is 1. Their addition theorem

    sum_m n_lm S_lm(u) S_lm(v) = P_l(u . v),  n_lm = (2 - [m = 0]) (2l-1)!!² / ((l+m)! (l-m)!)

turns a sum over pairs of vectors into products of sums over vectors: for whole zeta

    2^(1-zeta) (1 + lambda c)^zeta = sum_{l=0}^{zeta} b_l P_l(c),
    b_l = lambda^l 2 (2l + 1) zeta!² / ((zeta - l)! (zeta + l + 1)!).

Components are ordered l = 0, 1, ... and m = -l ... l in each: (l, m) is number l² + l + m.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

__all__ = ["cosine_powers", "gradient_matrices", "harmonics"]


def cosine_powers(zeta: int, lambda_: int) -> Tensor:
    """b_l n_lm of the module up to l = zeta, ((zeta + 1)²,) float64.

    With it, 2^(1-zeta) (1 + lambda u . v)^zeta = sum_lm value_lm S_lm(u) S_lm(v).
    """
    values = []
    for degree in range(zeta + 1):
        b = lambda_**degree * 2 * (2 * degree + 1) * math.factorial(zeta) ** 2
        b /= math.factorial(zeta - degree) * math.factorial(zeta + degree + 1)
        odd = math.prod(range(1, 2 * degree, 2)) ** 2
        for m in map(abs, range(-degree, degree + 1)):
            below = math.factorial(degree + m) * math.factorial(degree - m)
            values.append(b * (2 if m else 1) * odd / below)
    return torch.tensor(values, dtype=torch.float64)


def harmonics(unit: Tensor, rank: int, square: Tensor | None = None) -> list[Tensor]:
    """S_lm of unit vectors, a list of (rank + 1)² tensors (n,).

    Args:
        unit: x, y and z of the vectors, (3, n).
        rank: largest l.
        square: x² + y² + z², where the solid harmonics r^l S_lm(u) of any vectors are wanted.
    """
    x, y, z = unit
    found: list[Tensor] = [torch.ones_like(x)] * (rank + 1) ** 2
    a, b = found[0], torch.zeros_like(x)
    for m in range(rank + 1):
        if m == 1:
            a, b = x, y
        elif m > 1:
            a, b = x * a - y * b, x * b + y * a
        q: list[Tensor] = []  # q_mm, q_m+1,m, ...
        for degree in range(m, rank + 1):
            middle = degree * degree + degree
            if degree == m:
                found[middle + m], found[middle - m] = a, b
                if m == 0:
                    found[middle] = a
                q.append(found[0])
                continue
            value = z * q[-1] if degree > m + 1 else z
            if degree > m + 1:
                below = degree - 1
                c = (below * below - m * m) / (4 * below * below - 1)
                q_below = q[-2] if square is None else square * q[-2]
                value = torch.sub(value, q_below, alpha=c)
            q.append(value)
            if m == 0:
                found[middle] = value
            else:
                found[middle + m], found[middle - m] = value * a, value * b
    return found


@functools.cache
@torch.enable_grad()
def gradient_matrices(rank: int) -> Tensor:
    """Derivatives of solid harmonics as solid harmonics, (3, n_lm, n_lm) float64.

    dS_lm/dx_a = sum_l'm' D[a, lm, l'm'] S_l'm', where only l' = l - 1 occurs. Fitted at more
    points than there are components, where it holds exactly, and rounded to the exact fractions.
    """
    n = (rank + 1) ** 2
    generator = torch.Generator().manual_seed(0)
    points = torch.randn((3 * n + 8, 3), generator=generator, dtype=torch.float64)
    points = (points / points.norm(dim=1, keepdim=True)).requires_grad_()
    values = harmonics(points.T, rank, points.square().sum(1))
    basis = torch.stack(values, 1).detach()  # [point, lm]
    matrices = torch.zeros((3, n, n), dtype=torch.float64)
    for component in range(1, n):
        (slope,) = torch.autograd.grad(values[component].sum(), points, retain_graph=True)
        degree = math.isqrt(component)
        below = slice((degree - 1) ** 2, degree**2)
        fitted = torch.linalg.lstsq(basis[:, below], slope).solution  # [l'm', xyz]
        # whole numbers over 2 (2l - 1); the last bits of a fit differ from process to process
        whole = 2.0 * (2 * degree - 1)
        matrices[:, component, below] = (fitted.T * whole).round() / whole
    return matrices
