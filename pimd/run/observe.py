"""Watch a running simulation: what is shown while it goes, and counted at the end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pimd.ipi import extensions
from pimd.run.progress import Progress, Snapshot
from pimd.run.supervisor import Supervisor, Totals
from pimd.run.uncertainty import Uncertainty
from pimd.units import HARTREE_EV, KB_HARTREE_PER_KELVIN

if TYPE_CHECKING:
    from pimd.run.members import Recorder

__all__ = ["Observer"]


class Observer:
    """Counts steps and messages, and makes a snapshot when the progress display wants one.

    Properties are read from i-PI's own, in i-PI's thread, at display times only; uncertainties
    then too, unless they have limits.

    Args:
        simulation: i-PI's.
        supervisor: of the daemons.
        progress: where snapshots go.
        uncertainty: what the potentials tell of how sure they are.
        recorder: keeps what members say at a stride; None: nobody asked for it.

    Attributes:
        work: what the daemons did for the steps.
        exchanges: messages with positions for the steps.
    """

    def __init__(
        self,
        simulation: Any,
        supervisor: Supervisor,
        progress: Progress,
        uncertainty: Uncertainty,
        recorder: Recorder | None = None,
    ) -> None:
        self.simulation, self.supervisor, self.progress = simulation, supervisor, progress
        self.uncertainty, self.recorder = uncertainty, recorder
        self._limited = uncertainty.options.every_step
        self._work_before = Totals()
        self._exchanges_before = 0
        self._first_step = int(simulation.step)
        self._start = self._shown_at = time.perf_counter()
        self._shown_step = self._first_step
        self._shown_work = Totals()
        self._conserved_before: float | None = None
        self.last_step = self._first_step
        self.work = Totals()
        self.exchanges = 0

    def before_steps(self) -> None:
        """The forces of the first structures are there: counting starts.

        Raises:
            NoUncertainty: one is needed, and nothing tells it.
            RunDirectoryError: members.h5 is of another run.
        """
        self.uncertainty.begin()
        if self.recorder is not None:
            self.recorder.begin(self._first_step)
        self._work_before = self.supervisor.fresh_totals()
        self._shown_work = self._work_before
        self._exchanges_before = exchanges()
        self._start = self._shown_at = time.perf_counter()
        self._conserved_before = self._property("conserved")

    def after_step(self, step: int) -> None:
        """A step is done and its outputs are not written yet."""
        if self._limited:
            self.uncertainty.check(step)
        if self.recorder is not None:
            self.recorder.after_step(step)
        if self.progress.due():
            self.progress.show(self.snapshot(step))
        self.last_step = step

    def after_steps(self, readable: bool) -> None:
        """The last step is done: the counts over all steps, and a last line with
        the rates of the whole run if `readable`."""
        if self.recorder is not None:
            self.recorder.file.close()
        self.work = self.supervisor.fresh_totals().minus(self._work_before)
        counted = exchanges() - self._exchanges_before
        self.exchanges = counted or self.work.rounds  # nobody counts where whole_rounds is off
        if readable and self.last_step > self._shown_step:
            self._shown_at, self._shown_step = self._start, self._first_step
            self._shown_work = self._work_before
            self.progress.show(self.snapshot(self.last_step))

    def snapshot(self, step: int) -> Snapshot:
        """The state after `step`, rates over the time since the last snapshot."""
        now = time.perf_counter()
        work = self.supervisor.totals()
        recent = work.minus(self._shown_work)
        steps = max(1, step - self._shown_step)
        wall = now - self._shown_at
        temperature = self._property("temperature")
        potential, conserved = self._property("potential"), self._property("conserved")
        n_atoms = self.simulation.syslist[0].beads.natoms if self.simulation.syslist else 1
        busy = recent.seconds.get("model", 0.0)
        observed = sum(recent.seconds.values())
        drift = None
        if conserved is not None and self._conserved_before is not None:
            drift = (conserved - self._conserved_before) * HARTREE_EV / n_atoms
        snapshot = Snapshot(
            step=step,
            total=int(self.simulation.tsteps),
            ms_per_step=1000.0 * wall / steps,
            temperature_kelvin=(
                None if temperature is None else temperature / KB_HARTREE_PER_KELVIN
            ),
            potential_ev=None if potential is None else potential * HARTREE_EV,
            drift_ev_per_atom=drift,
            structures_per_call=(
                recent.structures_evaluated / recent.rounds if recent.rounds else None
            ),
            model_share=busy / observed if observed > 0 else None,
            sigma=self.uncertainty.shown(step),
        )
        self._shown_at, self._shown_step, self._shown_work = now, step, work
        return snapshot

    def _property(self, name: str) -> float | None:
        """A property of the first system in hartree, or None where its motion has none."""
        if not self.simulation.syslist:
            return None
        try:
            return float(self.simulation.syslist[0].properties.property_dict[name]["func"]())
        except Exception:
            return None


def exchanges() -> int:
    """Messages with positions that i-PI has sent so far, over all sockets."""
    return sum(counter.exchanges for counter in extensions.counters().values())
