"""Energies and forces of stored beads under another potential.

    RUN/labels/NAME.h5             system 0
    RUN/labels/system_1/NAME.h5    system 1, and so on

with, for L labelled frames, P beads and n atoms,

    step       (L,)           int64, increasing
    checksum   (L,)           uint32, CRC-32 of the positions that were evaluated
    energies   (L, P)         eV
    forces     (L, P, n, 3)   eV/Å; only where they were asked for, NaN where not
    has_forces (L,)           bool, beside forces
    member_energies (L, M, P) eV; only of a committee

and the attributes `format`, `spec`, `numbers`. The file is never changed in place: a new one takes
its name when it is whole. A run that goes on from a checkpoint may come to other positions at the
same steps; the checksums tell.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pimd.hdf5 import COMPRESSED, to_disk
from pimd.record.channels import rows_of_steps, rows_or_nan
from pimd.record.missing import NotInRecord
from pimd.whole_file import whole_file

if TYPE_CHECKING:
    from pimd.record.run import Run

__all__ = ["FORMAT", "Label", "LabelStore", "checksum", "label_path", "read_label"]

FORMAT = "pimd labels, version 1"
OPTIONAL = ("forces", "member_energies")


@dataclass(frozen=True)
class Label:
    """What another potential says of the frames of a run.

    Attributes:
        energies: eV, (T, P); NaN where a frame is not labelled.
        spec: the potential.
        step: (T,) int64, of the frames.
        forces: eV/Å, (T, P, n, 3), NaN where not labelled; None: not asked for.
        member_energies: eV, (T, M, P), where the potential is a committee.
        checksums: (T,), of the positions that were evaluated; None: not known.
        name: of the label.
    """

    energies: np.ndarray
    spec: str
    step: np.ndarray
    forces: np.ndarray | None = None
    member_energies: np.ndarray | None = None
    checksums: np.ndarray | None = None
    name: str = ""

    @property
    def frames(self) -> np.ndarray:
        """Which frames are labelled, indices."""
        return np.flatnonzero(np.isfinite(self.energies).all(axis=1))

    def at(self, step: np.ndarray) -> Label:
        """The same at other steps, NaN where there is no label."""
        rows = rows_of_steps(self.step, np.asarray(step))
        return replace(
            self,
            step=np.asarray(step, dtype=np.int64),
            energies=rows_or_nan(self.energies, rows),
            forces=None if self.forces is None else rows_or_nan(self.forces, rows),
            member_energies=(
                None if self.member_energies is None else rows_or_nan(self.member_energies, rows)
            ),
            checksums=None,
        )


def checksum(positions: np.ndarray) -> int:
    """CRC-32 of the positions of one frame, (P, n, 3)."""
    return zlib.crc32(np.ascontiguousarray(positions, dtype="<f8").tobytes())


class LabelStore:
    """The labels of one system: in its folder, or in memory.

    Args:
        folder: where the files are; None: in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._kept: dict[str, Label] = {}

    @classmethod
    def of(cls, directory: Path | None, system: int = 0) -> LabelStore:
        """The labels of one system of a run."""
        return cls(None if directory is None else label_path(directory, "", system).parent)

    @property
    def names(self) -> tuple[str, ...]:
        files = [] if self.folder is None else sorted(self.folder.glob("*.h5"))
        return (*self._kept, *(path.stem for path in files if not path.name.startswith(".")))

    def specs(self) -> dict[str, str]:
        """Name of each label and the potential it is of."""
        found = {name: label.spec for name, label in self._kept.items()}
        for name in self.names:
            if name not in found and self.folder is not None:
                found[name] = read_spec(self.folder / f"{name}.h5")
        return found

    def keep(self, name: str, label: Label) -> None:
        """A label in memory."""
        self._kept[name] = label

    def read(self, name: str, run: Run, *, forces: bool = True) -> Label:
        """A label at the frames of a run; without forces if those are not wanted.

        Raises:
            NotInRecord: there is none, or it is of other frames.
        """
        if name in self._kept:
            return replace(self._kept[name].at(run.step), name=name)
        if self.folder is None or not (self.folder / f"{name}.h5").is_file():
            there = ", ".join(self.names) or "none"
            raise NotInRecord(
                f"{run.where} has no label '{name}' (there are: {there}); make it with\n"
                f"  pimd relabel {run.where} --potential SPEC --name {name}"
            )
        label = read_label(self.folder / f"{name}.h5", forces=forces)
        problem = mismatch(label, run)
        if problem:
            raise NotInRecord(
                f"{self.folder / name}.h5: {problem}; bring it up to date with\n"
                f"  pimd relabel {run.where} --potential '{label.spec}' --name {name}"
            )
        return replace(label.at(run.step), name=name)


def label_path(directory: Path, name: str, system: int = 0) -> Path:
    """The file of a label."""
    folder = Path(directory) / "labels"
    return (folder / f"system_{system}" if system else folder) / f"{name}.h5"


def mismatch(label: Label, run: Run) -> str:
    """Why a label is not of the frames of a run, in words; empty: it is.

    A trajectory that left another one does not come back to it: the last step that both have
    tells for all before.
    """
    if label.energies.shape[1:] != (run.n_beads,):
        return f"it has {label.energies.shape[1:]} beads, the run {run.n_beads}"
    both = np.intersect1d(label.step, run.step)
    if len(both) and label.checksums is not None and run.has("positions"):
        last = int(np.searchsorted(run.step, both[-1]))
        stored = label.checksums[np.searchsorted(label.step, both[-1])]
        if checksum(run.read("positions", last)) != stored:
            return f"the positions at step {both[-1]} are not those that were evaluated"
    return ""


def read_spec(path: Path) -> str:
    """The potential of a label; empty where the file cannot be read."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("spec", ""))
    except OSError:
        return ""


def read_label(path: Path, *, forces: bool = True) -> Label:
    """A label from its file.

    Raises:
        NotInRecord: it cannot be read.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise NotInRecord(f"{path} is no file of labels ({FORMAT})")
            optional = {
                name: file[name][:] for name in OPTIONAL
                if name in file and (forces or name != "forces")
            }
            return Label(
                file["energies"][:], str(file.attrs["spec"]), file["step"][:],
                checksums=file["checksum"][:], **optional,
            )
    except (OSError, KeyError) as error:
        raise NotInRecord(f"{path} cannot be read ({error}): delete it and relabel") from error


def write_label(path: Path, label: Label, numbers: np.ndarray) -> None:
    """Write a label so that the file is there whole, or as it was."""
    import h5py

    assert label.checksums is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["spec"] = label.spec
        file.attrs["numbers"] = numbers
        for name, (values, unit) in _data_sets(label).items():
            large = COMPRESSED if values.ndim > 2 else {}
            file.create_dataset(name, data=values, **large).attrs["unit"] = unit
        to_disk(file)


def _data_sets(label: Label) -> dict[str, tuple[np.ndarray, str]]:
    assert label.checksums is not None
    sets: dict[str, tuple[np.ndarray, str]] = {
        "step": (label.step.astype(np.int64), ""),
        "checksum": (label.checksums.astype(np.uint32), ""),
        "energies": (label.energies, "eV"),
    }
    if label.forces is not None:
        sets["forces"] = (label.forces, "eV/angstrom")
        sets["has_forces"] = (np.isfinite(label.forces[:, 0, 0, 0]), "")
    if label.member_energies is not None:
        sets["member_energies"] = (label.member_energies, "eV")
    return sets
