"""A small pair potential with the interface of nequip's compiled models, made with torch alone.

    V = sum_i shift(t_i) + sum_ij strength(t_i, t_j) u(r_ij²),  u(s) = (1 - s/rc²)³ for s < rc²

over directed pairs. As a program, `python nequip_standin.py FILE.nequip.pt2`, it writes the model
compiled by AOTInductor for batches.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

CUTOFF = 4.0  # Å
TYPES = ("H", "O")
SHIFTS = (-13.6, -2000.0)  # eV
STRENGTHS = ((0.4, -0.9), (-0.7, 1.3))  # eV, [type of i, type of j]
INPUTS = ("pos", "edge_index", "atom_types", "cell", "edge_cell_shift", "batch", "num_atoms")
OUTPUTS = ("atomic_energy", "total_energy", "forces", "stress")
METADATA = {
    "model_dtype": "float64",
    "type_names": " ".join(TYPES),
    "num_types": str(len(TYPES)),
    "r_max": str(CUTOFF),
    "allow_tf32": "0",
}


class Pairs(torch.nn.Module):
    """Tensors in and out in the order of INPUTS and OUTPUTS, then the virial.

    Args:
        cutoff: Å, of u; beyond it pairs count nothing.
    """

    def __init__(self, cutoff: float = CUTOFF) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("shifts", torch.tensor(SHIFTS, dtype=torch.float64))
        self.register_buffer("strengths", torch.tensor(STRENGTHS, dtype=torch.float64))

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        atom_types: Tensor,
        cell: Tensor,
        edge_cell_shift: Tensor,
        batch: Tensor,
        num_atoms: Tensor,
    ) -> list[Tensor]:
        i, j = edge_index[0], edge_index[1]
        cells = torch.index_select(cell, 0, torch.index_select(batch, 0, i))
        vectors = pos[j] - pos[i] + torch.bmm(edge_cell_shift[:, None], cells)[:, 0]
        x = torch.clamp(1.0 - (vectors * vectors).sum(1) / self.cutoff**2, min=0.0)
        strength = self.strengths[atom_types[i], atom_types[j]]
        gradients = (-6.0 / self.cutoff**2 * strength * x**2)[:, None] * vectors
        energies = torch.index_add(self.shifts[atom_types], 0, i, strength * x**3)
        forces = torch.index_add(torch.zeros_like(pos), 0, i, gradients)
        forces = torch.index_add(forces, 0, j, -gradients)
        n = num_atoms.shape[0]
        totals = torch.index_add(torch.zeros([n], dtype=pos.dtype), 0, batch, energies)
        virials = torch.zeros([n, 3, 3], dtype=pos.dtype)
        outer = vectors[:, :, None] * gradients[:, None, :]
        virials = torch.index_add(virials, 0, torch.index_select(batch, 0, i), -outer)
        volumes = torch.linalg.det(cell).abs()[:, None, None]
        some = torch.where(volumes > 0.0, volumes, torch.ones_like(volumes))
        stress = torch.where(volumes > 0.0, -virials / some, torch.full_like(virials, torch.nan))
        return [energies[:, None], totals[:, None], forces, stress, virials]


class Named(torch.nn.Module):
    """The same from a dictionary to a dictionary, as TorchScript models are called."""

    def __init__(self, cutoff: float = CUTOFF) -> None:
        super().__init__()
        self.pairs = Pairs(cutoff)

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        found = self.pairs(
            data["pos"], data["edge_index"], data["atom_types"], data["cell"],
            data["edge_cell_shift"], data["batch"], data["num_atoms"],
        )  # fmt: skip
        return {
            "atomic_energy": found[0], "total_energy": found[1], "forces": found[2],
            "stress": found[3], "virial": found[4],
        }  # fmt: skip


class OneStructure(torch.nn.Module):
    """As compiled by `--target ase`, or `pair_nequip` with the virial instead of the stress."""

    def __init__(self, outputs: Sequence[str]) -> None:
        super().__init__()
        self.pairs, self.outputs = Pairs(), tuple(outputs)
        self.calls: list[tuple[int, int]] = []  # atoms, pairs

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        pos, edges, *_ = inputs
        self.calls.append((len(pos), edges.shape[1]))
        batch = torch.zeros(len(pos), dtype=torch.int64)
        found = self.pairs(*inputs, batch, torch.tensor([len(pos)]))
        named = dict(zip((*OUTPUTS, "virial"), found, strict=True))
        return [named[name] for name in self.outputs]


def write_torchscript(file: Path, cutoff: float = CUTOFF, **metadata: str) -> Path:
    """A `.nequip.pth`; `metadata` as nequip writes it, "" for none of a key."""
    extra = {key: value.encode() for key, value in {**METADATA, **metadata}.items() if value}
    torch.jit.save(torch.jit.script(Named(cutoff).eval()), file, _extra_files=extra)
    return file


def write_archive(file: Path, **metadata: str) -> Path:
    """A `.nequip.pt2` without code in it: what can be read before the code is loaded."""
    found = {
        **METADATA,
        "AOTI_DEVICE_KEY": "cpu",
        "nequip_aoti_inputs": " ".join(INPUTS),
        "nequip_aoti_outputs": " ".join(OUTPUTS),
        **metadata,
    }
    with zipfile.ZipFile(file, "w") as archive:
        name = f"{file.name.partition('.')[0]}/data/aotinductor/model/code.wrapper_metadata.json"
        archive.writestr(name, json.dumps({key: value for key, value in found.items() if value}))
    return file


def write_compiled(file: Path) -> None:
    """A `.nequip.pt2` for batches."""

    class Listed(Pairs):
        def forward(self, *inputs: Tensor) -> list[Tensor]:
            return super().forward(*inputs)[:4]

    n_pairs = 10
    inputs = (
        torch.rand(6, 3, dtype=torch.float64),
        torch.randint(0, 6, (2, n_pairs)),
        torch.zeros(6, dtype=torch.int64),
        5.0 * torch.eye(3, dtype=torch.float64).repeat(2, 1, 1),
        torch.zeros(n_pairs, 3, dtype=torch.float64),
        torch.tensor([0, 0, 0, 1, 1, 1]),
        torch.tensor([3, 3]),
    )
    frames, nodes, edges = (torch.export.Dim(f"num_{k}", min=2) for k in ("f", "n", "e"))
    axes = {"pos": (0, nodes), "edge_index": (1, edges), "atom_types": (0, nodes),
            "cell": (0, frames), "edge_cell_shift": (0, edges), "batch": (0, nodes),
            "num_atoms": (0, frames)}  # fmt: skip
    shapes = tuple({axis: dim} for axis, dim in (axes[name] for name in INPUTS))
    program = torch.export.export(Listed(), inputs, dynamic_shapes=(shapes,))
    metadata = {
        **METADATA,
        "AOTI_DEVICE_KEY": "cpu",
        "nequip_aoti_inputs": " ".join(INPUTS),
        "nequip_aoti_outputs": " ".join(OUTPUTS),
    }
    torch._inductor.aoti_compile_and_package(
        program, package_path=str(file), inductor_configs={"aot_inductor.metadata": metadata}
    )


if __name__ == "__main__":
    write_compiled(Path(sys.argv[1]))
