"""Makes the training, validation and test sets of the water committee, from fixed seeds.

    python make_labels.py labels

writes labels/train.extxyz, validation.extxyz and test.extxyz: structures of q-TIP4P/F water with
their energies (eV) and forces (eV/Å). The three come from different boxes, so that no two of
them share a trajectory.

    train, validation   beads of path integrals and classical structures of liquid water in boxes
                        of 16 to 64 molecules at 260 to 1000 K and 0.7 to 1.15 g/cm³, some of
                        them shaken; clusters, dimers and monomers, stretched and compressed
    test                beads of 64 molecules, 32 beads, 300 K, 0.997 g/cm³, from a trajectory
                        of their own that starts from init.xyz

    python make_labels.py labels --committee first.npz

is the second round, with the committee trained on these: boxes follow its forces, so that they go
where it is wrong, and q-TIP4P/F says what is right there. Writes labels/train_2.extxyz and
validation_2.extxyz, those of the first round and these.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase.io import read, write
from ring_polymers import RingPolymers

from pimd.evaluate import evaluate_file
from pimd.evaluator import BadPrediction, Evaluator
from pimd.ipi.structure_files import template_structure
from pimd.potentials.base import Potential
from pimd.potentials.registry import make_potential
from pimd.structure import PotentialError, Structure

SEED = 20260
SPEC = "qtip4pf"
MOLECULE_GRAMS = 18.01528 / 0.602214076
"""Mass of a molecule over Avogadro's number, g/cm³ Å³."""
FORCE_LIMIT, ENERGY_LIMIT = 25.0, 1.5
"""eV/Å, and eV per atom above the lone molecule's minimum: beyond, a structure is left out."""


@dataclass(frozen=True)
class Liquid:
    """Boxes of liquid water sampled together.

    Attributes:
        molecules: 16, 32 or 64.
        temperature: K.
        beads, taken: of the ring polymers, and of these in every snapshot.
        densities: g/cm³, the lowest and the highest; boxes are spread evenly between.
        boxes, validation_boxes: in all, and for validation.
        snapshots: of every box.
        shaken: whether some are taken once more, with every atom moved.
    """

    molecules: int
    temperature: float
    beads: int
    taken: int
    densities: tuple[float, float]
    boxes: int
    validation_boxes: int
    snapshots: int = 4
    shaken: bool = False


LIQUIDS = (
    Liquid(16, 300, 32, 5, (0.90, 1.10), 10, 2),
    Liquid(16, 300, 8, 2, (0.90, 1.10), 14, 3, shaken=True),
    Liquid(16, 260, 16, 2, (0.90, 1.05), 10, 2),
    Liquid(16, 450, 8, 2, (0.80, 1.10), 9, 1),
    Liquid(16, 600, 4, 2, (0.70, 1.15), 9, 1),
    Liquid(16, 300, 1, 1, (0.90, 1.10), 12, 2, shaken=True),
    Liquid(16, 1000, 1, 1, (0.70, 1.15), 9, 1),
    Liquid(32, 300, 16, 3, (0.97, 1.02), 7, 2),
    Liquid(64, 300, 8, 2, (0.97, 1.03), 5, 2),
)
LATTICES = {
    16: (2, [(0, 0, 0), (0.5, 0.5, 0.5)]),
    32: (2, [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]),
    64: (4, [(0, 0, 0)]),
}
"""Molecules -> cubic cells along each edge, and points in each."""
TURNS = 100
"""Random orientations tried for each molecule."""
MELT_STEPS, EQUILIBRATION_STEPS, BEAD_STEPS, BETWEEN = 800, 2000, 100, 40
TIMESTEP = 0.5  # fs
OWN_BOXES, OWN_HELD_OUT, OWN_STEPS, OWN_SNAPSHOTS, OWN_BETWEEN = 24, (3, 9, 15, 21), 1200, 5, 240
OWN_TEMPERATURES = (300.0, 300.0, 400.0)
"""K, one after another; of the second round."""
OWN_RINGS, OWN_BEADS, OWN_TAKEN, OWN_BEAD_STEPS, OWN_BEAD_SNAPSHOTS = 16, 8, 2, 100, 3
TEST_STEPS, TEST_SNAPSHOTS, TEST_BETWEEN, TEST_BEADS = 600, 8, 80, (0, 8, 16, 24)


