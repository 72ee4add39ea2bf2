"""From labelled structures to a model file with its card and figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pimd.potentials.behler_parrinello import BPModel, save_model
from pimd.potentials.element_networks import ElementNetworks
from pimd.potentials.options import PRECISIONS
from pimd.potentials.symmetry_functions import default_settings
from pimd.training.baseline import refuse_outliers
from pimd.training.card import write_card
from pimd.training.checkpoint import digest_of, fingerprint, load_checkpoint, save_checkpoint
from pimd.training.curves import draw_calibration, draw_learning, draw_parity
from pimd.training.data import Labelled, Split, elements_of
from pimd.training.evaluation import (
    CalibrationFit,
    Evaluation,
    as_numbers,
    calibration_of,
    evaluate_set,
    expected_z,
    mean_square_z,
)
from pimd.training.features import Statistics, make_features, standardise, statistics
from pimd.training.options import TrainingOptions
from pimd.training.samples import Sample, energy_scale, make_samples
from pimd.training.trainer import Epoch, Trainer

__all__ = ["Files", "Job", "Trained"]

CHECKPOINT_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Files:
    """Where a training writes, by the name of the model."""

    model: Path

    @property
    def checkpoint(self) -> Path:
        return self.model.with_suffix(".checkpoint")

    @property
    def card_json(self) -> Path:
        return self.model.with_suffix(".card.json")

    @property
    def card_text(self) -> Path:
        return self.model.with_suffix(".card.md")

    def figure(self, name: str) -> Path:
        return self.model.with_suffix(f".{name}.png")


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
        sets: evaluations of the training, validation and, where there is one, test set.
        calibration: alpha of the energies.
        history, best_epoch: of the training.
        written: files, the model first.
    """

    sets: dict[str, Evaluation]
    calibration: CalibrationFit
    history: list[Epoch]
    best_epoch: int
    written: list[Path]


