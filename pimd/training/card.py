"""The card of a model: what it was trained on and how, its errors, its calibration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["card_as_text", "write_card"]

ROWS = (
    ("structures", "structures"),
    ("atoms", "atoms"),
    ("energy RMSE, meV/atom", "energy_rmse_mev_per_atom"),
    ("energy MAE, meV/atom", "energy_mae_mev_per_atom"),
    ("force RMSE, meV/Å", "force_rmse_mev_per_angstrom"),
    ("force MAE, meV/Å", "force_mae_mev_per_angstrom"),
    ("energy RMSE of single members, meV/atom", "member_energy_rmse_mev_per_atom"),
    ("force RMSE of single members, meV/Å", "member_force_rmse_mev_per_angstrom"),
    ("root mean square of the forces, meV/Å", "reference_force_rms_mev_per_angstrom"),
)


def write_card(card: dict[str, Any], json_path: Path, text_path: Path) -> None:
    """Write a card as JSON and as Markdown."""
    json_path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    text_path.write_text(card_as_text(card), encoding="utf-8")


def card_as_text(card: dict[str, Any]) -> str:
    """A card as Markdown."""
    sets = list(card["errors"])
    lines = [
        f"# {card['name']}",
        "",
        f"Behler–Parrinello committee of {card['members']} members for "
        f"{', '.join(card['elements'])}: {card['descriptors']} descriptors for each atom, hidden "
        f"layers {' x '.join(map(str, card['options']['hidden']))}, "
        f"{card['weights_per_member']} weights for each member, cutoff "
        f"{card['options']['cutoff']:g} Å (angular {card['options']['angular_cutoff']:g} Å), "
        f"{card['options']['dtype']}.",
        "",
        "## Errors of the committee's mean",
        "",
        f"| | {' | '.join(sets)} |",
        f"|---|{'---:|' * len(sets)}",
    ]
    for label, key in ROWS:
        cells = " | ".join(f"{card['errors'][name][key]:g}" for name in sets)
        lines.append(f"| {label} | {cells} |")
    lines += ["", "## Calibration", "", *_calibration(card["calibration"]), ""]
    lines += ["## Training", "", *_training(card), ""]
    return "\n".join(lines)


def _calibration(found: dict[str, Any]) -> list[str]:
    error = "" if found["alpha_error"] is None else f" ± {found['alpha_error']:.2g}"
    lines = [
        f"alpha = {found['alpha']:.4g}{error} for energies, from the {found['structures']} "
        f"validation structures ({found['note']}).",
    ]
    if found["mean_square_z_test"] is not None:
        lines.append(
            f"Mean of (error / alpha sigma)² on the test set: {found['mean_square_z_test']:.3g} "
            f"(expected for {found['members']} members: {found['mean_square_z_expected']:.3g})."
        )
    return lines


def _training(card: dict[str, Any]) -> list[str]:
    options = card["options"]
    lines = [
        f"{card['epochs_done']} epochs of batches of {options['batch']} in "
        f"{card['seconds']:.0f} s; weights of epoch {card['best_epoch']}; seed "
        f"{options['seed']}; each member learnt from {100 * options['subsample']:.0f} % of the "
        "training set.",
        "",
        "| set | from | digest of structures and labels |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {s['from']} | {s['digest']} |" for name, s in card["data"].items()]
    energies = ", ".join(f"{k} {v:.6g}" for k, v in card["baseline_ev"].items())
    return [*lines, "", f"Composition baseline, eV: {energies}."]
