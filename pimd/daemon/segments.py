"""The shared-memory segments of one connection: six arrays that i-PI owns and we only attach.

    pos   (n_structures, n_atoms, 3)    bohr
    h ih  (n_structures, 3, 3)          columns are lattice vectors
    pot   (n_structures,)               hartree
    force (n_structures, n_atoms, 3)    hartree/bohr
    vir   (n_structures, 3, 3)          hartree

`multiprocessing.shared_memory` is not used: up to Python 3.12 it hands every segment that is
merely attached to a resource tracker, which unlinks it when this process ends.
"""

from __future__ import annotations

import importlib
import mmap
import os
from collections.abc import Mapping

import numpy as np

from pimd.daemon.messages import DOUBLE, SEGMENT_KINDS, RemoteProtocolError

__all__ = ["Segments", "segment_shapes"]

_posixshmem = importlib.import_module("_posixshmem")  # CPython's own, without type stubs


def segment_shapes(n_structures: int, n_atoms: int) -> dict[str, tuple[int, ...]]:
    """Shape of each segment, as in the module's docstring."""
    return {
        "pos": (n_structures, n_atoms, 3),
        "h": (n_structures, 3, 3),
        "ih": (n_structures, 3, 3),
        "pot": (n_structures,),
        "force": (n_structures, n_atoms, 3),
        "vir": (n_structures, 3, 3),
    }


class Segments:
    """The six segments, attached.

    Attributes:
        arrays: float64 views by kind, shapes as in the module's docstring.

    Raises:
        RemoteProtocolError: a segment is missing or smaller than the arrays it should hold.
    """

    def __init__(self, names: Mapping[str, str], n_structures: int, n_atoms: int) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        shapes = segment_shapes(n_structures, n_atoms)
        for kind in SEGMENT_KINDS:
            shape = shapes[kind]
            memory = _attach(names[kind], kind, DOUBLE * int(np.prod(shape)))
            # the array keeps the mapping alive, and the last reference unmaps it
            self.arrays[kind] = np.frombuffer(memory, np.float64, int(np.prod(shape))).reshape(
                shape
            )


def _attach(name: str, kind: str, n_bytes: int) -> mmap.mmap:
    try:
        fd = _posixshmem.shm_open("/" + name, os.O_RDWR, mode=0o600)
    except OSError as error:
        raise RemoteProtocolError(
            f"cannot attach the shared segment '{name}' ({kind}): {error}; server and daemon "
            "must run on one machine, and share /dev/shm if in containers"
        ) from error
    try:
        size = os.fstat(fd).st_size
        if size < n_bytes:
            raise RemoteProtocolError(
                f"the shared segment '{name}' ({kind}) has {size} bytes, expected {n_bytes}"
            )
        return mmap.mmap(fd, n_bytes)
    finally:
        os.close(fd)
