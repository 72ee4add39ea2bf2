"""The loss, and how the learning rate and its prefactors go.

For structures s of N_s atoms, members m and the weights w_ms of a member's own training set,

    L_m = sum_s w_ms [ p_e (E_ms - E_s)² + (p_f / 3) sum_a |F_msa - F_sa|² ] / sum_s N_s

which for structures of one size is the loss of DeepPot: p_e / N |dE|² + p_f / (3 N) |dF|². The
learning rate falls exponentially, and the prefactors follow it from `start` to `limit`,

    r(t) = r_start (r_stop / r_start)^t,    p(t) = limit + (start - limit) r(t) / r_start,

t from 0 to 1: forces, of which there are many, shape the networks while steps are large;
energies are settled at the end.

Source: L. Zhang, J. Han, H. Wang, R. Car, W. E, Phys. Rev. Lett. 120, 143001 (2018).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

__all__ = ["Schedule", "errors_loss"]


@dataclass(frozen=True)
class Schedule:
    """Learning rate and prefactors as functions of the share of the training that is done.

    Attributes:
        rate_start, rate_stop: learning rates.
        energy_start, energy_limit: prefactors of the energies, 1/eV².
        force_start, force_limit: prefactors of the forces, Å²/eV².
    """

    rate_start: float = 5e-3
    rate_stop: float = 2e-5
    energy_start: float = 0.02
    energy_limit: float = 2.0
    force_start: float = 1.0
    force_limit: float = 1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value >= 0.0:
                raise ValueError(f"{name} is a positive number, got {value}")
        if not 0.0 < self.rate_stop <= self.rate_start:
            raise ValueError(
                f"learning rates: expected 0 < stop <= start, got {self.rate_stop} and "
                f"{self.rate_start}"
            )

    def rate(self, done: float) -> float:
        """Learning rate when this share of the steps, 0 to 1, is done."""
        return self.rate_start * (self.rate_stop / self.rate_start) ** done

    def prefactors(self, rate: float) -> tuple[float, float]:
        """Prefactors of energies and forces at a learning rate."""
        share = rate / self.rate_start
        return (
            self.energy_limit + (self.energy_start - self.energy_limit) * share,
            self.force_limit + (self.force_start - self.force_limit) * share,
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def errors_loss(
    energy_errors: Tensor,
    force_errors: Tensor,
    weights: Tensor,
    structure_index: Tensor,
    prefactors: tuple[float, float],
) -> Tensor:
    """L_m of every member, (n_members,).

    Args:
        energy_errors: eV, (n_members, n_structures).
        force_errors: eV/Å, (n_members, n_atoms, 3).
        weights: w_ms, (n_members, n_structures).
        structure_index: structure of each atom, (n_atoms,).
        prefactors: of energies and forces.
    """
    of_energies, of_forces = prefactors
    squares = force_errors.square().sum(-1)  # [member, atom]
    forces = (weights.index_select(1, structure_index) * squares).sum(1)
    energies = (weights * energy_errors.square()).sum(1)
    return (of_energies * energies + (of_forces / 3.0) * forces) / len(structure_index)
