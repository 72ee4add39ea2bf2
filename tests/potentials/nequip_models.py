"""Tiny NequIP and Allegro models with random weights, and what nequip's calculator says of them.

    python nequip_models.py nequip FOLDER

writes FOLDER/nequip.nequip.pt2, as `nequip-compile --mode aotinductor --target batch` does, and
FOLDER/nequip.npz. It is a program of its own since nequip sets torch's defaults when imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from water_samples import box, cluster

from pimd.structure import Structure

TYPES = {"nequip": ("H", "O"), "allegro": ("H_w", "O_w")}
SHIFTS = (-13.6, -2000.0)  # eV
CUTOFF = 4.0  # Å
EDGE_CUTOFFS = {"H_w": {"H_w": 2.5, "O_w": 3.0}, "O_w": 3.7}  # Å, of the Allegro model
LIMIT_S = 400.0


def structures() -> list[Structure]:
    """Water: triclinic, a cell smaller than the cutoff, a cluster, a slab in much vacuum, H."""
    cell = np.array([[4.3, 0.0, 0.0], [0.5, 6.1, 0.0], [-0.3, 0.8, 3.9]])
    small = np.array([[2.9, 0.1, -0.2], [0.3, 3.1, 0.1], [-0.2, 0.2, 3.0]])
    film = box((1, 2, 1), cell, seed=5)
    film.cell[2] = [0.0, 0.0, 30.0]
    slab = Structure(film.numbers, film.positions, film.cell, np.array([True, True, False]))
    lone = Structure([1], [[0.3, -0.2, 5.0]])
    return [box((1, 2, 1), cell, seed=1), box((1, 1, 1), small, seed=3), cluster(3), slab, lone]


def make(kind: str, folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """The compiled model, and energies (eV), forces (eV/Å) and virials (eV) of `structures`."""
    done = subprocess.run(
        [sys.executable, __file__, kind, str(folder)], capture_output=True, text=True,
        timeout=LIMIT_S, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(folder / f"{kind}.npz") as found:
        return folder / f"{kind}.nequip.pt2", dict(found)


def _network(kind: str) -> Any:
    from nequip.model import NequIPGNNModel

    names = list(TYPES[kind])
    common = {
        "seed": 1, "type_names": names, "r_max": CUTOFF, "avg_num_neighbors": 10.0,
        "num_bessels": 4, "per_type_energy_scales": 1.0,
        "per_type_energy_shifts": dict(zip(names, SHIFTS, strict=True)),
    }  # fmt: skip
    if kind == "nequip":
        return NequIPGNNModel(
            model_dtype="float64", num_layers=2, l_max=1, parity=False, num_features=4,
            radial_mlp_width=8, **common,
        )  # fmt: skip
    from allegro.model import AllegroModel

    del common["num_bessels"]
    return AllegroModel(
        model_dtype="float32", l_max=1, num_layers=1, num_scalar_features=4,
        num_tensor_features=4, allegro_mlp_hidden_layers_width=8, radial_chemical_embed_dim=4,
        radial_chemical_embed={
            "_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 4
        },
        per_edge_type_cutoff=EDGE_CUTOFFS, **common,
    )  # fmt: skip


def _compile(network: Any, data: Any, file: Path) -> None:
    """What nequip-compile does with a loaded model."""
    import torch
    from nequip.scripts._compile_utils import AOTI_BATCH_TARGET, COMPILE_TARGET_DICT
    from nequip.utils.aot import aot_export_model
    from nequip.utils.aoti_metadata import (
        NEQUIP_AOTI_INPUTS_KEY,
        NEQUIP_AOTI_OUTPUTS_KEY,
        serialize_aoti_keys,
    )

    target = COMPILE_TARGET_DICT[AOTI_BATCH_TARGET]
    metadata = {key: str(value) for key, value in network.metadata.items()}
    metadata |= {
        "allow_tf32": "0",
        NEQUIP_AOTI_INPUTS_KEY: serialize_aoti_keys(target["input"]),
        NEQUIP_AOTI_OUTPUTS_KEY: serialize_aoti_keys(target["output"]),
    }
    sizes = {"graph": "num_frames", "node": "num_nodes", "edge": "num_edges"}
    aot_export_model(
        model=network,
        device=torch.device("cpu"),
        input_fields=target["input"],
        output_fields=target["output"],
        data=target["data_settings"](data),
        batch_map={key: torch.export.Dim(name, min=2) for key, name in sizes.items()},
        output_path=str(file),
        inductor_configs={"aot_inductor.metadata": metadata},
    )


def main(kind: str, folder: Path) -> None:
    os.environ["NEQUIP_SKIP_AOTI_MODEL_CHECK"] = "1"
    from nequip.data import AtomicDataDict
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms
    from nequip.utils.global_state import set_global_state

    set_global_state(allow_tf32=False)
    network = _network(kind).eval()
    names = network.metadata["type_names"].split()
    transforms = basic_transforms(
        network.metadata, float(network.metadata["r_max"]), names,
        dict(zip(("H", "O"), names, strict=True)),
    )  # fmt: skip
    calculator = NequIPCalculator(network, "cpu", transforms=transforms)
    found: dict[str, list] = {"energies": [], "forces": [], "virials": []}
    for structure in structures():
        atoms = structure.to_ase()
        atoms.calc = calculator
        forces = atoms.get_forces()
        found["energies"].append(atoms.get_potential_energy())
        found["forces"].append(forces)
        virial = atoms.positions.T @ forces  # of atoms that interact with no image
        if atoms.pbc.any():
            virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
        found["virials"].append(virial)
    np.savez(
        folder / f"{kind}.npz", energies=found["energies"], virials=found["virials"],
        forces=np.concatenate(found["forces"]),
    )  # fmt: skip
    data = calculator.atoms_to_data(structures()[0].to_ase())
    _compile(
        network, AtomicDataDict.batched_from_list([data]), folder / f"{kind}.nequip.pt2"
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
