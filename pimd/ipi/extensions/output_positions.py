"""Checkpoints know how long the output files were, so that a resumed run doubles and loses no row.

A run that goes on from a checkpoint appends to its output files. Rows written between the
checkpoint and the end of the run before are then there twice. Here every checkpoint carries, in
an XML comment in the same file, the size in bytes of each output file at the moment of the state
it stores, and `truncate_outputs` cuts the files back to that before a run is resumed.

For that, the checkpoints of a step are written after its other outputs, and the outputs are on
disk before a checkpoint that counts on them takes its name. Sizes are taken when a state is
stored (for RESTART: every `safe_stride` steps), and only of files written to since the last time.
"""

from __future__ import annotations

import json
import os
import re
import sys
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pimd.ipi.extensions.atomic_checkpoints import WithTrailer
from pimd.ipi.extensions.patching import Layer

__all__ = ["OutputPositions", "OutputPositionsError", "read_positions", "truncate_outputs"]

LABEL = "sizes of the output files at this step:"


class OutputPositionsError(ValueError):
    """The output files do not belong to the checkpoint; the message says which and why."""


# while a run goes on ------------------------------------------------------------------------


class Tracker:
    """The sizes of all outputs that are open; measured again only where something was written."""

    def __init__(self) -> None:
        self._outputs: weakref.WeakSet[Any] = weakref.WeakSet()
        self._latest: dict[str, int] = {}
        self._is_stale = True

    def add(self, output: Any) -> None:
        output.measured_sizes = {}
        output.closed_by_exit = False
        self._outputs.add(output)
        self.touch(output)

    def touch(self, output: Any) -> None:
        """Note that something is written to an output."""
        output.is_measured = output.is_on_disk = False

    def sizes(self) -> dict[str, int]:
        """File name -> bytes, of all outputs; the dictionary is not changed afterwards."""
        changed, self._is_stale = self._is_stale, False
        for output in list(self._outputs):
            if getattr(output.out, "closed", False) and not output.closed_by_exit:
                self._outputs.discard(output)  # a file that i-PI is done with
                changed = True
            elif not output.is_measured:
                output.measured_sizes = _measure(output)
                output.is_measured = changed = True
        if changed:
            self._latest = {}
            for output in list(self._outputs):
                self._latest.update(output.measured_sizes)
        return self._latest

    def sync(self) -> None:
        """Force to disk what i-PI has not."""
        for output in list(self._outputs):
            if not output.is_on_disk:
                _sync(output)
                output.is_on_disk = True

    def close(self, output: Any) -> None:
        """Take the final sizes of an output that a soft exit is about to close."""
        if output in self._outputs and not output.closed_by_exit:
            output.measured_sizes = _measure(output)
            output.is_measured = output.closed_by_exit = self._is_stale = True
            _sync(output)
            output.is_on_disk = True


def _streams(output: Any) -> Iterator[Any]:
    """The open files of an output: one, or one for each bead."""
    out = output.out
    for stream in out if isinstance(out, list) else [out]:
        if stream is not None and not stream.closed:
            yield stream


def _measure(output: Any) -> dict[str, int]:
    sizes = {}
    for stream in _streams(output):
        stream.flush()
        sizes[str(stream.name)] = os.fstat(stream.fileno()).st_size
    return sizes


def _sync(output: Any) -> None:
    """fsync, unless i-PI has just done so: it counts the writes since in `nout`."""
    if getattr(output, "flush", 0) > 0 and getattr(output, "nout", 1) == 0:
        return
    for stream in _streams(output):
        stream.flush()
        os.fsync(stream.fileno())


