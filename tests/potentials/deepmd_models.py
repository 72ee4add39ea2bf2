"""Tiny frozen DeePMD models with random weights, and what DeePMD-kit's calculator says of them.

    python deepmd_models.py FOLDER

writes FOLDER/NAME.pth for every name in MODELS, as `dp --pt freeze` does, and FOLDER/NAME.npz for
those in COMPARED. It is a program of its own since DeePMD-kit changes how Python starts processes
when imported, and since its wheels want one version of torch: on another it is imported here
without its compiled library.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from nequip_models import structures

SE_E2_A: dict[str, Any] = {
    "type": "se_e2_a", "sel": [40, 80], "rcut": 4.0, "rcut_smth": 1.0, "neuron": [4, 8],
    "axis_neuron": 2, "resnet_dt": False, "seed": 1,
}  # fmt: skip
DPA1: dict[str, Any] = {
    "type": "dpa1", "sel": 120, "rcut": 4.0, "rcut_smth": 1.0, "neuron": [4, 8],
    "axis_neuron": 2, "attn": 8, "attn_layer": 1, "tebd_dim": 4, "seed": 1,
}  # fmt: skip
DPA3: dict[str, Any] = {
    "type": "dpa3", "seed": 1,
    "repflow": {
        "n_dim": 8, "e_dim": 6, "a_dim": 4, "nlayers": 2, "e_rcut": 4.0, "e_rcut_smth": 3.0,
        "e_sel": 120, "a_rcut": 3.0, "a_rcut_smth": 2.0, "a_sel": 60, "axis_neuron": 2,
    },
}  # fmt: skip

MODELS: dict[str, dict[str, Any]] = {
    "se_e2_a": {"descriptor": SE_E2_A},
    "few": {"descriptor": {**SE_E2_A, "sel": [6, 14]}},
    "dpa1": {"descriptor": DPA1, "precision": "float32"},
    "dpa3": {"descriptor": DPA3},
    "biased": {"descriptor": SE_E2_A, "precision": "float32", "biases": "within"},
    "unbiased": {"descriptor": SE_E2_A, "precision": "float32", "biases": "none"},
    "parameters": {"descriptor": SE_E2_A, "fitting": {"numb_fparam": 2, "numb_aparam": 1},
                   "types": ["O_w", "H_w"]},
    "dipole": {"descriptor": SE_E2_A, "fitting": {"type": "dipole"}},
    "spin": {"descriptor": SE_E2_A,
             "spin": {"use_spin": [True, False], "virtual_scale": [0.3, 0.0]}},
}  # fmt: skip
"""Descriptor; precision; where biases are, outside unless said; names of O and H; ..."""

COMPARED = ("se_e2_a", "few", "dpa1", "dpa3", "parameters")
BIASES = (-2000.0, -13.6)  # eV, O and H
FPARAM, APARAM = (0.3, -1.2), 0.7
SHARPER = 0.03
"""Scale of the descriptors' standard deviations: without statistics of data all forces are tiny."""
LIMIT_S = 200.0


def make(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Write all models; energies (eV), forces (eV/Å) and virials (eV) of `structures`, by name."""
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], capture_output=True, text=True,
        timeout=LIMIT_S, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for name in COMPARED:
        with np.load(folder / f"{name}.npz") as arrays:
            found[name] = dict(arrays)
    return found


def _import_without_library() -> None:
    """DeePMD-kit on a torch that its compiled library was not built for.

    Its operators are declared before, so that frozen models mention them as those of users do.
    """
    import deepmd.env

    from pimd.potentials.deepmd_operators import OPERATORS, provide

    for name in OPERATORS:
        provide(name)
    deepmd.env.SHARED_LIB_DIR = Path("/nonexistent")
    deepmd.env.GLOBAL_CONFIG["cibuildwheel"] = "0"


def _freeze(name: str, file: Path) -> None:
    import torch
    from deepmd.pt.model.model import get_model

    settings = copy.deepcopy(MODELS[name])
    precision = {"precision": settings.get("precision", "float64"), "seed": 1}
    fitting = {"neuron": [8, 8], "resnet_dt": True, **settings.get("fitting", {}), **precision}
    parameters = {
        "type_map": settings.get("types", ["O", "H"]),
        "descriptor": {**settings["descriptor"], **precision},
        "fitting_net": fitting,
    }
    if "spin" in settings:
        parameters["spin"] = settings["spin"]
    torch.manual_seed(0)
    model = get_model(parameters).cpu().eval()
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith("stddev"):
            buffer *= SHARPER
    biases = torch.tensor(BIASES, dtype=torch.float64).reshape(2, 1)
    where = settings.get("biases", "outside")
    if where == "within":
        model.atomic_model.fitting_net.bias_atom_e.copy_(biases)
    elif where == "outside" and fitting.get("type") is None and "spin" not in settings:
        model.set_out_bias(biases[None])
    torch.jit.save(torch.jit.script(model), str(file), {"data_modifier.pth": ""})


def _compare(name: str, file: Path) -> dict[str, np.ndarray]:
    from deepmd.calculator import DP

    types = MODELS[name].get("types", ["O", "H"])
    calculator = DP(str(file), type_dict=dict(zip(("O", "H"), range(len(types)), strict=True)))
    found: dict[str, list] = {"energies": [], "forces": [], "virials": []}
    for structure in structures():
        atoms = structure.to_ase()
        if name == "parameters":
            atoms.info = {"fparam": list(FPARAM), "aparam": [APARAM] * len(atoms)}
        atoms.calc = calculator
        found["energies"].append(atoms.get_potential_energy())
        found["forces"].append(atoms.get_forces())
        found["virials"].append(calculator.results["virial"])
    found["forces"] = [np.concatenate(found["forces"])]
    arrays = {key: np.array(value) for key, value in found.items()}
    return {**arrays, "forces": arrays["forces"][0]}


def main(folder: Path) -> None:
    import torch

    _import_without_library()
    with torch.jit.optimized_execution(False):  # a fraction of the time in few calls
        for name in MODELS:
            _freeze(name, folder / f"{name}.pth")
            if name in COMPARED:
                np.savez(folder / f"{name}.npz", **_compare(name, folder / f"{name}.pth"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
