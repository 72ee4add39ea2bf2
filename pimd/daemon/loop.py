"""The daemon's loop: many servers, one selector, one call at a time.

Each turn connects what is due, waits for sockets, reads and writes them, and starts a round when
the requests that belong together are there. A round is evaluated right here if nobody else could
send meanwhile, and in a thread otherwise. The loop sleeps while there is nothing to do.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pimd.daemon.calls import Answer, EvaluationError
from pimd.daemon.connection import Connection, ConnectionLost, hang_up
from pimd.daemon.failures import describe
from pimd.daemon.gather import Gatherer
from pimd.daemon.messages import RemoteProtocolError
from pimd.daemon.models import AnyCaller, LoadingFailed, Models
from pimd.daemon.simulation import Link, Simulation
from pimd.daemon.status import ExitReason, Reporter
from pimd.daemon.watch import Watcher
from pimd.daemon.worker import Worker
from pimd.structure import PotentialError

__all__ = ["Loop"]

_STOP_GRACE = 5.0
"""Seconds that a round under way gets to end when the loop is stopped."""


class Loop:
    """Serves simulations until the last one is over.

    Args:
        models: who evaluates for whom; their budget gets the time of the loop.
        simulations: what to serve.
        reporter: told what happens.
        dump_dir: where a structure goes that cannot be evaluated.

    Attributes:
        message: what went wrong first, or "".
    """

    def __init__(
        self,
        models: Models,
        simulations: Sequence[Simulation],
        reporter: Reporter,
        dump_dir: Path,
    ) -> None:
        self.models, self.simulations = models, list(simulations)
        self.reporter, self.dump_dir = reporter, dump_dir
        self.message = ""
        self._budget = models.budget
        self._gatherer = Gatherer()
        self._watcher = Watcher()
        self._worker: Worker[Answer] = Worker(self._watcher.wake)
        self._pending: list[Link] = []
        self._first_pending = 0.0
        self._in_flight: list[Link] = []
        self._calling: AnyCaller | None = None  # whose round is under way
        self._tasks: deque[Callable[[], None]] = deque()
        self._under_way: set[Link] = set()  # with half a message in or out
        self._due_at = 0.0  # when time alone brings something to do; 0: to be found out
        self._stopping = False
        self._failed = False
        self._report_asked = False

    @property
    def wake_fd(self) -> int:
        """A byte written here wakes the loop, as for `signal.set_wakeup_fd`."""
        return self._watcher.wake_fd

    def report_now(self) -> None:
        """Tell the budget once no round is under way; for signal handlers and other threads."""
        self._report_asked = True
        self._watcher.wake()

    def when_idle(self, task: Callable[[], None]) -> None:
        """Run a task in the loop's thread once no round is under way; for other threads."""
        self._tasks.append(task)
        self._watcher.wake()

    def stop(self) -> None:
        """End soon; for signal handlers and other threads."""
        self._stopping = True
        self._watcher.wake()

    def run(self) -> ExitReason:
        """Serve until every simulation is over, a round cannot be evaluated, or `stop`."""
        with self._budget.stage("wire"):
            while not (self._stopping or self._failed or self._over()):
                self._turn()
            if self._in_flight:
                with contextlib.suppress(TimeoutError):
                    self._conclude(lambda: self._worker.result(_STOP_GRACE))
            self._hang_up([link for s in self.simulations for link in s.links])
        return self._outcome()

    def close(self) -> None:
        """Close what is open and let the thread go; when `run` has ended or raised."""
        for simulation in self.simulations:
            for link in simulation.links:
                link.drop()
                if link.connection is not None:
                    link.connection.close()
        self._worker.close()
        self._watcher.close()

    def _over(self) -> bool:
        return all(s.outcome is not None for s in self.simulations)

    def _outcome(self) -> ExitReason:
        if self._failed:
            return ExitReason.EVALUATION_FAILED
        outcomes = [s.outcome for s in self.simulations]
        bad = [o for o in outcomes if o is not None and o.status]
        if bad:
            return bad[0]
        return ExitReason.STOPPED if None in outcomes else ExitReason.FINISHED

    # -- one turn -----------------------------------------------------------------------------

    def _turn(self) -> None:
        if self._report_asked and not self._in_flight:  # else the clocks are the other thread's
            self._report_asked = False
            self.reporter.budget(now=True)
        if self._tasks and not self._in_flight:
            self._tasks.popleft()()
            return
        now = time.monotonic()
        if now >= self._due_at:
            self._due_at = self._connect_due(now)
        timeout = max(0.0, self._due_at - now)
        if self._pending and not self._in_flight:
            wait = self._seconds_to_round()
            if wait <= 0.0:
                self._start_round()
                return
            timeout = min(timeout, wait)
        for link, readable, writable in self._wait(timeout):
            self._serve(link, readable, writable)
        if self._in_flight and self._worker.ready():
            self._conclude(self._worker.result)

    def _wait(self, timeout: float) -> list[tuple[Link, bool, bool]]:
        if self._in_flight:  # the time is the other thread's to book
            return self._watcher.wait(timeout)
        with self._budget.stage("wire" if self._under_way else "wait"):
            return self._watcher.wait(timeout)

    def _connect_due(self, now: float) -> float:
        """Start the attempts that are due; when the next one is, or a deadline."""
        next_time = float("inf")
        for simulation in self.simulations:
            if simulation.outcome is not None:
                continue
            message = simulation.check_deadline(now)
            if simulation.outcome is not None:
                self._end(simulation, message)
                next_time = now  # it may have been the last one
                continue
            next_time = min(next_time, simulation.deadline())
            for link in simulation.links:
                if link.waiting and now >= link.retry_at:
                    link.attempt(now)
                    self._watcher.update(link)
                if link.waiting:
                    next_time = min(next_time, link.retry_at)
        return next_time

    # -- one link -----------------------------------------------------------------------------

    def _serve(self, link: Link, readable: bool, writable: bool) -> None:
        if link.connecting is not None:
            self._watcher.forget(link)
            link.finish(time.monotonic())
            self._watcher.update(link)
            self._due_at = 0.0
            return
        connection = link.connection
        if connection is None:  # closed by what came before in this turn
            return
        with self._guard(link, connection):
            was_initialised = connection.initialised
            if writable:
                connection.flush()
            if readable:
                connection.read()
            if connection.initialised and not was_initialised:
                self._initialised(link, connection)
            if link.simulation.outcome is None:
                self._after_reading(link, connection)

    def _initialised(self, link: Link, connection: Connection) -> None:
        """INIT came: find out who evaluates for this server."""
        simulation = link.simulation
        connection.last_round = self._gatherer.n_rounds
        self._due_at = 0.0
        try:
            said = self.models.assign(simulation, connection.parameters)
        except PotentialError as error:
            simulation.outcome = ExitReason.REFUSED
            self._end(simulation, str(error))
            return
        connection.template = simulation.template
        if said:
            self._tell("note", simulation, message=said)
        self._tell("connected", simulation, connection=link.index)

    def _after_reading(self, link: Link, connection: Connection) -> None:
        if connection.exited is not None:
            if connection.exited.pending:
                raise ConnectionLost(
                    "the server said EXIT without taking the forces it had asked for",
                    said_exit=True,
                )
            link.simulation.exited(link)
            self._forget(link)
            connection.close()
            link.connection = None
            if link.simulation.outcome is not None:
                self._end(link.simulation, "")
        elif connection.request is not None and link not in self._pending:
            if not self._pending:
                self._first_pending = time.monotonic()
            self._pending.append(link)

    @contextmanager
    def _guard(self, link: Link, connection: Connection) -> Iterator[None]:
        """Turn what breaks a connection into what follows from it, and watch it again."""
        try:
            yield
        except ConnectionLost as error:
            self._forget(link)
            connection.close()
            link.simulation.lost(link, time.monotonic(), said_exit=error.said_exit)
            self._tell("warning", link.simulation, message=f"{error}; connecting again")
        except RemoteProtocolError as error:
            link.simulation.outcome = ExitReason.PROTOCOL_ERROR
            self._end(link.simulation, str(error))
        else:
            # a single link's round is evaluated before anything is waited for
            if connection.request is None or self._n_links > 1:
                self._watcher.update(link)
            if connection.arriving or connection.wants_write:
                self._under_way.add(link)
            else:
                self._under_way.discard(link)

    @property
    def _n_links(self) -> int:
        """Links of the simulations that are served."""
        return sum(len(s.links) for s in self.simulations if s.outcome is None)

    def _forget(self, link: Link) -> None:
        """Expect nothing of the link's connection any more."""
        self._watcher.forget(link)
        self._under_way.discard(link)
        self._due_at = 0.0
        if link in self._pending:
            self._pending.remove(link)

    def _hang_up(self, links: Sequence[Link]) -> None:
        connections = []
        for link in links:
            self._forget(link)
            link.drop()
            if link.connection is not None:
                connections.append(link.connection)
                link.connection = None
        if connections:
            hang_up(connections)

    def _end(self, simulation: Simulation, message: str) -> None:
        """The simulation is over: close its connections and say why if it went wrong."""
        self._hang_up(simulation.links)
        if simulation.outcome is not None and simulation.outcome.status:
            self.message = self.message or f"{simulation.name}: {message}"
            self._tell("error", simulation, message=message, bead=None, file=None, traceback="")
        else:
            self._tell("finished", simulation)

    def _tell(self, event: str, simulation: Simulation, **values: object) -> None:
        self.reporter.event(event, simulation=simulation.name, **values)

    # -- rounds -------------------------------------------------------------------------------

    def _seconds_to_round(self) -> float:
        caller = self._pending[0].simulation.caller
        n_expected = n_arriving = 0
        for simulation in (s for s in self.simulations if s.caller is caller):
            for connection in simulation.connections:
                if connection.request is not None:
                    n_expected += 1
                elif connection.initialised:
                    n_arriving += connection.arriving
                    recent = self._gatherer.expects(connection.last_round)
                    n_expected += recent or connection.arriving
        return self._gatherer.seconds_to_wait(
            time.monotonic() - self._first_pending,
            sum(link.simulation.caller is caller for link in self._pending),
            n_expected,
            arriving=n_arriving > 0,
        )

    def _start_round(self) -> None:
        """Take all that is pending for one caller; in the order of simulations, which never
        changes."""
        caller = self._pending[0].simulation.caller
        assert caller is not None
        self._calling = caller
        taken = {link for link in self._pending if link.simulation.caller is caller}
        self._in_flight = [k for s in self.simulations for k in s.links if k in taken]
        self._pending = [link for link in self._pending if link not in taken]
        requests = []
        for link in self._in_flight:
            assert link.connection is not None
            assert link.connection.request is not None
            link.connection.last_round = self._gatherer.n_rounds + 1
            requests.append(link.connection.request)
        if self._n_links == len(self._in_flight):
            self._conclude(lambda: caller.evaluate(requests))
        else:
            self._worker.submit(lambda: caller.evaluate(requests))

    def _conclude(self, get: Callable[[], Answer]) -> None:
        """Get the answer of the round under way and send its shares."""
        try:
            answer = get()
        except LoadingFailed as error:
            self._not_loaded(error)
            return
        except EvaluationError as error:
            self._fail(error)
            return
        links, self._in_flight = self._in_flight, []
        n_structures = answer.round.batch.n_structures
        self._gatherer.called(answer.seconds)
        self.reporter.evaluated(n_structures, answer.seconds)
        self.reporter.memory_splits = self.models.n_splits
        for link, share in zip(links, answer.round.shares, strict=True):
            connection = link.connection
            if connection is not None and connection.request is share.request:
                with self._guard(link, connection):
                    connection.deliver(answer.evaluated, share, answer.extras)
                    self.reporter.answered(len(share.request), share.n_new)
        self.reporter.budget()

    def _not_loaded(self, error: LoadingFailed) -> None:
        """The simulations of the round cannot be served; others go on."""
        links, self._in_flight = self._in_flight, []
        for simulation in dict.fromkeys(link.simulation for link in links):
            if simulation.outcome is None:
                simulation.outcome = ExitReason.LOADING_FAILED
                self._end(simulation, str(error.__cause__) or type(error.__cause__).__name__)

    def _fail(self, error: EvaluationError) -> None:
        owners = [
            (k.simulation.name, k.index if len(k.simulation.links) > 1 else None)
            for k in self._in_flight
        ]
        self._in_flight = []
        assert self._calling is not None
        failure = describe(error, owners, self._calling, self.dump_dir)
        self.message = failure.message
        self.reporter.event("error", **vars(failure))
        self._failed = True