class OutputPositions(WithTrailer):
    """See the module."""

    name = "output_positions"
    purpose = "checkpoints hold the sizes of the outputs, so that resuming doubles and loses no row"
    relies_on: ClassVar = {
        "ipi.engine.outputs:BaseOutput.bind": "b9ef0980c1cb",
        "ipi.engine.outputs:BaseOutput.write": "f41b3b3a22e3",
        "ipi.engine.outputs:BaseOutput.softexit": "844d391516a9",
        "ipi.engine.outputs:CheckpointOutput.bind": "0c2507b77cb6",
        "ipi.engine.outputs:CheckpointOutput.store": "1015839e2036",
        "ipi.engine.simulation:Simulation.write_outputs": "aba4a92dba07",
        "ipi.engine.outputs:BaseOutput.open_stream": "99366ea669fb",
        "ipi.engine.outputs:BaseOutput.active": "313aa05c3d24",
        "ipi.engine.outputs:PropertyOutput.write": "b2de8934803c",
        "ipi.engine.outputs:TrajectoryOutput.write": "f949810ebcae",
        "ipi.engine.outputs:TrajectoryOutput.write_traj": "9c94c2910c91",
        "ipi.engine.outputs:TrajectoryOutput.open_stream": "a90be5acc86e",
        "ipi.engine.outputs:CheckpointOutput.write": "3a7cf179ddf9",
        "ipi.engine.simulation:Simulation._run_loop": "d1f1b732fc5c",
        "ipi.engine.simulation:Simulation.softexit": "dfbb28a1adf4",
    }
    requires = ("atomic_checkpoints",)

    def __init__(self) -> None:
        self.tracker = Tracker()

    def layers(self) -> Mapping[str, Layer]:
        outputs = "ipi.engine.outputs"
        return {
            f"{outputs}:BaseOutput.bind": self._bind,
            f"{outputs}:BaseOutput.write": self._write,
            f"{outputs}:BaseOutput.softexit": self._softexit,
            f"{outputs}:CheckpointOutput.bind": self._store,
            f"{outputs}:CheckpointOutput.store": self._store,
            "ipi.engine.simulation:Simulation.write_outputs": self._write_outputs,
        }

    def trailer(self, checkpoint: Any) -> str:
        sizes = getattr(checkpoint, "output_sizes", None)
        if sizes is None:
            return ""
        self.tracker.sync()
        return position_comment(sizes)

    def _bind(self, stock: Any) -> Any:
        def bind(output: Any, *args: Any, **kwargs: Any) -> None:
            stock(output, *args, **kwargs)
            self.tracker.add(output)

        return bind

    def _write(self, stock: Any) -> Any:
        """BaseOutput.write, for outputs that i-PI writes when it likes (PARATEMP and such)."""

        def write(output: Any, data: Any) -> Any:
            self.tracker.touch(output)
            return stock(output, data)

        return write

    def _softexit(self, stock: Any) -> Any:
        def softexit(output: Any) -> None:
            self.tracker.close(output)
            stock(output)

        return softexit

    def _store(self, stock: Any) -> Any:
        def store(checkpoint: Any, *args: Any) -> None:
            stock(checkpoint, *args)
            checkpoint.output_sizes = self.tracker.sizes()

        return store

    def _write_outputs(self, _stock: Any) -> Any:
        """Simulation.write_outputs: first the data, then the checkpoints that count on them.

        A soft exit may end the writing of a row, where a property needs forces that will not
        come. i-PI goes on and stores the step; here the step counts as not done, so that the
        row is written again, whole, by the run that goes on.
        """

        def write_outputs(simulation: Any) -> None:
            from ipi.engine.outputs import CheckpointOutput

            next_step = int(simulation.step) + 1
            due = [o for o in simulation.outputs if next_step % o.stride == 0]
            data = [o for o in due if not isinstance(o, CheckpointOutput)]
            for output in data:
                self.tracker.touch(output)
            several = simulation.threading and len(simulation.syslist) > 1
            _write_all(data, simulation.executor if several else None)
            for output in due:
                if isinstance(output, CheckpointOutput):
                    output.write()

        return write_outputs


def _write_all(outputs: list[Any], executor: Any) -> None:
    """Write all outputs, in threads where i-PI does; a soft exit in one does not stop the others.

    Raises:
        SystemExit: afterwards, if an output is not whole.
    """
    from ipi.utils.softexit import softexit

    # started together, as the systems of a simulation may wait for each other's forces
    writes = [o.write if executor is None else executor.submit(o.write).result for o in outputs]
    whole = True
    for write in writes:
        try:
            write()
        except SystemExit:
            if not softexit.triggered:
                raise
            whole = False
    if not whole:
        sys.exit()


# in the file --------------------------------------------------------------------------------


def position_comment(sizes: Mapping[str, int]) -> str:
    """The XML comment that holds the sizes; `--`, which ends comments, is escaped."""
    return f"\n<!-- {LABEL} {json.dumps(dict(sizes)).replace('--', '-' + chr(92) + 'u002d')} -->\n"


def read_positions(checkpoint: Path) -> dict[str, int] | None:
    """File name -> size in bytes that a checkpoint holds, or None if it holds none."""
    found = re.search(rf"<!-- {re.escape(LABEL)} (\{{.*?\}}) -->", Path(checkpoint).read_text())
    if found is None:
        return None
    return {str(name): int(size) for name, size in json.loads(found[1]).items()}


# before a run goes on -----------------------------------------------------------------------


def truncate_outputs(checkpoint: str | Path, directory: str | Path) -> list[str]:
    """Cut the outputs of a run back to what they were when a checkpoint was stored.

    Nothing is cut unless every file is there and long enough.

    Args:
        checkpoint: a RESTART or `<checkpoint>` file.
        directory: where the run works; names in the checkpoint are relative to it.

    Returns:
        What was cut, one line a file, to be shown to the user.

    Raises:
        OutputPositionsError: if a file is missing or shorter than the checkpoint says.
    """
    checkpoint, directory = Path(checkpoint), Path(directory)
    sizes = read_positions(checkpoint)
    if sizes is None:
        return [
            f"{checkpoint.name} does not say how long the outputs were (it was written without "
            "pimd): rows written after it will be there twice"
        ]
    cuts: list[tuple[Path, int, int]] = []
    problems: list[str] = []
    for name, size in sizes.items():
        path = directory / name
        found = path.stat().st_size if path.is_file() else None
        if found is None and size > 0:
            problems.append(f"{name} is missing")
        elif found is not None and found < size:
            problems.append(f"{name} has {found} bytes, fewer than the {size} it had then")
        elif found is not None and found > size:
            cuts.append((path, size, found))
    if problems:
        raise OutputPositionsError(
            f"the outputs in {directory} do not belong to {checkpoint.name}: "
            + "; ".join(problems)
            + ". Put the files back, or start again from the beginning"
        )
    return [_cut(path, size, found) for path, size, found in cuts]


def _cut(path: Path, size: int, found: int) -> str:
    with open(path, "rb+") as file:
        file.seek(size)
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())
    return f"{path.name}: dropped {found - size} bytes ({lines} lines) written after the checkpoint"
