"""Nosé–Hoover chains in an i-PI input: what to say of them before a run."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pimd.dynamics.chains import NoseHooverChains
from pimd.units import ATOMIC_TIME_FS, KB_HARTREE_PER_KELVIN

__all__ = [
    "NEEDS_EXTENSION",
    "Setting",
    "chains_in",
    "nose_hoover_lines",
    "nose_hoover_warnings",
    "uses_nose_hoover",
]

NEEDS_EXTENSION = (
    "<thermostat mode='nhc'> is the extension 'nose_hoover' of pimd: stock i-PI has no "
    "Nosé–Hoover chains. Run without --stock, or take a thermostat that i-PI has, such as "
    "<thermostat mode='pile_l'>"
)
"""Why an input cannot be run; what to do."""

FEW_FREEDOMS = 100
"""One chain for fewer degrees of freedom than this takes long to visit all of their states."""

FEW_STEPS = 5.0
"""With tau below so many time steps the splitting of a step into thermostat and motion is felt."""


@dataclass(frozen=True)
class Setting:
    """What decides how good Nosé–Hoover chains are in a simulation.

    Attributes:
        n_beads, n_atoms: of the system.
        temperature: K.
        harmonic: whether all forces are those of oscillators that do not interact.
    """

    n_beads: int
    n_atoms: int
    temperature: float
    harmonic: bool = False


def uses_nose_hoover(root: ET.Element) -> bool:
    """Whether an input asks for Nosé–Hoover chains, anywhere."""
    return any(element.get("mode", "").strip() == "nhc" for element in root.iter("thermostat"))


def nose_hoover_lines(motion: Any, setting: Setting) -> list[str]:
    """The chains of a parsed motion in words, one line for each thermostat."""
    lines = []
    for part in getattr(motion, "mlist", [motion]):
        lines += [_words(chains, part, setting) for chains in _of_beads(part)]
        lines += [f"of the cell: {_words(chains, part, None)}" for chains in _of_cell(part)]
    return lines


def nose_hoover_warnings(motion: Any, setting: Setting) -> list[str]:
    """What a careful reader of the input would say of the chains of a parsed motion."""
    found = []
    for part in getattr(motion, "mlist", [motion]):
        for chains in _of_beads(part):
            found += _ergodicity(chains, setting) + _accuracy(chains, part)
        for chains in _of_cell(part):
            found += [f"<barostat>: {text}" for text in _accuracy(chains, part)]
    return found


def _ergodicity(chains: Any, setting: Setting) -> list[str]:
    texts = []
    if chains.coupling == "global" and setting.n_beads > 1:
        texts.append(
            "one Nosé–Hoover chain for a whole ring polymer is not ergodic: its stiff modes hardly "
            "exchange energy and keep what they start with; use <coupling> massive </coupling>"
        )
    elif chains.coupling == "mode" and setting.n_beads > 1:
        texts.append(
            "one Nosé–Hoover chain for each normal mode of the ring polymers drives oscillators of "
            "one frequency together, which is not ergodic; use <coupling> massive </coupling>"
        )
    elif chains.coupling != "massive" and setting.harmonic:
        texts.append(
            "one Nosé–Hoover chain for oscillators that do not interact is not ergodic: each keeps "
            "its share of the energy, as the modes of a harmonic crystal do; use <coupling> "
            "massive </coupling>"
        )
    elif chains.coupling != "massive" and 3 * setting.n_atoms < FEW_FREEDOMS:
        texts.append(
            f"one Nosé–Hoover chain for {3 * setting.n_atoms} degrees of freedom becomes "
            "canonical slowly, or never if they are nearly harmonic; use <coupling> massive "
            "</coupling>"
        )
    return texts


def _accuracy(chains: Any, motion: Any) -> list[str]:
    texts = []
    if chains.chain == 1:
        texts.append(
            "a Nosé–Hoover chain of one link is not ergodic where motion is harmonic (an "
            "oscillator has 0.80 of its <x^2>, though its temperature looks right); use <chain> 4 "
            "</chain>, at least 3"
        )
    step = _step(motion)
    if step and chains.tau < FEW_STEPS * step:
        tau, step = chains.tau * ATOMIC_TIME_FS, step * ATOMIC_TIME_FS
        texts.append(
            f"tau of the Nosé–Hoover chains is {tau:.3g} fs, {tau / step:.2g} time steps: take "
            f"{10 * step:.3g} fs or more (without units='femtosecond' tau is in atomic units)"
        )
    return texts


def _words(chains: Any, motion: Any, setting: Setting | None) -> str:
    """One thermostat; `setting` of its ring polymer, None for a cell."""
    text = (
        f"Nosé–Hoover chains, {chains.coupling}, {chains.chain} "
        f"link{'s' * (chains.chain != 1)}, order {chains.order}, "
        f"tau {chains.tau * ATOMIC_TIME_FS:.4g} fs"
    )
    stiff = setting is not None and setting.n_beads > 1 and chains.coupling != "global"
    fastest = chains.tau
    if setting is not None and stiff:
        omega = 2.0 * setting.n_beads * KB_HARTREE_PER_KELVIN * setting.temperature
        text += f", 1/ω of the ring-polymer modes down to {ATOMIC_TIME_FS / omega:.2g} fs"
        fastest = min(fastest, 1.0 / omega)
    step = _step(motion) * (0.5 if getattr(motion, "splitting", "") == "obabo" else 1.0)
    if step:
        probe = NoseHooverChains(
            1.0, 1.0, [fastest**2] * chains.chain, order=chains.order, substeps=chains.substeps
        )
        substeps = chains.substeps * int(probe.repetitions(step))
        text += f", {substeps} substep{'s' * (substeps != 1)}" + " for the fastest" * stiff
    return text


def _of_beads(motion: Any) -> Iterator[Any]:
    return chains_in(getattr(motion, "thermostat", None))


def _of_cell(motion: Any) -> Iterator[Any]:
    return chains_in(getattr(getattr(motion, "barostat", None), "thermostat", None))


def chains_in(thermostat: Any) -> Iterator[Any]:
    """The Nosé–Hoover chains among a thermostat and its parts; by name: i-PI may not fit."""
    if type(thermostat).__name__ == "ThermoNHC":
        yield thermostat
    for part in getattr(thermostat, "tlist", ()):
        yield from chains_in(part)


def _step(motion: Any) -> float:
    """The time step, atomic units; 0 where there is none."""
    return float(getattr(motion, "dt", 0.0) or 0.0)
