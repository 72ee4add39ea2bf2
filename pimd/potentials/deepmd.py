"""Deep Potential models frozen by DeePMD-kit's PyTorch backend (`.pth`).

All structures of a batch go through one call, whatever their sizes and cells, which gives energies
of atoms and gradients of pairs, g_ij = dE/dr_ij:

    E = sum_i e_i,    F_i = sum_j (g_ij - g_ji),    W = -sum_ij r_ij (outer) g_ij.

Only torch is needed, not DeePMD-kit.

A model keeps a fixed number of neighbours of each atom, `sel`, nearest first, and ignores the
others, in training as here. Where that happens the energy jumps as neighbours change places;
it is said once, with numbers.

Precision. Geometry, biases of atomic energies and sums are in fp64, also around a float32 network.

Source: J. Zeng et al., J. Chem. Phys. 159, 054801 (2023), doi:10.1063/5.0155600.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from pimd.potentials.deepmd_file import read_model
from pimd.potentials.deepmd_frames import atoms_as_frames, one_frame
from pimd.potentials.models import CompositionBaseline, model_device, model_precision
from pimd.potentials.named_types import NamedTypes
from pimd.potentials.options import number
from pimd.potentials.pair_vectors import forces_of_gradients, virials_of_gradients
from pimd.potentials.torchscript import changing_shapes

__all__ = ["DeePMD"]


class DeePMD(Potential):
    """A frozen DeePMD model: DeepPot-SE, DPA-1, DPA-2, DPA-3 and their combinations.

    Args:
        model: `.pth`, by `dp --pt freeze`. The code in it is run: load only files of people you
            trust.
        types: element -> name of its type, (H: H1; O: O_w); needed where the names of types are
            no chemical symbols.
        dtype: `model`, or what the model was trained in, which is fixed.
        device: cpu, cuda, ...; `auto`: the GPU where there is one.
        fparam: parameters of a structure, such as a temperature, for models that take them; the
            same for all.
        aparam: parameters of an atom, likewise; the same for all.

    Raises:
        PotentialError: no such file, a model that wants or gives something else, wrong options.
    """

    name = "deepmd"

    def __init__(
        self,
        model: str | Path,
        types: Mapping[str, str] | None = None,
        dtype: str = "model",
        device: str = "auto",
        fparam: Sequence[float] | float | None = None,
        aparam: Sequence[float] | float | None = None,
    ) -> None:
        self.device = model_device(device)
        self.model = read_model(model, self.device)
        self.name = f"deepmd {self.model.file.name}"
        self.cutoff, self.precision = self.model.cutoff, self.model.precision
        if model_precision(dtype, self.precision) != self.precision:
            raise PotentialError(
                f"{self.name} computes in {str(self.precision).removeprefix('torch.')}, which is "
                "fixed when a model is trained: leave out dtype"
            )
        self._types = NamedTypes(self.model.type_names, types, self.name, self.device)
        needed = 0 if self.model.has_default_fparam and fparam is None else self.model.n_fparam
        self._fparam = self._parameters("fparam", fparam, needed, "structure")
        self._aparam = self._parameters("aparam", aparam, self.model.n_aparam, "atom")
        self._baseline: CompositionBaseline | None = None
        if self.model.biases is not None:
            self._baseline = CompositionBaseline(self.model.biases, self.device)
        self._said_cut = False

    def check(self, batch: Batch) -> None:
        """Raise PotentialError for elements that the model does not know."""
        self._types.check(batch)

    def compute(self, batch: Batch, wanted: Wanted) -> Prediction:
        check_wanted(self, wanted)
        self.check(batch)
        types = self._types.types(batch)
        with torch.no_grad():
            vectors = batch.pair_vectors()
        self._say_cut(batch, types)
        energies, gradients = self._model(batch, types, vectors)
        prediction = Prediction(batch.sum_over_atoms(energies))
        if self._baseline is not None:
            prediction.energies += self._baseline.sum(batch, types)
        if wanted.forces:
            prediction.forces = forces_of_gradients(batch, gradients)
        if wanted.virials:
            prediction.virials = virials_of_gradients(batch, vectors, gradients)
        return prediction

    def _model(self, batch: Batch, types: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Energies of atoms, eV, (n_atoms,), and dE/dr of pairs, eV/Å, (n_pairs, 3)."""
        assert batch.pairs is not None
        pairs, width = batch.pairs, sum(self.model.sel)
        if self.model.passes_messages:
            frames = one_frame(batch.positions.detach(), types, pairs, vectors, width)
        else:
            frames = atoms_as_frames(types, pairs, vectors, width)
        n_frames, n_local, _ = frames.neighbours.shape
        fparam, aparam = self._fparam, self._aparam
        with torch.enable_grad(), changing_shapes(self.device):
            found = self.model.module.forward_lower(
                frames.coordinates,
                frames.types,
                frames.neighbours,
                frames.mapping,
                None if fparam is None else fparam.repeat(n_frames, 1),
                None if aparam is None else aparam.repeat(n_frames, n_local, 1),
            )
        energies = found["atom_energy"].detach().reshape(-1)
        forces = found["extended_force"].detach().to(vectors.dtype)
        return energies, frames.pair_gradients(forces, len(vectors))

    def _say_cut(self, batch: Batch, types: Tensor) -> None:
        """Say once that atoms have more neighbours than the model keeps."""
        assert batch.pairs is not None
        if self._said_cut:
            return
        sel = torch.tensor(self.model.sel, device=self.device)
        i, j = batch.pairs
        of_pair = types.index_select(0, j) if len(sel) > 1 else torch.zeros_like(j)
        counts = torch.bincount(i * len(sel) + of_pair, minlength=batch.n_atoms * len(sel))
        most = counts.reshape(-1, len(sel)).amax(0)  # [type]
        if not bool((most > sel).any()):
            return
        self._said_cut = True
        names = self.model.type_names if len(sel) > 1 else ("all types",)
        rows = zip(names, most.tolist(), self.model.sel, strict=True)
        kept = "; ".join(f"{name}: {got} where {n} are kept" for name, got, n in rows if got > n)
        notice(
            f"{self.name} ignores the farthest neighbours of some atoms within its cutoff of "
            f"{self.cutoff:g} Å ({kept}), as it did in training if that happened there; energies "
            "jump as they change places, and a larger `sel` is needed for exact dynamics"
        )

    def _parameters(
        self, name: str, value: Sequence[float] | float | None, n_needed: int, of: str
    ) -> Tensor | None:
        """The numbers given as `fparam` or `aparam`, (n_needed,)."""
        values = [] if value is None else value if isinstance(value, Sequence) else [value]
        if len(values) != n_needed:
            wants = f"takes {n_needed} parameters" if n_needed else "takes no parameters"
            example = "; ".join("abcdefgh"[:n_needed]) or "..."
            raise PotentialError(
                f"{self.name} {wants} of each {of}, {name}: [{example}]; got {len(values)}"
            )
        if not n_needed:
            return None
        return torch.tensor(
            [number(name, one) for one in values], dtype=torch.float64, device=self.device
        )
