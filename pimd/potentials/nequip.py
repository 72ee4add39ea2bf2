"""NequIP and Allegro models, compiled by `nequip-compile` (`.nequip.pt2`, `.nequip.pth`).

All structures of a batch go through one call of the compiled code, which gives the energies of
atoms, the forces and the stress of each structure:

    E = sum_a e_a,    W = -V sigma,

with the e_a summed in fp64. Only torch is needed, not the library the model was trained with.

Stress at no volume. The code divides by |det C|, so structures that are not periodic along all
three vectors get a box of unit volume per missing vector; nothing but that division sees it, and
W is the same for every box.

Few atoms. Code for batches is compiled for at least two structures, atoms and pairs. A smaller
batch gets a structure of two atoms beside it, twice the cutoff apart, whose results are dropped.

Precision. Geometry is in fp64 and the energies of lone atoms are added in fp64 in a float32 model
too, so its energies are as good as its network: no baseline has to be taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pimd.notices import notice
from pimd.potentials.base import (
    Batch,
    Potential,
    PotentialError,
    Prediction,
    Wanted,
    check_wanted,
)
from pimd.potentials.models import model_precision
from pimd.potentials.named_types import NamedTypes
from pimd.potentials.nequip_files import how_to_compile, read_model

__all__ = ["NequIP"]

ALIGNMENT = 16
"""Bytes; compiled code reads its inputs as if they began at a multiple of it."""


class NequIP(Potential):
    """A compiled NequIP or Allegro model.

    A model compiled for one structure (`--target ase` or `pair_nequip`) works too: structures
    are then evaluated one by one, and the command for a model that takes batches is said once.

    Args:
        model: `.nequip.pt2` or `.nequip.pth`. The code in it is run: load only files of people
            you trust.
        types: element -> name of its type, (H: H1; O: O_w); needed where the names of types are
            no chemical symbols.
        dtype: `model`, or what the model was trained in, which is fixed.
        device: cpu, cuda, cuda:1, ...; `auto`: what the model was compiled for, and the GPU if
            there is one for a `.nequip.pth`.

    Raises:
        PotentialError: no such file, a file that cannot run here, wrong options.
    """

    name = "nequip"

    def __init__(
        self,
        model: str | Path,
        types: Mapping[str, str] | None = None,
        dtype: str = "model",
        device: str = "auto",
    ) -> None:
        self.model = read_model(model, device)
        self.name = f"nequip {self.model.file.name}"
        self.device, self.cutoff = self.model.device, self.model.cutoff
        self.precision = self.model.precision
        if model_precision(dtype, self.precision) != self.precision:
            raise PotentialError(
                f"{self.name} computes in {str(self.precision).removeprefix('torch.')}, which is "
                "fixed when a model is trained: leave out dtype"
            )
        self._types = NamedTypes(self.model.type_names, types, self.name, self.device)
        self._said_one_by_one = False

    def check(self, batch: Batch) -> None:
        """Raise PotentialError for elements that the model does not know."""
        self._types.check(batch)

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        check_wanted(self, wanted)
        self.check(batch)
        if self.model.takes_batches or batch.n_structures == 1:
            return self._evaluate(batch, wanted)
        if not self._said_one_by_one:
            self._said_one_by_one = True
            notice(
                f"{self.model.file} takes one structure at a time, so that a batch gains nothing; "
                f"compile it for batches: {how_to_compile(self.device.type)}"
            )
        singles = [batch.slice(k, k + 1) for k in range(batch.n_structures)]
        return _joined([self._evaluate(single, wanted) for single in singles])

    def _evaluate(self, batch: Batch, wanted: Wanted) -> Prediction:
        data = self._inputs(batch)
        n_structures, n_atoms = batch.n_structures, batch.n_atoms
        found = self.model.call(self._with_company(data))
        energies = found["atomic_energy"].detach()[:n_atoms].reshape(-1)
        prediction = Prediction(batch.sum_over_atoms(energies))
        dtype = batch.positions.dtype
        if wanted.forces:
            prediction.forces = found["forces"].detach()[:n_atoms].to(dtype)
        if wanted.virials:
            if "virial" in found:
                virials = found["virial"].detach().reshape(-1, 3, 3)[:n_structures]
            else:
                stress = found["stress"].detach().reshape(-1, 3, 3)[:n_structures]
                volumes = torch.linalg.det(data["cell"]).abs()
                virials = -stress * volumes[:, None, None]
            prediction.virials = (0.5 * (virials + virials.transpose(1, 2))).to(dtype)
        return prediction

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        """The tensors of a batch by the names of the model."""
        if batch.pairs is None or batch.shifts is None:
            raise PotentialError(
                "this batch has no neighbour list: attach one with pimd.potentials.neighbours"
            )
        types = self._types.types(batch)
        pairs, shifts = batch.pairs, batch.shifts
        if self.model.edge_cutoffs is not None:
            i, j = types[pairs]
            inside = batch.pair_vectors().norm(dim=1) <= self.model.edge_cutoffs[i, j]
            pairs, shifts = pairs[:, inside], shifts[inside]
        return {
            "pos": batch.positions.detach().clone(),  # (some models mark it for gradients)
            "cell": cells_with_volume(batch),
            "atom_types": types,
            "edge_index": pairs,
            "edge_cell_shift": shifts,
            "batch": batch.structure_index,
            "num_atoms": batch.n_atoms_per_structure,
        }

    def _with_company(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """At least two structures, atoms and pairs, contiguous and aligned."""
        found = dict(data)
        n_atoms, n_pairs = len(data["pos"]), data["edge_index"].shape[1]
        n_structures = len(data["num_atoms"]) if self.model.takes_batches else 2
        if min(n_structures, n_atoms, n_pairs) < 2:
            new = found["pos"].new_zeros
            apart = new(2, 3)
            apart[1, 0] = 2.0 * self.cutoff
            there = found["edge_index"].new_tensor([[0, 1], [1, 0]]) + n_atoms
            more = {
                "pos": apart,
                "atom_types": found["atom_types"].new_zeros(2),
                "edge_cell_shift": new(2, 3),
                "batch": found["batch"].new_full((2,), n_structures),
            }
            if self.model.takes_batches:
                more["cell"] = torch.eye(3, dtype=apart.dtype, device=apart.device)[None]
                more["num_atoms"] = found["num_atoms"].new_full((1,), 2)
            found |= {key: torch.cat([found[key], value]) for key, value in more.items()}
            found["edge_index"] = torch.cat([found["edge_index"], there], dim=1)
        return {key: aligned(value) for key, value in found.items()}


def cells_with_volume(batch: Batch) -> Tensor:
    """Cells in which vectors that are not periodic are replaced, Å, (n_structures, 3, 3).

    They become orthonormal and orthogonal to the periodic ones. With C = U s V^T the singular
    value decomposition of the periodic rows, these are the rows of C + sum_{s_k = 0} u_k v_k^T.
    """
    if bool(batch.pbc.all()):
        return batch.cells
    periodic = batch.pbc[:, :, None]
    u, s, vt = torch.linalg.svd(batch.cells * periodic)
    missing = (torch.arange(3, device=s.device) >= batch.pbc.sum(1, keepdim=True)).to(s.dtype)
    return torch.where(periodic, batch.cells, (u * missing[:, None, :]) @ vt)


def aligned(tensor: Tensor) -> Tensor:
    """The same numbers as compiled code expects them, which checks neither strides nor address."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor


def _joined(parts: list[Prediction]) -> Prediction:
    """Predictions of single structures as one."""
    forces = [part.forces for part in parts if part.forces is not None]
    virials = [part.virials for part in parts if part.virials is not None]
    return replace(
        parts[0],
        energies=torch.cat([part.energies for part in parts]),
        forces=torch.cat(forces) if forces else None,
        virials=torch.cat(virials) if virials else None,
    )
