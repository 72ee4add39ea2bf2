"""What all HDF5 files of pimd have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

__all__ = ["COMPRESSED", "to_disk"]

COMPRESSED: Mapping[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""Options of a data set that is large: coordinates are noise, and a higher level gains nothing."""


def to_disk(file: Any) -> None:
    """Out of HDF5's buffers and onto the disk.

    Args:
        file: an open h5py.File.
    """
    file.flush()
    os.fsync(file.id.get_vfd_handle())