class Job:
    """One training.

    Args:
        split: the data.
        sources: where each set comes from, for the card.
        options: what decides the weights.
        baseline: energy of each element, eV, (n_elements,), ascending atomic numbers.
        out: the model file.
        device: where to train.

    Raises:
        DataError: data that cannot be trained on.
    """

    def __init__(
        self,
        split: Split,
        sources: Mapping[str, str],
        options: TrainingOptions,
        baseline: np.ndarray,
        out: Path,
        device: torch.device,
    ) -> None:
        self.split, self.sources, self.options = split, dict(sources), options
        self.files, self.device = Files(out), device
        self.elements = elements_of(split.train)
        self.baseline = baseline
        self._parts = {"train": split.train, "validation": split.validation, "test": split.test}
        refuse_outliers([*split.train, *split.validation, *split.test], self.elements, baseline)
        self.settings = default_settings(
            self.elements, cutoff=options.cutoff, angular_cutoff=options.angular_cutoff,
            n_radial=options.radial, n_angular=options.angular,
        )  # fmt: skip

    def prepare(self, told: Callable[[int, int], None] | None = None) -> None:
        """Work out descriptors and their derivatives; make the model and its trainer."""
        dtype = PRECISIONS[self.options.dtype]
        data = [one for part in self._parts.values() for one in part]
        features = make_features(
            [one.structure for one in data], self.settings, dtype, self.device, told
        )
        found = statistics(features[: len(self.split.train)], len(self.elements))
        standardise(features, found)
        samples = make_samples(data, features, self.baseline)
        self.samples: dict[str, list[Sample]] = {}
        for name, part in self._parts.items():
            self.samples[name], samples = samples[: len(part)], samples[len(part) :]
        scale = energy_scale(self.samples["train"])
        self.model = self._model(found, scale, dtype)
        self.trainer = Trainer(
            self.model.networks, self.samples["train"], self.samples["validation"],
            self.options, scale,
        )  # fmt: skip

    def resume(self) -> None:
        """Go on from the checkpoint. Raises DataError if there is none of this training."""
        state = load_checkpoint(
            self.files.checkpoint, self._asked(), fingerprint(self.split), self.device
        )
        self.trainer.load_state(state)

    def run(self, told: Callable[[Epoch, int], None], stop: Callable[[], bool]) -> None:
        """Train until done or told to stop; the state is kept every few seconds and at the end."""
        data, saved = fingerprint(self.split), time.monotonic()

        def after(epoch: Epoch) -> None:
            nonlocal saved
            told(epoch, self.trainer.best_epoch)
            if time.monotonic() - saved >= CHECKPOINT_INTERVAL_S or stop() or self.trainer.done:
                save_checkpoint(self.files.checkpoint, self.trainer.state(), self._asked(), data)
                saved = time.monotonic()

        self.trainer.run(after, stop)

    def finish(self) -> Trained:
        """Evaluate the best weights, calibrate, and write model, card and figures."""
        self.trainer.restore_best()
        networks, scale = self.model.networks, self.trainer.scale
        sets = {
            name: evaluate_set(networks, scale, part)
            for name, part in self.samples.items()
            if part
        }
        calibration = calibration_of(sets["validation"])
        self.model.alpha.fill_(calibration.alpha)
        card = self._card(sets, calibration)
        written = [self.files.model, self.files.card_json, self.files.card_text]
        save_model(self.model, self.files.model, card)
        write_card(card, self.files.card_json, self.files.card_text)
        written += self._draw(sets, calibration.alpha)
        history, best = self.trainer.history, self.trainer.best_epoch
        if self.trainer.done:
            self.files.checkpoint.unlink(missing_ok=True)
        return Trained(sets, calibration, history, best, written)

    def _asked(self) -> dict[str, Any]:
        """All that decides the weights besides the data, as plain values."""
        return {
            **self.options.as_dict(),
            "descriptors": self.settings.as_dict(),
            "baseline": self.baseline.tolist(),
        }

    def _model(self, found: Statistics, scale: float, dtype: torch.dtype) -> BPModel:
        """A model with the initial weights."""
        networks = ElementNetworks(
            self.options.members, len(self.elements), self.settings.n_descriptors,
            self.options.hidden, dtype, torch.Generator().manual_seed(self.options.seed),
        )  # fmt: skip
        return BPModel(
            self.settings, networks.to(self.device), found.mean, found.deviation,
            torch.from_numpy(self.baseline), energy_scale=scale, low=found.low, high=found.high,
        )  # fmt: skip

    def _draw(self, sets: dict[str, Evaluation], alpha: float) -> list[Path]:
        learning, parity = self.files.figure("learning"), self.files.figure("parity")
        draw_learning(self.trainer.history, self.trainer.best_epoch, learning)
        draw_parity(sets, parity)
        if self.options.members < 2:
            return [learning, parity]
        unseen = {name: found for name, found in sets.items() if name != "train"}
        calibration = self.files.figure("calibration")
        draw_calibration(unseen, alpha, calibration)
        return [learning, parity, calibration]

    def _card(
        self, sets: dict[str, Evaluation], calibration: CalibrationFit
    ) -> dict[str, Any]:
        from ase.data import chemical_symbols

        symbols = [chemical_symbols[z] for z in self.elements]
        weights = sum(p.numel() for p in self.trainer.parameters) // self.options.members
        error = calibration.error if np.isfinite(calibration.error) else None
        z = mean_square_z(sets["test"], calibration.alpha) if "test" in sets else float("nan")
        members, history = self.options.members, self.trainer.history
        return {
            "name": self.files.model.stem,
            "members": members,
            "elements": symbols,
            "descriptors": self.settings.n_descriptors,
            "weights_per_member": weights,
            "options": self.options.as_dict(),
            "errors": {name: as_numbers(found.errors) for name, found in sets.items()},
            "calibration": {
                "alpha": calibration.alpha,
                "alpha_error": error,
                "structures": calibration.n_structures,
                "note": calibration.note,
                "members": members,
                "mean_square_z_test": z if np.isfinite(z) else None,
                "mean_square_z_expected": expected_z(members, calibration.alpha),
            },
            "data": {name: self._described(name, part) for name, part in self._parts.items()},
            "baseline_ev": dict(zip(symbols, self.baseline.tolist(), strict=True)),
            "epochs_done": len(history),
            "best_epoch": self.trainer.best_epoch,
            "seconds": history[-1].seconds if history else 0.0,
            "history": [asdict(one) for one in history],
        }

    def _described(self, name: str, part: list[Labelled]) -> dict[str, Any]:
        return {"from": self.sources.get(name, ""), "digest": digest_of(part).hex()[:16]}
