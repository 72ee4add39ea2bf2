"""A pool of long-lived worker processes, each fed one job at a time.

Each worker is a fresh interpreter that imports what its target needs and nothing else (no
torch), with a folder of its own to work in and its number of threads fixed. Jobs are assigned
to lanes, and a lane is always served by the same worker, so that a worker can keep state from
one round to the next. What goes wrong in a worker (an exception, a crash, a job that takes too
long) becomes one `JobFailed`, and the pool stays usable.

Workers end when the pool is closed, and when the process that owns it is gone, however it went.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

__all__ = ["JobFailed", "StartFailed", "WorkerPool"]

START_LIMIT_S = 600.0
"""How long a worker may take to import its target and answer."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
OUTPUT_TAIL = 1500
"""Characters of a dead worker's output that go into the message."""

BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from pimd.potentials.worker import main
main(int(sys.argv[2]), sys.argv[3] == "temporary")
"""


class StartFailed(RuntimeError):
    """A worker could not load its target; `kind` is the exception's name, "" if it died."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class JobFailed(RuntimeError):
    """One job failed; `index` is its place in the sequence given to `run`."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


@dataclass
class _Running:
    """A job in a worker."""

    index: int
    deadline: float


class _Worker:
    """One process: its connection, its output and the job it is busy with."""

    def __init__(self, folder: Path, temporary: bool, threads: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        environment = dict(os.environ)
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        # everything it prints, for the message if it dies; it keeps this file short itself
        self.output = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (closed in close)
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-c", BOOT, json.dumps([p or os.getcwd() for p in sys.path]),
                    str(theirs.fileno()), "temporary" if temporary else "kept",
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=self.output,
                cwd=folder,
                env=environment,
                start_new_session=True,  # Ctrl-C in a terminal is the owner's business
            )
        self.connection = Connection(ours.detach())
        self.running: _Running | None = None

    def receive(self) -> Any:
        """The next message; raises EOFError if the process is gone."""
        try:
            return self.connection.recv()
        except OSError as error:
            raise EOFError from error

    def death(self) -> str:
        """Why the process is gone, and its last words."""
        try:
            code = self.process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return "the worker process closed its connection"
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"signal {-code}"
            hint = " (often: out of memory)" if name == "SIGKILL" else ""
            how = f"the worker process was killed by {name}{hint}"
        else:
            how = f"the worker process ended with status {code}"
        words = self.last_words()
        return f"{how}; its last output:\n{words}" if words else how

    def last_words(self) -> str:
        size = os.fstat(self.output.fileno()).st_size
        tail = os.pread(self.output.fileno(), 4 * OUTPUT_TAIL, max(0, size - 4 * OUTPUT_TAIL))
        return tail.decode("utf-8", errors="replace").strip()[-OUTPUT_TAIL:]

    def close(self, patience: float = 0.0) -> None:
        """End the process: by closing the connection, after `patience` seconds by SIGKILL."""
        self.connection.close()
        try:
            self.process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()


class WorkerPool:
    """Worker processes that all run the same target.

    Args:
        target: "module:callable" that a worker imports; called once with `setup`, it returns
            (info, function), and `function(job)` is then called for each job.
        setup: picklable argument of the target.
        workers: number of processes; they are started when there are jobs for them.
        threads: of each process, through OMP_NUM_THREADS and its like.
        timeout: seconds one job may take.
        folder: where each worker gets a folder of its own to work in; None: a temporary one.

    Raises:
        StartFailed: if the first worker, started here, cannot load its target.
    """

    def __init__(
        self,
        target: str,
        setup: Any,
        *,
        workers: int,
        threads: int = 1,
        timeout: float = 3600.0,
        folder: Path | None = None,
    ) -> None:
        self.target, self.setup = target, setup
        self.threads, self.timeout = threads, timeout
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="pimd-pool-")) if folder is None else folder
        self._workers: list[_Worker | None] = [None] * workers
        self._finalizer = weakref.finalize(
            self, _close_all, self._workers, self.folder, self._temporary
        )
        try:
            self.info = self._ready(self._start(0))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._workers)

    def process_ids(self) -> list[int]:
        """Of the workers that are running."""
        return [w.process.pid for w in self._workers if w is not None]

    def run(self, jobs: Sequence[tuple[int, Any]]) -> list[Any]:
        """Run jobs (lane, job) and return their results in order.

        Lane k is served by worker k modulo the number of workers.

        Raises:
            JobFailed: for the first job that failed; what else was running is abandoned.
            StartFailed: if a further worker could not be started.
        """
        if not self._finalizer.alive:
            raise RuntimeError("the worker pool is closed")
        results: list[Any] = [None] * len(jobs)
        queues: dict[int, deque[int]] = {}
        for index, (lane, _) in enumerate(jobs):
            queues.setdefault(lane % len(self), deque()).append(index)
        self._start_missing(sorted(queues))
        try:
            for number in queues:
                self._send_next(number, queues[number], jobs)
            while busy := self._busy():
                for number, worker in self._answered(busy):
                    index, result = self._result(worker)
                    results[index] = result
                    self._send_next(number, queues[number], jobs)
        except BaseException:
            for number, _ in self._busy():
                self._drop(number)
            raise
        return results

    def close(self) -> None:
        """End all workers and remove their temporary folders."""
        self._finalizer()

    def _start(self, number: int) -> _Worker:
        worker = _Worker(self.folder / f"worker-{number}", self._temporary, self.threads)
        self._workers[number] = worker
        try:
            worker.connection.send((self.target, self.setup))
        except OSError:
            raise StartFailed(worker.death()) from None
        return worker

    def _ready(self, worker: _Worker) -> Any:
        """Wait until a worker has loaded its target; returns the target's info."""
        try:
            if not worker.connection.poll(START_LIMIT_S):
                raise StartFailed(
                    f"a worker process did not get ready within {START_LIMIT_S:.0f} s; its last "
                    f"output:\n{worker.last_words()}"
                )
            kind, *content = worker.receive()
        except EOFError:
            raise StartFailed(worker.death()) from None
        if kind == "failed":
            raise StartFailed(content[1], kind=content[0])
        return content[0]

    def _start_missing(self, numbers: list[int]) -> None:
        """Start the workers that are not there, or died while idle, all at once."""
        started = []
        try:
            for number in numbers:
                worker = self._workers[number]
                if worker is not None and worker.process.poll() is not None:
                    self._drop(number)
                if self._workers[number] is None:
                    started.append(number)
                    self._start(number)
            for number in started:
                worker = self._workers[number]
                assert worker is not None
                self._ready(worker)
        except BaseException:
            for number in started:
                self._drop(number)
            raise

    def _drop(self, number: int) -> None:
        worker, self._workers[number] = self._workers[number], None
        if worker is not None:
            worker.close()

    def _busy(self) -> list[tuple[int, _Worker]]:
        return [
            (number, worker)
            for number, worker in enumerate(self._workers)
            if worker is not None and worker.running is not None
        ]

    def _send_next(self, number: int, queue: deque[int], jobs: Sequence[tuple[int, Any]]) -> None:
        if not queue:
            return
        worker = self._workers[number]
        assert worker is not None
        index = queue.popleft()
        worker.running = _Running(index, time.monotonic() + self.timeout)
        try:
            worker.connection.send(jobs[index][1])
        except OSError:
            raise JobFailed(index, worker.death()) from None

    def _answered(self, busy: list[tuple[int, _Worker]]) -> list[tuple[int, _Worker]]:
        """The workers that have something to say, waiting until one has."""
        deadline = min(w.running.deadline for _, w in busy if w.running is not None)
        ready = wait([w.connection for _, w in busy], max(0.0, deadline - time.monotonic()))
        if not ready:
            late = min(
                (w.running for _, w in busy if w.running is not None), key=lambda r: r.deadline
            )
            raise JobFailed(late.index, f"no result within the time limit of {self.timeout:g} s")
        return [(number, w) for number, w in busy if w.connection in ready]

    def _result(self, worker: _Worker) -> tuple[int, Any]:
        assert worker.running is not None
        index = worker.running.index
        try:
            kind, *content = worker.receive()
        except EOFError:
            raise JobFailed(index, worker.death()) from None
        worker.running = None
        if kind == "failed":
            raise JobFailed(index, content[1])
        return index, content[0]


def _close_all(workers: list[_Worker | None], folder: Path, temporary: bool) -> None:
    open_workers = [worker for worker in workers if worker is not None]
    workers[:] = [None] * len(workers)
    for worker in open_workers:  # all at once: they end side by side
        with contextlib.suppress(OSError):
            worker.connection.close()
    for worker in open_workers:
        worker.close(patience=0.0 if worker.running else 2.0)
    if temporary:
        shutil.rmtree(folder, ignore_errors=True)
