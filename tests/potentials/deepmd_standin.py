"""A small pair potential with the interface of frozen DeePMD models, made with torch alone.

    V = sum_i [bias(t_i) + f.(1, 2, ...) + a_i.(1, 2, ...)]
        + sum_ij strength(t_i, t_j) (1 - r²/rc²)³ over the neighbours of i it is given

with f and a_i the parameters of the structure and of the atom. As a program,
`python deepmd_standin.py FILE.pth [call]`, it writes one that mentions operators of DeePMD-kit, as
models frozen by its wheels do, or calls one, as compressed models do.
"""

# TorchScript reads the annotations: the names of `typing`
# ruff: noqa: UP006, UP035, UP045

import sys
from pathlib import Path
from typing import Dict, List, Optional

import torch
from torch import Tensor

CUTOFF = 4.0  # Å
TYPES = ("O", "H")
BIASES = (-2000.0, -13.6)  # eV
STRENGTHS = ((0.4, -0.9), (-0.7, 1.3))  # eV, [type of i, type of j]


class Frozen(torch.nn.Module):
    """Keeps the neighbours it is given; checks that they are as many as `sel` says."""

    def __init__(
        self,
        sel: tuple[int, ...] = (60, 120),
        mixed: bool = False,
        n_fparam: int = 0,
        n_aparam: int = 0,
        default_fparam: bool = False,
        outputs: tuple[str, ...] = ("energy", "mask"),
        spin: bool = False,
        types: tuple[str, ...] = TYPES,
        passes: bool = False,
    ) -> None:
        super().__init__()
        self.sel, self.mixed = list(sel), mixed
        self.n_fparam, self.n_aparam, self.default = n_fparam, n_aparam, default_fparam
        self.outputs, self.spin, self.types = list(outputs), spin, list(types)
        self.passes = passes
        self.register_buffer("biases", torch.tensor(BIASES, dtype=torch.float64))
        self.register_buffer("strengths", torch.tensor(STRENGTHS, dtype=torch.float64))

    @torch.jit.export
    def get_rcut(self) -> float:
        return 4.0

    @torch.jit.export
    def get_type_map(self) -> List[str]:
        return self.types

    @torch.jit.export
    def get_sel(self) -> List[int]:
        return self.sel

    @torch.jit.export
    def mixed_types(self) -> bool:
        return self.mixed

    @torch.jit.export
    def model_output_type(self) -> List[str]:
        return self.outputs

    @torch.jit.export
    def get_dim_fparam(self) -> int:
        return self.n_fparam

    @torch.jit.export
    def get_dim_aparam(self) -> int:
        return self.n_aparam

    @torch.jit.export
    def has_default_fparam(self) -> bool:
        return self.default

    @torch.jit.export
    def has_spin(self) -> bool:
        return self.spin

    @torch.jit.export
    def has_message_passing(self) -> bool:
        return self.passes

    @torch.jit.export
    def get_model_def_script(self) -> str:
        return ""

    @torch.jit.export
    def forward_lower(
        self,
        extended_coord: Tensor,
        extended_atype: Tensor,
        nlist: Tensor,
        mapping: Optional[Tensor] = None,
        fparam: Optional[Tensor] = None,
        aparam: Optional[Tensor] = None,
    ) -> Dict[str, Tensor]:
        return self.evaluate(extended_coord, extended_atype, nlist, fparam, aparam)

    def evaluate(
        self,
        extended_coord: Tensor,
        extended_atype: Tensor,
        nlist: Tensor,
        fparam: Optional[Tensor],
        aparam: Optional[Tensor],
    ) -> Dict[str, Tensor]:
        frames, n = nlist.size(0), nlist.size(1)
        assert nlist.size(2) == sum(self.sel)
        assert frames == 1 or not self.passes
        types = extended_atype[:, :n]
        energies = self.biases[types]
        if fparam is not None:
            assert fparam.size(0) == frames
            assert fparam.size(1) == self.n_fparam
            energies = energies + (fparam * torch.arange(1, self.n_fparam + 1)).sum(1)[:, None]
        else:
            assert self.n_fparam == 0 or self.default
        if aparam is not None:
            assert aparam.size(0) == frames
            assert aparam.size(1) == n
            energies = energies + (aparam * torch.arange(1, self.n_aparam + 1)).sum(2)
        else:
            assert self.n_aparam == 0
        real = nlist >= 0
        ghosts = torch.where(real, nlist, 0).reshape(frames, -1)
        places = ghosts[:, :, None].expand(-1, -1, 3)
        near = torch.gather(extended_coord, 1, places).reshape(frames, n, -1, 3)
        vectors = near - extended_coord[:, :n, None]
        kinds = torch.gather(extended_atype, 1, ghosts).reshape(frames, n, -1)
        s = torch.clamp(1.0 - (vectors * vectors).sum(3) / 16.0, min=0.0) * real
        strengths = self.strengths[types[:, :, None], kinds]
        energies = energies + (strengths * s**3).sum(2)
        gradients = (-6.0 / 16.0 * strengths * s**2)[:, :, :, None] * vectors
        forces = torch.zeros_like(extended_coord)
        forces = forces.scatter_add(1, places, -gradients.reshape(frames, -1, 3))
        forces = torch.cat([forces[:, :n] + gradients.sum(2), forces[:, n:]], 1)
        return {"atom_energy": energies[:, :, None], "extended_force": forces}

    def forward(self, x: Tensor) -> Tensor:
        return x


def write(file: Path, frozen: Optional[Frozen] = None, modifier: str = "") -> Path:
    """A `.pth`; `modifier` as it is stored beside a model."""
    module = torch.jit.script(Frozen() if frozen is None else frozen)
    torch.jit.save(module, str(file), _extra_files={"data_modifier.pth": modifier})
    return file


class Mentions(Frozen):
    """Has calls of DeePMD-kit's operators in its code."""

    def __init__(self, compressed: bool) -> None:
        super().__init__()
        self.compressed = compressed

    @torch.jit.export
    def forward_lower(
        self,
        extended_coord: Tensor,
        extended_atype: Tensor,
        nlist: Tensor,
        mapping: Optional[Tensor] = None,
        fparam: Optional[Tensor] = None,
        aparam: Optional[Tensor] = None,
        comm_dict: Optional[Dict[str, Tensor]] = None,
    ) -> Dict[str, Tensor]:
        if comm_dict is not None:
            a = comm_dict["send_list"]
            extended_coord = torch.ops.deepmd.border_op(a, a, a, a, a, a, a, a, a)[0]
        if self.compressed:
            a = extended_coord
            extended_coord = torch.ops.deepmd.tabulate_fusion_se_a(a, a, a, a, 8)[0]
        return self.evaluate(extended_coord, extended_atype, nlist, fparam, aparam)


if __name__ == "__main__":
    from pimd.potentials.deepmd_operators import provide

    for operator in ("border_op", "tabulate_fusion_se_a"):
        provide(operator)
    write(Path(sys.argv[1]), Mentions(compressed=sys.argv[2:] == ["call"]))
