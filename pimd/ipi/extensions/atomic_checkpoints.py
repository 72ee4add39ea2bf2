"""A checkpoint file is whole at every moment: the old one, or the new one.

i-PI opens RESTART for writing and fills it; killed meanwhile, the run is left with half a file
and nothing to go on from. Here the text goes to `NAME.tmp` in the same folder, is forced to disk,
and takes the name in one step.

A file of that name that this run did not write is kept, as i-PI does, as `#NAME#0#`, `#NAME#1#`,
...; but by a second link to it, so that NAME itself exists all the time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["AtomicCheckpoints", "WithTrailer", "replace_file", "trailers"]

trailers: list[Callable[[Any], str]] = []
"""Functions of a CheckpointOutput that add text (XML comments) at its end, called before it is
written; they may raise OSError, and then nothing is written."""


def _write(_stock: Any) -> Any:
    """CheckpointOutput.write."""

    def write(self: Any, store: bool = True) -> None:
        from ipi.engine.outputs import get_identification_info_xml

        if not self.active():
            return
        name = self.filename if self.overwrite else f"{self.filename}_{self.step}"
        if store:
            self.step += 1  # before storing: the file says which number comes next
            self.store()
            self.status.step.store(self.simul.step + 1)
        text = get_identification_info_xml() + "\n" + self.status.write(name="simulation")
        text += "".join(trailer(self) for trailer in trailers)
        if not (self.overwrite and self._continued):
            _keep_foreign(name)
        replace_file(name, text)
        self._continued = True

    return write


def replace_file(name: str, text: str) -> None:
    """Give a file new contents in one step, on disk when this returns."""
    temporary = name + ".tmp"
    with open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, name)
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder
        folder = os.open(os.path.dirname(name) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _keep_foreign(name: str) -> None:
    """Keep a file that another run wrote under the first free backup name."""
    if not os.path.isfile(name):
        return
    folder, base = os.path.split(name)
    number = 0
    while os.path.exists(backup := os.path.join(folder, f"#{base}#{number}#")):
        number += 1
    try:
        os.link(name, backup)
    except OSError:  # a file system without links
        shutil.copy2(name, backup)


class AtomicCheckpoints(Extension):
    """See the module."""

    name = "atomic_checkpoints"
    purpose = "RESTART and checkpoints are replaced in one step, never half written"
    relies_on: ClassVar = {
        "ipi.engine.outputs:CheckpointOutput.write": "3a7cf179ddf9",
        "ipi.utils.io:open_backup": "7824277b8f9c",
        "ipi.engine.outputs:get_identification_info_xml": "8a8b10212e3c",
        "ipi.engine.simulation:Simulation.softexit": "dfbb28a1adf4",
    }

    def layers(self) -> Mapping[str, Layer]:
        return {"ipi.engine.outputs:CheckpointOutput.write": _write}


class WithTrailer(Extension):
    """An extension whose `trailer` is one of the `trailers` while it is on."""

    def trailer(self, checkpoint: Any) -> str:
        """Text to add at the end of a checkpoint; see `trailers`."""
        raise NotImplementedError

    def enable(self) -> None:
        super().enable()
        if self.trailer not in trailers:
            trailers.append(self.trailer)

    def disable(self) -> None:
        if self.trailer in trailers:
            trailers.remove(self.trailer)
        super().disable()