def molecule(rng: np.random.Generator) -> np.ndarray:
    """A molecule turned at random: O at the origin, O H H, Å, (3, 3)."""
    half = np.deg2rad(107.4) / 2
    x, y = 0.9419 * np.sin(half), 0.9419 * np.cos(half)
    arms = np.array([[0, 0, 0], [x, y, 0], [-x, y, 0]])
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return arms @ turn


def lattice(n_molecules: int, density: float, rng: np.random.Generator) -> Structure:
    """Molecules at the points of a cubic lattice, each turned away from the others' hydrogens.

    (Hydrogens of this water have no repulsion of their own: one that starts on the negative
    charge of another molecule stays there.)
    """
    cells, motif = LATTICES[n_molecules]
    edge = (n_molecules * MOLECULE_GRAMS / density) ** (1 / 3)
    grid = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    oxygens = ((grid + np.array(motif)) / cells * edge).reshape(-1, 3)
    placed = np.repeat(oxygens[:, None], 3, axis=1)  # [molecule, atom, xyz]
    for k in range(n_molecules):
        trials = np.stack([oxygens[k] + molecule(rng) for _ in range(TURNS)])
        others = np.delete(placed, k, axis=0).reshape(-1, 3)
        vectors = trials[:, 1:, None] - others  # [trial, hydrogen, other, xyz]
        vectors -= edge * np.round(vectors / edge)
        placed[k] = trials[np.linalg.norm(vectors, axis=-1).min((1, 2)).argmax()]
    numbers = np.tile([8, 1, 1], n_molecules)
    return Structure(numbers, placed.reshape(-1, 3), np.eye(3) * edge, True)


def melted(groups: Sequence[Liquid], potential: Potential, seed: int) -> list[Structure]:
    """Classical boxes of groups of one size, each at its own temperature, in their order."""
    rng = np.random.default_rng(seed)
    structures = [
        lattice(group.molecules, density, rng)
        for group in groups
        for density in np.linspace(*group.densities, group.boxes)
    ]
    kelvin = [group.temperature for group in groups for _ in range(group.boxes)]
    for temperature, timestep, tau, steps in (
        (300.0, 0.1, 5.0, 300),  # off the lattice, gently
        (500.0, TIMESTEP, 50.0, MELT_STEPS),
        (kelvin, TIMESTEP, 200.0, EQUILIBRATION_STEPS),
    ):
        seed += 1
        system = RingPolymers(potential, structures, temperature, 1, timestep, seed, tau)
        system.run(steps)
        structures = system.snapshot([0])
    return structures


