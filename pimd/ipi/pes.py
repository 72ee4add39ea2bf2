"""A potential as what i-PI calls a PES, for the programs in drivers/.

A driver file derives a class from `PES` and can then be used in three ways, all with the same
numbers:

    <ffdirect> <pes>custom</pes> <pes_path>x_driver.py</pes_path> ...   in i-PI's process
    i-pi-driver-py -m custom -P x_driver.py -o template=init.xyz        i-PI's own client
    python x_driver.py --connect unix:NAME --template init.xyz          the daemon

Requests go through the code that serves the daemon's, so that a batch is one call.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from pimd.daemon.calls import Caller, EvaluationError
from pimd.daemon.child import make_evaluator, property_names, sends_member_forces
from pimd.daemon.failures import describe
from pimd.daemon.rounds import Request, Template
from pimd.ipi.structure_files import template_structure
from pimd.potentials.registry import Spec, parse_spec
from pimd.structure import PotentialError
from pimd.units import FORCE_AU_EV_PER_ANGSTROM, HARTREE_EV

__all__ = ["PES", "Result", "main", "template_structure"]

Result = tuple[float, np.ndarray, np.ndarray, str]
"""Energy (hartree), forces (n_atoms, 3) (hartree/bohr), virial (3, 3) (hartree), extras."""


class PES:
    """Called with cells and positions in atomic units, as i-PI calls it.

    Args:
        template: file with the species, in the order of the simulation; any that ASE reads, or
            i-PI's xyz. It says whether the simulation is periodic, unless the option `pbc` does.
        threads: of torch.
        options: as in a SPEC: those of the potential, `properties` and `member_forces` (sent as
            extras), `skin`, `pbc`. Lists and mappings may be written as text, `[a; b]` and
            `(key: value)`.

    Raises:
        PotentialError: for a missing template or wrong options.
    """

    potential: ClassVar[str] = ""
    """Name in `pimd.potentials.registry`."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Option of the driver -> option of the potential, where `template` would mean two things."""

    def __init__(
        self, template: str | Path | None = None, *, threads: int | None = None, **options: Any
    ) -> None:
        if isinstance(options.get("verbosity"), bool):
            del options["verbosity"]  # i-PI adds its own
        if template is None:
            raise PotentialError(
                f"{self.potential}: i-PI sends no species; give the file of the initial "
                "structure as the parameter `template`"
            )
        self.spec = self.make_spec(options)
        self.structure = template_structure(template, self.spec.options.get("pbc"))
        if threads is not None:
            torch.set_num_threads(int(threads))
        self.evaluator = make_evaluator(self.spec)
        self._caller = Caller(
            self.evaluator, property_names(self.spec), sends_member_forces(self.spec)
        )
        self._template = Template.of(self.structure)

    @classmethod
    def make_spec(cls, options: Mapping[str, Any]) -> Spec:
        """The SPEC of the driver's options."""
        spec = parse_spec(cls.potential)
        for key, value in options.items():
            if isinstance(value, str):
                value = parse_spec(f"x, value: {value}").options["value"]
            spec.options[cls.renamed.get(key, key)] = value
        return spec

    def __call__(self, cell: Any, pos: Any) -> Result | list[Result]:
        """Evaluate one structure, or lists of them in one call.

        Args:
            cell: bohr, (3, 3), columns are lattice vectors; or a list of them.
            pos: bohr, (n_atoms, 3) or flat; or a list of them.

        Returns:
            (energy, forces, virial, extras), or a list of such tuples.

        Raises:
            RuntimeError: what cannot be evaluated; the structure is written to an extxyz.
        """
        if not isinstance(cell, list):
            return self._evaluate([cell], [pos])[0]
        if not isinstance(pos, list) or len(pos) != len(cell):
            raise ValueError("a batch is a list of cells and a list of as many positions")
        return self._evaluate(cell, pos)

    def close(self) -> None:
        """Give back what the potential holds."""
        self.evaluator.potential.close()

    def _evaluate(self, cells: Sequence[Any], positions: Sequence[Any]) -> list[Result]:
        request = Request(
            self._template,
            np.array(cells, dtype=np.float64).reshape(-1, 3, 3),
            self._positions(positions),
        )
        try:
            answer = self._caller.evaluate([request])
        except EvaluationError as error:
            failure = describe(error, [(self.potential, None)], self._caller, Path.cwd())
            raise RuntimeError(failure.message) from error.__cause__
        found, (share,) = answer.evaluated, answer.round.shares
        assert found.forces is not None
        assert found.virials is not None
        energies_hartree = share.per_structure(found.energies) * (1.0 / HARTREE_EV)
        forces_au = share.per_atom(found.forces) * (1.0 / FORCE_AU_EV_PER_ANGSTROM)
        # ours is the derivative by a strain of row vectors, i-PI's of columns
        virials_hartree = share.per_structure(found.virials).transpose(0, 2, 1) / HARTREE_EV
        extras = [""] * len(request)
        if answer.extras is not None:
            extras = [answer.extras[slot].decode() for slot in share.slots]
        return [
            (float(energies_hartree[k]), forces_au[k], virials_hartree[k].copy(), extras[k])
            for k in range(len(request))
        ]

    def _positions(self, positions: Sequence[Any]) -> np.ndarray:
        """[structure, atom, xyz], bohr."""
        n_atoms = len(self.structure)
        arrays = [np.asarray(x, dtype=np.float64) for x in positions]
        for array in arrays:
            if array.size != 3 * n_atoms:
                raise ValueError(
                    f"{self.potential}: the template has {n_atoms} atoms, i-PI sent "
                    f"{array.size / 3:g}: the template is of another system"
                )
        return np.stack([array.reshape(n_atoms, 3) for array in arrays])


