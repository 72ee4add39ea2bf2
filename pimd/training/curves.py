"""Figures of a training: learning curves, calibration, parity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pimd.results.style import PALETTE, new_axes, new_figure, save
from pimd.training.evaluation import Evaluation
from pimd.training.trainer import Epoch

__all__ = ["draw_calibration", "draw_learning", "draw_parity"]

COLOURS = dict(zip(("train", "validation", "test"), PALETTE, strict=False))
BINS = 8


def _figure(columns: int, height: float = 3.6) -> tuple[Any, list[Any]]:
    """A figure without a window, and its axes from left to right."""
    figure = new_figure(4.4 * columns, height)
    return figure, new_axes(figure, 1, columns)


def draw_learning(history: Sequence[Epoch], best: int, path: Path) -> None:
    """Errors of training and validation, and the learning rate, by epoch."""
    figure, (energies, forces, rates) = _figure(3)
    epochs = [one.epoch for one in history]
    for axis, name, unit in ((energies, "energy", "meV/atom"), (forces, "forces", "meV/Å")):
        train = [1000 * getattr(one, f"train_{name}") for one in history]
        validation = [1000 * getattr(one, name) for one in history]
        axis.semilogy(epochs, train, color=COLOURS["train"], label="members, training")
        axis.semilogy(epochs, validation, color=COLOURS["validation"], label="mean, validation")
        axis.axvline(best, color="0.4", linestyle=":", label=f"kept: epoch {best}")
        axis.set(xlabel="epoch", ylabel=f"{name} RMSE ({unit})")
        axis.legend(frameon=False, fontsize=8)
    rates.semilogy(epochs, [one.rate for one in history], color="0.3")
    rates.set(xlabel="epoch", ylabel="learning rate")
    save(figure, path)


def draw_parity(sets: Mapping[str, Evaluation], path: Path) -> None:
    """Predicted against reference, energies and forces of all sets."""
    figure, (energies, forces) = _figure(2, 4.2)
    for name, found in sets.items():
        mean = found.energies.mean(0)
        style = {"color": COLOURS[name], "markersize": 3, "linestyle": "none", "alpha": 0.6}
        label = f"{name}: {1000 * found.errors.energy_rmse:.2f} meV/atom"
        energies.plot(
            found.reference / found.n_atoms, mean / found.n_atoms, marker="o", label=label, **style
        )
        label = f"{name}: {1000 * found.errors.force_rmse:.0f} meV/Å"
        step = max(1, found.forces.size // 6000)  # as many points as an eye can tell apart
        forces.plot(
            found.reference_forces.ravel()[::step], found.forces.ravel()[::step],
            marker=".", label=label, **style,
        )  # fmt: skip
    for axis, what in ((energies, "energy (eV/atom)"), (forces, "force (eV/Å)")):
        low, high = axis.get_xlim()
        axis.plot([low, high], [low, high], color="0.3", linewidth=0.8)
        axis.set(xlabel=f"reference {what}", ylabel=f"predicted {what}")
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    save(figure, path)


def draw_calibration(sets: Mapping[str, Evaluation], alpha: float, path: Path) -> None:
    """Errors against the calibrated spread, structure by structure and in bins."""
    figure, (axis,) = _figure(1, 4.4)
    for name, found in sets.items():
        predicted = 1000 * alpha * found.sigma / found.n_atoms
        actual = 1000 * np.abs(found.deviations) / found.n_atoms
        axis.loglog(
            predicted, actual, marker=".", linestyle="none", color=COLOURS[name], alpha=0.35
        )
        x, y = _binned(predicted, actual)
        axis.loglog(
            x, y, marker="o", color=COLOURS[name], label=f"{name}, root mean square in bins"
        )
    ends = np.array(axis.get_xlim())
    axis.loglog(ends, ends, color="0.3", linewidth=0.8, label="predicted = actual")
    axis.set(
        xlim=ends,
        xlabel=f"predicted error = {alpha:.2f} × spread (meV/atom)",
        ylabel="actual error (meV/atom)",
    )
    low = max(axis.get_ylim()[0], 1e-2 * ends[0])
    axis.set_ylim(bottom=low)
    axis.legend(frameon=False, fontsize=8)
    save(figure, path)


def _binned(predicted: np.ndarray, actual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean squares in groups of equal size, in the order of what is predicted."""
    order = np.argsort(predicted)
    parts = np.array_split(order, max(1, min(BINS, len(order) // 4)))
    x, y = (np.array([np.sqrt(np.mean(v[p] ** 2)) for p in parts]) for v in (predicted, actual))
    return x, y
