"""The ranks of an MPI job, if this process is one of them: the first leads, the others evaluate.

    mpiexec -n 4 pimd relabel RUN --potential SPEC

starts the same program four times. mpi4py is imported only under mpiexec.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

from pimd.cores import available_cores
from pimd.potentials.models import require
from pimd.relabel.errors import RelabelError

__all__ = ["Ranks", "launched_ranks", "ranks"]

SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS")
"""Where Open MPI, MPICH and Intel MPI say how many processes they started."""
SLURM = ("PMIX_RANK", "SLURM_NTASKS")
"""Under srun with PMIx: the first is there, the second is the number."""


@dataclass(frozen=True)
class Ranks:
    """What this process is to do.

    Attributes:
        leads: whether it does the work that is done once; the others have done theirs.
        executor: evaluates on the other ranks; None: there are none.
        n_workers: ranks that evaluate.
    """

    leads: bool
    executor: Executor | None = None
    n_workers: int = 0


def launched_ranks() -> int:
    """Processes that mpiexec or srun started; 1 without them."""
    for name in SIZES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    if SLURM[0] in os.environ and os.environ.get(SLURM[1], "").isdigit():
        return int(os.environ[SLURM[1]])
    return 1


@contextmanager
def ranks() -> Iterator[Ranks]:
    """Lead, or evaluate until the leader is done; the latter within this call.

    Raises:
        PotentialError: mpiexec has started several processes, but mpi4py is not installed.
        RelabelError: mpi4py belongs to another MPI.
    """
    if launched_ranks() == 1:
        yield Ranks(leads=True)
        return
    MPI = require("mpi4py.MPI", "mpi")
    world = MPI.COMM_WORLD
    if world.size == 1:
        raise RelabelError(
            f"mpiexec started {launched_ranks()} processes, but mpi4py sees one: it was built for "
            "another MPI than the one that runs; install mpi4py for this one"
        )
    _share_cores(world.Split_type(MPI.COMM_TYPE_SHARED).size)
    with require("mpi4py.futures", "mpi").MPICommExecutor(world, root=0) as executor:
        yield Ranks(executor is not None, executor, world.size - 1)


def _share_cores(n_here: int) -> None:
    """Threads of torch for each rank of this machine, unless the user or mpiexec has said."""
    if n_here > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, available_cores() // n_here)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)
