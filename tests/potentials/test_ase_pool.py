"""The worker processes of ASEPool: who computes what, and what happens when one fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ase_fakes import TROUBLES

from pimd.potentials.ase import ASEPool
from pimd.potentials.base import Batch, Prediction, Wanted
from pimd.structure import PotentialError, Structure, StructureFailed


def structures(*numbers: int) -> Batch:
    """One dimer for each atomic number."""
    return Batch.from_structures(
        [Structure(np.array([n, 1]), [[0.0, 0, 0], [0, 0, 1.0 + 0.1 * n]]) for n in numbers]
    )


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def wait_until(condition, limit: float = 20.0) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def trouble():
    pool = ASEPool("ase_fakes.Trouble", workers=2, timeout=30.0)
    yield pool
    pool.close()


def still_works(pool: ASEPool) -> None:
    """Both workers answer, rightly: E = k/2 * d^2/2 with k = 2."""
    prediction = pool.compute(structures(10, 11, 12, 13), Wanted())
    distance = 1.0 + 0.1 * np.array([10, 11, 12, 13])
    np.testing.assert_allclose(prediction.energies.numpy(), 0.5 * distance**2, rtol=1e-14)


def test_beads_keep_their_worker_and_calculator() -> None:
    pool = ASEPool("ase_fakes.Witness", workers=2, threads_per_worker=3)
    wanted = Wanted(properties=("dipole", "charges"))

    def round_(seed: int) -> Prediction:
        rng = np.random.default_rng(seed)
        beads = [Structure([8, 1], rng.normal(size=(2, 3))) for _ in range(5)]
        return pool.compute(Batch.from_structures(beads), wanted)

    rounds = [round_(seed) for seed in range(3)]
    pids = [r.properties["dipole"][:, 0].tolist() for r in rounds]
    assert pids[0] == pids[1] == pids[2]
    assert pids[0] == [pids[0][0], pids[0][1]] * 2 + [pids[0][0]]
    assert sorted(set(pids[0])) == sorted(pool.process_ids())
    # one calculation for energy, forces and properties together, and a calculator for each bead
    assert [r.energies.tolist() for r in rounds] == [[k] * 5 for k in (1.0, 2.0, 3.0)]
    assert (rounds[0].properties["dipole"][:, 1] == 3).all()  # OMP_NUM_THREADS
    assert (rounds[0].properties["dipole"][:, 2] == 0).all()  # no torch in the workers
    pool.close()


def test_reuse_off_makes_new_calculators() -> None:
    pool = ASEPool("ase_fakes.Witness", workers=1, reuse=False)
    for _ in range(2):
        assert pool.compute(structures(8, 8), Wanted()).energies.tolist() == [1.0, 1.0]
    pool.close()


def test_workers_start_as_needed() -> None:
    pool = ASEPool("ase_fakes.Springs", workers=3)
    assert len(pool.process_ids()) == 1
    pool.compute(structures(1, 1), Wanted())
    assert len(pool.process_ids()) == 2
    pool.close()
    assert pool.process_ids() == []


def test_default_number_of_workers() -> None:
    cores = len(os.sched_getaffinity(0))
    pool = ASEPool("ase_fakes.Springs")
    assert pool.workers == cores
    pool.close()
    pool = ASEPool("ase_fakes.Springs", threads_per_worker=cores)
    assert pool.workers == 1
    pool.close()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("exception", r"ase_fakes.Trouble: RuntimeError: the moon is in the wrong phase \(ase_f"),
        ("segfault", r"(?s)killed by SIGSEGV.*last words"),
        ("exit", r"SystemExit: 3"),
        ("shape", r"expected forces of shape \(2, 3\), got \(1, 3\)"),
    ],
)
def test_failure_names_the_structure(trouble: ASEPool, what: str, message: str) -> None:
    with pytest.raises(StructureFailed, match=message) as caught:
        trouble.compute(structures(1, 1, 1, TROUBLES[what], 1), Wanted())
    assert caught.value.index == 3
    assert str(caught.value).startswith("structure 3 of the batch (")
    assert isinstance(caught.value, PotentialError)
    still_works(trouble)


def test_killed_while_computing(trouble: ASEPool) -> None:
    trouble.compute(structures(1, 1), Wanted())
    victim = trouble.process_ids()[1]
    timer = threading.Timer(0.5, os.kill, (victim, signal.SIGKILL))
    timer.start()
    with pytest.raises(StructureFailed, match="killed by SIGKILL") as caught:
        trouble.compute(structures(1, TROUBLES["sleep"]), Wanted())
    timer.join()
    assert caught.value.index == 1
    still_works(trouble)


def test_killed_while_idle(trouble: ASEPool) -> None:
    """Nothing is lost, so nothing is said: the next round starts another."""
    still_works(trouble)
    victim = trouble.process_ids()[0]
    os.kill(victim, signal.SIGKILL)
    assert wait_until(lambda: trouble._pool._workers[0].process.poll() is not None)
    still_works(trouble)
    assert victim not in trouble.process_ids()


def test_time_limit() -> None:
    pool = ASEPool("ase_fakes.Trouble", workers=2, timeout=0.5)
    slow = structures(1, 1, TROUBLES["sleep"], 1)
    start = time.monotonic()
    with pytest.raises(StructureFailed, match=r"time limit of 0.5 s") as caught:
        pool.compute(slow, Wanted())
    assert time.monotonic() - start < 10.0
    assert caught.value.index == 2
    still_works(pool)
    pool.close()


def test_output_is_kept_short(trouble: ASEPool) -> None:
    """Calculators that print do not fill the disk."""
    for _ in range(3):
        trouble.compute(structures(TROUBLES["chatter"]), Wanted())
    worker = trouble._pool._workers[0]
    assert os.fstat(worker.output.fileno()).st_size <= 300_000


def test_close_ends_workers_at_once() -> None:
    pool = ASEPool("ase_fakes.Springs", workers=2)
    pool.compute(structures(1, 1), Wanted())
    pids, folder = pool.process_ids(), pool._pool.folder
    assert folder.is_dir()
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start < 2.0
    assert all(gone(pid) for pid in pids)
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="closed"):
        pool.compute(structures(1), Wanted())


def test_forgotten_pool_ends_its_workers() -> None:
    pool = ASEPool("ase_fakes.Springs", workers=1)
    (pid,) = pool.process_ids()
    del pool
    assert wait_until(lambda: gone(pid))


OWNER = """
import os, signal, sys, threading
import numpy as np
from pimd.potentials.ase import ASEPool
from pimd.potentials.base import Batch, Wanted
from pimd.structure import Structure
pool = ASEPool("ase_fakes.Trouble", workers=2)
idle = [Structure(np.array([1, 1]), np.eye(3)[:2])] * 2
pool.compute(Batch.from_structures(idle), Wanted())
print(*pool.process_ids(), pool._pool.folder, flush=True)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
pool.compute(Batch.from_structures([Structure(np.array([3, 1]), np.eye(3)[:2])]), Wanted())
"""


def test_workers_end_with_a_killed_owner() -> None:
    """kill -9 of the owner, one worker computing and one idle: both end, folders are gone."""
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parent))
    result = subprocess.run(
        [sys.executable, "-c", OWNER], capture_output=True, text=True, timeout=60, env=environment
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    *pids, folder = result.stdout.split()
    assert wait_until(lambda: all(gone(int(pid)) for pid in pids))
    assert wait_until(lambda: not Path(folder).exists())


def test_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File names in options hold in the workers, which work in folders of their own."""
    monkeypatch.chdir(tmp_path)
    Path("k.txt").write_text("4.0")
    pool = ASEPool("ase_fakes.FromFile", workers=2, file="k.txt", directory="work")
    energies = pool.compute(structures(10, 10), Wanted()).energies
    pool.close()
    np.testing.assert_allclose(energies.numpy(), 4.0 * 0.25 * 2.0**2, rtol=1e-14)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("written.txt"))
    assert written == [Path(f"work/worker-{k}/written.txt") for k in (0, 1)]