def liquid(
    group: Liquid, boxes: list[Structure], potential: Potential, seed: int
) -> tuple[list[Structure], list[Structure]]:
    """Snapshots of the boxes of a group, for training and for validation."""
    rng = np.random.default_rng(seed)
    system = RingPolymers(
        potential, boxes, group.temperature, group.beads, TIMESTEP, seed, tau=200.0
    )
    system.run(BEAD_STEPS)
    train: list[Structure] = []
    validation: list[Structure] = []
    held_out = np.linspace(0, group.boxes, group.validation_boxes + 2, dtype=int)[1:-1].tolist()
    for _ in range(group.snapshots):
        system.run(BETWEEN)
        taken = rng.choice(group.beads, group.taken, replace=False).tolist()
        for k, one in enumerate(system.snapshot(taken)):  # beads of one box after another
            (validation if k // group.taken in held_out else train).append(one)
    return train, validation


def clusters(potential: Potential, seed: int, share: float) -> list[Structure]:
    """Monomers, dimers and clusters: beads at 300 and 700 K, and distances by hand."""
    rng = np.random.default_rng(seed)
    found = []
    for size, count in ((1, 12), (2, 30), (4, 20), (8, 12)):
        many = max(2, round(share * count))
        starts = [_cluster(size, rng) for _ in range(many)]
        for k, (temperature, beads) in enumerate(((300.0, 32), (700.0, 8))):
            system = RingPolymers(potential, starts, temperature, beads, 0.25, seed + 10 * size + k)
            system.run(400)
            found += system.snapshot([0, beads // 2])
    for distance in rng.uniform(2.35, 6.0, round(share * 60)):
        direction = rng.normal(size=3)
        second = molecule(rng) + distance * direction / np.linalg.norm(direction)
        found.append(Structure([8, 1, 1, 8, 1, 1], np.concatenate([molecule(rng), second])))
    for first, second, angle in zip(
        *rng.uniform(0.75, 1.35, (2, round(share * 50))),
        rng.uniform(75, 145, round(share * 50)),
        strict=True,
    ):
        bend = np.deg2rad(angle)
        arms = [[0, 0, 0], [first, 0, 0], [second * np.cos(bend), second * np.sin(bend), 0]]
        found.append(Structure([8, 1, 1], np.array(arms)))
    return found


def _cluster(size: int, rng: np.random.Generator) -> Structure:
    """Molecules about 2.9 Å apart, near one another."""
    corners = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = [2.9 * corner + molecule(rng) for corner in corners[:size]]
    return Structure(np.tile([8, 1, 1], size), np.concatenate(positions))


def shaken(structures: list[Structure], rng: np.random.Generator) -> list[Structure]:
    """Every atom moved at random, and one bond in ten stretched."""
    found = []
    for s in structures:
        x = s.positions.reshape(-1, 3, 3).copy()
        x += rng.normal(size=x.shape) * rng.uniform(0.01, 0.05)
        bonds = x[:, 1:] - x[:, :1]
        stretch = np.where(rng.random(bonds.shape[:2]) < 0.1, rng.uniform(0.9, 1.25), 1.0)
        x[:, 1:] = x[:, :1] + stretch[:, :, None] * bonds
        found.append(Structure(s.numbers, x.reshape(-1, 3), s.cell, s.pbc))
    return found


def usable(structures: list[Structure], potential: Potential) -> list[Structure]:
    """Those that are water, and whose energies and forces a simulation may meet."""
    evaluator, found = Evaluator(potential, skin=0.0), []
    for s in structures:
        try:
            one = evaluator.evaluate_structures([s])
        except (BadPrediction, PotentialError):
            continue
        assert one.forces is not None
        mild = np.abs(one.forces).max() < FORCE_LIMIT
        if mild and one.energies[0] < ENERGY_LIMIT * len(s):
            found.append(s)
    return found


def training_and_validation(potential: Potential) -> tuple[list[Structure], list[Structure]]:
    """The two sets, from boxes and clusters of their own."""
    rng = np.random.default_rng(SEED)
    train: list[Structure] = []
    validation: list[Structure] = []
    for size in LATTICES:
        groups = [group for group in LIQUIDS if group.molecules == size]
        boxes = melted(groups, potential, SEED + 1000 * size)
        print(f"  {len(boxes)} boxes of {size} molecules", flush=True)
        for k, group in enumerate(groups):
            own, boxes = boxes[: group.boxes], boxes[group.boxes :]
            found = liquid(group, own, potential, SEED + 1000 * size + 10 * (k + 1))
            for into, some in zip((train, validation), found, strict=True):
                into += some
                if group.shaken:
                    into += shaken(some[::4], rng)
            print(f"  {group}: {len(found[0])} and {len(found[1])}", flush=True)
    train += clusters(potential, SEED + 900_000, 1.0)
    validation += clusters(potential, SEED + 5_900_000, 0.2)
    return train, validation


def test_set(potential: Potential) -> list[Structure]:
    """Beads of 64 molecules at 300 K, 80 steps of 0.25 fs apart."""
    start = template_structure(Path(__file__).with_name("init.xyz"))
    system = RingPolymers(potential, [start], 300.0, 32, 0.25, SEED + 9_000_000)
    system.run(TEST_STEPS)
    found = []
    for _ in range(TEST_SNAPSHOTS):
        system.run(TEST_BETWEEN)
        found += system.snapshot(TEST_BEADS)
    return found


def own_structures(
    committee: Potential, starts: list[Structure]
) -> tuple[list[Structure], list[Structure]]:
    """Where the committee's own forces lead, for training and for validation.

    Args:
        committee: of the first round.
        starts: boxes of one size, at random places of the first round's trajectories.
    """
    train: list[Structure] = []
    validation: list[Structure] = []

    def take(some: list[Structure], each: int) -> None:
        for k, one in enumerate(some):
            (validation if k // each in OWN_HELD_OUT else train).append(one)

    kelvin = [OWN_TEMPERATURES[k % len(OWN_TEMPERATURES)] for k in range(len(starts))]
    system = RingPolymers(committee, starts, kelvin, 1, TIMESTEP, SEED + 1, tau=200.0)
    system.run(OWN_STEPS)
    for _ in range(OWN_SNAPSHOTS):
        system.run(OWN_BETWEEN)
        take(system.snapshot([0]), 1)
    rings = system.snapshot([0])[:OWN_RINGS]
    system = RingPolymers(committee, rings, 300.0, OWN_BEADS, TIMESTEP, SEED + 2, tau=200.0)
    system.run(OWN_BEAD_STEPS)
    for k in range(OWN_BEAD_SNAPSHOTS):
        system.run(BETWEEN)
        take(system.snapshot([(k + n * OWN_BEADS // OWN_TAKEN) % OWN_BEADS
                              for n in range(OWN_TAKEN)]), OWN_TAKEN)  # fmt: skip
    return train, validation


def second_round(folder: Path, model: Path) -> None:
    """Add what the committee meets on its own to the sets of the first round."""
    potential, committee = make_potential(SPEC), make_potential(str(model))
    frames = [s for s in read(folder / "train.extxyz", ":") if len(s) == 48]
    places = np.linspace(0, len(frames) - 1, OWN_BOXES, dtype=int)
    starts = [Structure.from_ase(frames[k]) for k in places]
    for name, own in zip(
        ("train", "validation"), own_structures(committee, starts), strict=True
    ):
        labelled = folder / f".{name}.own.extxyz"
        label(usable(own, potential), labelled)
        first, out = folder / f"{name}.extxyz", folder / f"{name}_2.extxyz"
        out.write_text(first.read_text() + labelled.read_text())
        labelled.unlink()


def first_round(folder: Path) -> None:
    """All sets of the first round."""
    potential = make_potential(SPEC)
    train, validation = training_and_validation(potential)
    sets = {"train": train, "validation": validation, "test": test_set(potential)}
    for name, structures in sets.items():
        label(usable(structures, potential), folder / f"{name}.extxyz")


def label(structures: list[Structure], out: Path) -> None:
    """Write structures with their energies and forces."""
    unlabelled = out.with_name(f".{out.name}.structures.extxyz")
    write(unlabelled, [s.to_ase() for s in structures], format="extxyz")
    print(evaluate_file(unlabelled, SPEC, out, force=True), flush=True)
    unlabelled.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description="Labels of the water committee.")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--committee", type=Path, help="model of the first round: do the second")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # so that sums round in the same order everywhere
    if arguments.committee is None:
        first_round(arguments.folder)
    else:
        second_round(arguments.folder, arguments.committee)


if __name__ == "__main__":
    main()
