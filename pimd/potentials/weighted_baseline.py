"""A committee's correction to a baseline, weighted by how sure the committee is.

    U = V_b + E_0 + w V,  w = S_b / (S_b + S),   S = alpha²/(M-1) sum_i (V_i - V)²

with V_b the baseline, V = 1/M sum_i V_i the mean of the learned corrections less their
composition energy E_0, S their calibrated variance and S_b = N sigma_b² that of the baseline. The
derivatives are exact,

    F = F_b + w F - 2 V S_b/(S_b + S)² alpha²/(M-1) sum_i (V_i - V)(F_i - F)

and virials likewise. Where the committee is sure, w -> 1 and U is the corrected potential; where
it is not, w -> 0 and U is the baseline.

S_b grows with the number of atoms N as S does where the errors of distant parts are independent:
for such parts w of the whole is that of the parts, and U is the sum of theirs. Errors that all
parts share (copies of one structure) let S grow with N², and w of the whole is then smaller.

Source: Imbalzano et al., J. Chem. Phys. 154, 074102 (2021).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Weighting"]


@dataclass(frozen=True)
class Weighting:
    """The weight of a committee's correction, and what its derivatives need.

    Attributes:
        weight: w, (n_structures,).
        slope: -2 V S_b/(S_b + S)² alpha²/(M-1), 1/eV, (n_structures,).
        deviations: V_i - V, not calibrated, eV, (n_members, n_structures).
    """

    weight: Tensor
    slope: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, corrections: Tensor, variance_baseline: Tensor, alpha: float) -> Weighting:
        """Of corrections less their composition energy (n_members, n_structures), eV, and S_b of
        each structure (n_structures,), eV²."""
        mean = corrections.mean(0)
        deviations = corrections - mean
        scale = alpha * alpha / (len(corrections) - 1)
        total = variance_baseline + scale * deviations.square().sum(0)
        slope = -2.0 * mean * variance_baseline / total.square() * scale
        return cls(variance_baseline / total, slope, deviations)

    def derivative(self, members: Tensor, structure_index: Tensor | None = None) -> Tensor:
        """w F + slope sum_i (V_i - V) F_i, of derivatives of the corrections.

        (Taking the mean off F_i changes nothing, since the deviations sum to zero.)

        Args:
            members: (n_members, n_atoms, 3) with the structure of each atom, or
                (n_members, n_structures, 3, 3) without.
        """
        factors = self.weight / len(members) + self.slope * self.deviations  # [member, structure]
        if structure_index is not None:
            factors = factors.index_select(1, structure_index)
        factors = factors.reshape(*factors.shape, *([1] * (members.ndim - 2)))
        return (factors.to(members.dtype) * members).sum(0)
