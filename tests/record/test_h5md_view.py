"""What readers of H5MD see of a record: all beads, one bead, the centroid."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from record_frames import frame, layout

from pimd.record.h5md_file import H5MDFile
from pimd.record.h5md_view import write_bead_view, write_centroid_view

N_FRAMES, N_BEADS, N_ATOMS = 20, 4, 6


@pytest.fixture
def record(tmp_path: Path) -> Path:
    of = layout(N_ATOMS, N_BEADS)
    (tmp_path / "run").mkdir()
    file = H5MDFile(tmp_path / "run" / "a.h5", [0])
    for step in range(N_FRAMES):
        file.append(0, of, frame(of, step))
    file.close()
    return file.path


def expected(name: str) -> np.ndarray:
    of = layout(N_ATOMS, N_BEADS)
    return np.array([frame(of, step)[name] for step in range(N_FRAMES)])


def test_views_refer_to_the_record_and_move_with_it(record: Path, tmp_path: Path) -> None:
    views = record.parent / "views"
    views.mkdir()
    write_bead_view(record, 2, views / "bead.h5md")
    write_centroid_view(record, views / "centroid.h5md")
    record.parent.rename(tmp_path / "moved")
    with h5py.File(tmp_path / "moved/views/bead.h5md") as file:
        group = file["particles/trajectory"]
        np.testing.assert_array_equal(group["position/value"], expected("positions")[:, 2])
        np.testing.assert_array_equal(group["velocity/value"], expected("velocities")[:, 2])
        np.testing.assert_array_equal(group["box/edges/value"], expected("cells"))
        assert group["position/step"][:].tolist() == list(range(N_FRAMES))
        np.testing.assert_array_equal(
            file["observables/system_0/energies/value"], expected("energies")
        )
    with h5py.File(tmp_path / "moved/views/centroid.h5md") as file:
        np.testing.assert_array_equal(
            file["particles/trajectory/position/value"], expected("x_centroid")
        )


def test_what_is_not_there_is_told(record: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.h5 has beads 0 to 3, not 4"):
        write_bead_view(record, 4, record.with_name("b.h5md"))
    with pytest.raises(ValueError, match=r"a\.h5 has systems 0 to 0, not 1"):
        write_centroid_view(record, record.with_name("b.h5md"), system=1)
    assert not record.with_name("b.h5md").exists()


def universe(n_atoms: int, path: Path, **options: Any) -> Any:
    import MDAnalysis

    with warnings.catch_warnings():  # of atoms without names, of libraries it has not
        warnings.simplefilter("ignore")
        found = MDAnalysis.Universe.empty(n_atoms)
        return found.load_new(str(path), **options)


def test_mdanalysis_reads_all_beads_and_views(record: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("MDAnalysis")
    write_bead_view(record, 3, record.with_name("bead.h5md"))
    write_centroid_view(record, record.with_name("centroid.h5md"))
    positions, speeds = expected("positions"), expected("velocities")
    whole = universe(N_BEADS * N_ATOMS, record, format="H5MD")
    bead = universe(N_ATOMS, record.with_name("bead.h5md"))
    centroid = universe(N_ATOMS, record.with_name("centroid.h5md"))
    pairs = [
        (whole, positions.reshape(N_FRAMES, -1, 3), speeds.reshape(N_FRAMES, -1, 3)),
        (bead, positions[:, 3], speeds[:, 3]),
        (centroid, expected("x_centroid"), None),
    ]
    for found, places, velocities in pairs:
        assert len(found.trajectory) == N_FRAMES
        for ts in found.trajectory:  # single precision, Å/ps
            np.testing.assert_allclose(ts.positions, places[ts.frame], atol=1e-6)
            if velocities is not None:
                np.testing.assert_allclose(
                    ts.velocities, 1000 * velocities[ts.frame], rtol=1e-5, atol=1e-3
                )
            assert ts.time == pytest.approx(0.00025 * ts.frame)  # ps
            assert ts.data["system_0/a_b"] == expected("a/b")[ts.frame]
