"""All beads of a run in one HDF5 file: `<trajectory format='h5md'>`.

    <trajectory format='h5md' filename='trajectory' stride='50'>
      [ positions, velocities, energies, members, temperature, conserved ]
    </trajectory>

writes PREFIX.trajectory.h5, for all systems, in the layout of docs/record.md. i-PI's input class
learns of the format, and gives an output of its own kind for it, which hands frames to a
`H5MDFile`. Frames are on disk before a checkpoint that counts on them takes its name.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pimd.ipi.extensions.atomic_checkpoints import WithTrailer
from pimd.ipi.extensions.patching import Layer
from pimd.ipi.run_input import FILENAMES
from pimd.record.h5md_file import H5MDFile
from pimd.record.h5md_layout import record_name

__all__ = ["H5MDOutput", "record_files"]

FORMAT = "h5md"
_INPUT = "ipi.inputs.outputs:InputTrajectory"


class H5MDOutput(WithTrailer):
    """See the module.

    Attributes:
        files: path -> the file, of all that were opened since the extension was switched on.
    """

    name = "h5md_output"
    purpose = "all beads in one HDF5 file, <trajectory format='h5md'>"
    relies_on: ClassVar = {
        f"{_INPUT}.__init__": "4e7455097d5f",
        f"{_INPUT}.fetch": "8a45b3a4c292",
        f"{_INPUT}.store": "bc399d867170",
        "ipi.inputs.outputs:InputOutputs.store": "b0add7bcbb13",
        "ipi.utils.inputvalue:InputAttribute.store": "6be0b1bb84b3",
        "ipi.engine.outputs:TrajectoryOutput": "16b1860c607a",
        "ipi.engine.outputs:BaseOutput.bind": "b9ef0980c1cb",
        "ipi.engine.outputs:BaseOutput.active": "313aa05c3d24",
        "ipi.engine.outputs:BaseOutput.softexit": "844d391516a9",
        "ipi.engine.simulation:Simulation.bind": "9029184cf1c8",
        "ipi.engine.simulation:Simulation.softexit": "dfbb28a1adf4",
        "ipi.engine.properties:getall": "eb4d6f448603",
        "ipi.engine.properties:Properties.__getitem__": "31e7e4d664bb",
        "ipi.engine.properties:Trajectories.__getitem__": "184959294378",
        "ipi.engine.forces:Forces.pot_combine": "e36c85dc5fea",
        "ipi.engine.forces:Forces.extra_combine": "b4bcf17b370c",
    }
    requires = ("atomic_checkpoints", "output_positions")

    def __init__(self) -> None:
        self.files: dict[str, H5MDFile] = {}

    def layers(self) -> Mapping[str, Layer]:
        return {f"{_INPUT}.__init__": _with_format, f"{_INPUT}.fetch": self._fetch}

    def trailer(self, _checkpoint: Any) -> str:
        """Nothing is added to a checkpoint, but its frames are on disk first."""
        for file in self.files.values():
            file.sync()
        return ""

    def _fetch(self, stock: Any) -> Any:
        def fetch(self_: Any) -> Any:
            if self_.format.fetch() != FORMAT:
                return stock(self_)
            from pimd.ipi.extensions.h5md_frames import FrameOutput

            plain = stock(self_)
            if plain.ibead != -1:
                raise ValueError(
                    f"<trajectory format='{FORMAT}'> has bead='{plain.ibead}', but holds all "
                    "beads: leave bead out"
                )
            return FrameOutput(plain, self.file_of)

        return fetch

    def file_of(self, name: str, system: int, extend: bool) -> H5MDFile:
        """The file of an output, the same for all systems."""
        path = str(Path(name).absolute())
        found = self.files.get(path)
        if found is None or found.is_closed:
            self.files[path] = found = H5MDFile(Path(path), [], extend=extend)
        found.expect(system)
        return found


def _with_format(stock: Any) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        stock(self, *args, **kwargs)
        self.format._valid = [*self.format._valid, FORMAT]

    return __init__


def record_files(simulation: ET.Element) -> list[tuple[str, int]]:
    """Name and stride of each such file of an input."""
    found = []
    for output in simulation.iter("output"):
        prefix = output.get("prefix", "i-pi").strip()
        for trajectory in output.iter("trajectory"):
            if trajectory.get("format", "").strip() == FORMAT:
                name = trajectory.get("filename", FILENAMES["trajectory"]).strip()
                stride = int(trajectory.get("stride", "1"))
                found.append((record_name(f"{prefix}.{name}" if prefix else name), stride))
    return found
