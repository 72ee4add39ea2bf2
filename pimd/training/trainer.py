"""The loop: Adam over mini-batches, the best weights kept, the same bits after a resume.

Everything random follows from the seed and the number of the epoch, and the state is kept at
ends of epochs only, so that a training that was killed goes on as if it had not been.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pimd.potentials.element_networks import ElementNetworks
from pimd.training.loss import errors_loss
from pimd.training.options import TrainingOptions
from pimd.training.samples import Sample, committee_of, predict

__all__ = ["Epoch", "Trainer", "member_weights"]

Told = Callable[["Epoch"], None]


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave.

    Attributes:
        epoch: its number, from 1.
        rate: learning rate at its end.
        train_energy, train_forces: root mean square errors of the members while they learnt, of
            energies per atom (eV) and force components (eV/Å), on their own training sets.
        energy, forces: those of the committee's mean on the validation set.
        score: loss of that mean with the prefactors of the limit; the smallest is kept.
        seconds: wall time of all epochs so far.
    """

    epoch: int
    rate: float
    train_energy: float
    train_forces: float
    energy: float
    forces: float
    score: float
    seconds: float


def member_weights(options: TrainingOptions, n_structures: int) -> Tensor:
    """1 where a member learns from a structure, else 0: (n_members, n_structures) float64.

    Every member has its own draw of the share `subsample`, without replacement.
    """
    n_own = max(1, round(options.subsample * n_structures))
    generator = torch.Generator().manual_seed(options.seed + 1)
    weights = torch.zeros((options.members, n_structures), dtype=torch.float64)
    for own in weights:
        own[torch.randperm(n_structures, generator=generator)[:n_own]] = 1.0
    return weights


class Trainer:
    """Trains the networks of a committee.

    Args:
        networks: changed in place.
        train, validation: standardised samples.
        options: what is asked for.
        scale: eV per unit of the networks' output.

    Attributes:
        history: one entry for each epoch done.
        best: weights of the epoch with the smallest validation score.
    """

    def __init__(
        self,
        networks: ElementNetworks,
        train: Sequence[Sample],
        validation: Sequence[Sample],
        options: TrainingOptions,
        scale: float = 1.0,
    ) -> None:
        self.networks, self.options, self.scale = networks, options, scale
        self.train, self.validation = list(train), list(validation)
        self.parameters = [p.requires_grad_() for p in networks.parameters()]
        self.optimiser = torch.optim.Adam(self.parameters, lr=options.schedule.rate_start)
        like = self.parameters[0]
        self.weights = member_weights(options, len(train)).to(like.device, like.dtype)
        self.history: list[Epoch] = []
        self.best = self._weights()
        self.best_epoch = 0

    @property
    def done(self) -> bool:
        """Whether all epochs are done, or none was better for too long."""
        n = len(self.history)
        return n >= self.options.epochs or n - self.best_epoch >= self.options.patience

    def run(self, told: Told, stop: Callable[[], bool] = lambda: False) -> None:
        """Train until done, or until `stop` says so at the end of an epoch."""
        before = self.history[-1].seconds if self.history else 0.0
        start = time.perf_counter()
        while not self.done and not stop():
            energy, forces, rate = self._epoch(len(self.history))
            self._keep(energy, forces, rate, before + time.perf_counter() - start)
            told(self.history[-1])

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs: tensors, numbers and lists."""
        return {
            "weights": self._weights(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "history": [asdict(one) for one in self.history],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.networks.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.history = [Epoch(**one) for one in state["history"]]

    def restore_best(self) -> None:
        """Give the networks the best weights."""
        self.networks.load_state_dict(self.best)

    def _weights(self) -> dict[str, Tensor]:
        return {k: v.detach().clone() for k, v in self.networks.state_dict().items()}

    def _epoch(self, number: int) -> tuple[float, float, float]:
        """One pass over the training set: errors of energies and forces, and the rate."""
        n, size, schedule = len(self.train), self.options.batch, self.options.schedule
        generator = torch.Generator().manual_seed((self.options.seed << 20) + number)
        order = torch.randperm(n, generator=generator).tolist()
        starts = range(0, n, size)
        total = self.options.epochs * len(starts)
        sums = torch.zeros(4, dtype=torch.float64, device=self.weights.device)
        rate = schedule.rate_start
        for k, start in enumerate(starts):
            rate = schedule.rate((number * len(starts) + k) / total)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            sums += self._step(order[start : start + size], schedule.prefactors(rate))
        energy, forces = ((sums[::2] / sums[1::2]) ** 0.5).tolist()
        return energy, forces, rate

    def _step(self, chosen: list[int], prefactors: tuple[float, float]) -> Tensor:
        """A step down the loss; squared errors and their numbers, energies then forces."""
        batch, weights = [self.train[k] for k in chosen], self.weights[:, chosen]
        energy_errors, force_errors, index = self._errors(batch)
        losses = errors_loss(energy_errors, force_errors, weights, index, prefactors)
        self.optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()
        self.optimiser.step()
        with torch.no_grad():
            sizes = torch.bincount(index, minlength=len(batch))
            of_atoms = weights.index_select(1, index)
            found = [
                (weights * (energy_errors / sizes).square()).sum(), weights.sum(),
                (of_atoms * force_errors.square().sum(-1)).sum(), 3.0 * of_atoms.sum(),
            ]  # fmt: skip
            return torch.stack(found).double()

    def _errors(self, batch: Sequence[Sample]) -> tuple[Tensor, Tensor, Tensor]:
        """Errors in energies and forces of every member, and the structure of each atom."""
        found = predict(self.networks, self.scale, batch, train=True)
        energies = torch.stack([one.energy for one in batch])
        forces = torch.cat([one.forces for one in batch])
        return found.energies - energies, found.forces - forces, found.structure_index

    def _keep(self, energy: float, forces: float, rate: float, seconds: float) -> None:
        """Validate, note the epoch, and keep the weights if they are the best."""
        found = self._validate()
        number = len(self.history) + 1
        best = min((one.score for one in self.history), default=float("inf"))
        self.history.append(Epoch(number, rate, energy, forces, *found, seconds))
        if found[2] < best:
            self.best, self.best_epoch = self._weights(), number

    def _validate(self) -> tuple[float, float, float]:
        """Errors of the mean in energies per atom and forces, and the score."""
        members, forces = committee_of(self.networks, self.scale, self.validation)
        energies = torch.stack([one.energy for one in self.validation]).double()
        sizes = torch.tensor([one.n_atoms for one in self.validation], device=energies.device)
        index = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
        truth = torch.cat([one.forces for one in self.validation]).double()
        energy_errors = (members.mean(0) - energies)[None]
        force_errors = (forces.mean(0) - truth)[None]
        schedule = self.options.schedule
        loss = errors_loss(
            energy_errors, force_errors, torch.ones_like(energy_errors), index,
            (schedule.energy_limit, schedule.force_limit),
        )  # fmt: skip
        rms = ((energy_errors / sizes).square().mean().sqrt(), force_errors.square().mean().sqrt())
        return float(rms[0]), float(rms[1]), float(loss)