def main(pes: type[PES], arguments: Sequence[str] | None = None) -> int:
    """A driver as a program: connects to i-PI and serves until it ends; the exit status."""
    from rich.console import Console

    from pimd.daemon.command import serve_command

    console = Console()
    options = _parser(pes).parse_args(arguments)
    try:
        spec = pes.make_spec(_options(options.option))
    except PotentialError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 2
    return serve_command(
        str(spec),
        options.connect,
        [options.template],
        beads=options.connections,
        threads=options.threads,
        connect_timeout=options.connect_timeout,
        reconnect_timeout=options.reconnect_timeout,
        console=console,
    )


def _parser(pes: type[PES]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=f"Serve i-PI with the potential {pes.potential}: all beads in one batch.",
        epilog=f"The same as `pimd serve --potential {pes.potential} ...`.",
    )
    add = parser.add_argument
    add("--connect", action="append", required=True, metavar="ADDRESS",
        help="unix:NAME, inet:HOST:PORT or shm:NAME of an i-PI; may be repeated")  # fmt: skip
    add("--template", required=True, type=Path, metavar="FILE",
        help="a structure that gives the species")  # fmt: skip
    add("-o", "--option", action="append", default=[], metavar="KEY=VALUE[,KEY=VALUE...]",
        help="options of the potential; properties, member_forces, skin, pbc")  # fmt: skip
    add("--connections", type=int, default=1, metavar="N",
        help="for each address: one per bead for an input without <batch_size>")  # fmt: skip
    add("--threads", type=int, metavar="N", help="CPU threads of the potential")
    add("--connect-timeout", type=float, default=600.0, metavar="SECONDS",
        help="how long to wait for the server to appear")  # fmt: skip
    add("--reconnect-timeout", type=float, default=30.0, metavar="SECONDS",
        help="how long to wait for a server that left")  # fmt: skip
    return parser


def _options(texts: Sequence[str]) -> dict[str, Any]:
    """Options of the command line, read as i-PI reads those of its client."""
    from ipi.utils.io.inputs import read_args_kwargs

    found: dict[str, Any] = {}
    for text in texts:
        positional, named = read_args_kwargs(text)
        if positional:
            raise PotentialError(f"-o {text}: expected KEY=VALUE, got '{positional[0]}'")
        found.update(named)
    return found
