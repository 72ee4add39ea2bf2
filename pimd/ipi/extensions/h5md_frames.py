"""The output of i-PI that makes frames: one for each system, into one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ipi.engine.outputs import TrajectoryOutput
from ipi.utils.io import open_backup
from ipi.utils.messages import verbosity, warning

from pimd.ipi.extensions.h5md_quantities import Quantity, layout_of, quantities_of, split_names
from pimd.ipi.systems import time_fs
from pimd.record.h5md_file import H5MDFile, RecordError
from pimd.record.h5md_layout import CELLS, SystemLayout, record_name
from pimd.units import BOHR_ANGSTROM

__all__ = ["FrameOutput"]

FileOf = Callable[[str, int, bool], H5MDFile]


class FrameOutput(TrajectoryOutput):
    """A trajectory that is not text.

    Args:
        plain: what i-PI would make of the input.
        file_of: gives the file of a name; gets the index of the system too, and whether a file
            that is there is gone on with.

    Raises:
        ValueError: what is asked for is no list of names.
    """

    def __init__(self, plain: Any, file_of: FileOf) -> None:
        super().__init__(
            plain.filename, plain.stride, plain.flush, plain.what, plain.format,
            plain.cell_units, plain.ibead, plain.extra_type,
        )
        self.names = split_names(plain.what)
        self._file_of = file_of
        self._file: H5MDFile | None = None
        self._quantities: list[Quantity] = []
        self._layout: SystemLayout | None = None
        self._index = 0

    def __deepcopy__(self, memo: Any) -> FrameOutput:
        """i-PI copies the outputs of its input before they are bound."""
        return FrameOutput(self, self._file_of)

    def bind(self, system: Any, mode: str = "w") -> None:
        # not TrajectoryOutput.bind, which takes the list for one name
        self._index = next(i for i, s in enumerate(system.simul.syslist) if s is system)
        self._quantities = quantities_of(system, self.names)
        super(TrajectoryOutput, self).bind(mode, system)

    def open_stream(self, mode: str) -> None:
        """Nothing is opened before the first frame is there."""
        name = record_name(self.filename, self.system.prefix)
        if mode == "w" and self._index == 0 and Path(name).exists():
            open_backup(name, "w").close()
            Path(name).unlink()
        self._file = self._file_of(name, self._index, mode != "w")

    def softexit(self) -> None:
        """Close the file, before RESTART is written."""
        try:
            self.close_stream()
        except RecordError as error:  # no RESTART will count on what is missing: `sync` fails
            warning(f" @H5MD: {error}", verbosity.low)

    def close_stream(self) -> None:
        if self._file is not None:
            self._file.close()

    def write(self) -> None:
        """Add a frame, whole or not at all: a soft exit may come while forces are awaited.

        Raises:
            ValueError: something asked for cannot be had.
            RecordError: the file cannot be written.
        """
        if not self.active() or self._file is None or self._file.is_closed:
            return
        frame = self._frame()
        if self._layout is None:
            self._layout = layout_of(self.system, self._quantities, frame)
        self._file.append(self._index, self._layout, frame)

    def _frame(self) -> dict[str, np.ndarray]:
        system = self.system
        frame = {
            "step": np.array(int(system.simul.step) + 1, dtype=np.int64),
            "time": np.array(time_fs(system)),
            CELLS: np.array(system.cell.h, dtype=float).T * BOHR_ANGSTROM,  # rows
        }
        for quantity in self._quantities:
            frame[quantity.name] = quantity.read()
        return frame
