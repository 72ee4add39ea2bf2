"""The daemon as a child process: `python -m pimd.daemon.child --status-fd N CONFIG.json`.

With `--request-fd N` it answers requests for the forces of members (`pimd.daemon.members`).

The configuration:

    {"spec": "{potential: qtip4pf}",          a SPEC, as text or mapping
     "targets": [{"address": "unix:water", "name": "water", "n_connections": 1,
                  "structure": {"numbers": [...], "positions": [[...]], "cell": [[...]],
                                "pbc": [...]}}],
     "threads": 2, "skin": 1.0, "properties": ["dipole"], "max_atoms": null,
     "connect_timeout": 600, "reconnect_timeout": 60, "dump_dir": "."}

Lengths are in Å. Only spec and targets must be there. `properties` and `skin` given in the SPEC
count where the configuration has none. Events (`pimd.daemon.status`) are written to the status
pipe, one JSON object a line, beginning with {"event": "loading", "spec"} and {"event": "loaded",
"potential", "seconds"}; without a pipe, to stdout.

The process ends itself when its parent dies or closes the other end of the pipe.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimd.daemon.memory import keep_memory
from pimd.daemon.threads import share_cores
from pimd.notices import notices_as_events

if TYPE_CHECKING:
    from pimd.daemon.budget import Budget
    from pimd.evaluator import Evaluator
    from pimd.potentials.registry import Spec

__all__ = [
    "StatusPipe", "configuration", "main", "make_evaluator", "property_names", "run",
    "sends_member_forces",
]

_POLL = 1.0
_LAST_CHANCE = 5.0
_WRITE_LIMIT = 2.0
_LOADING_FAILED = 14
DEFAULT_SKIN = 1.0
"""Å, as in `pimd.evaluator.Evaluator`."""


def configuration(spec: Any, targets: Sequence[Any], **options: Any) -> dict[str, Any]:
    """The configuration of a child process.

    Args:
        spec: a SPEC as text or mapping.
        targets: `pimd.daemon.serve.Target`s.
        options: the other entries of the module's docstring; None stands for the default.
    """
    entries = []
    for target in targets:
        entries.append(
            {
                "address": target.address,
                "name": target.name,
                "n_connections": target.n_connections,
                "trial_structures": target.trial_structures,
                "structure": target.template.as_lists(),
            }
        )
    chosen = {key: value for key, value in options.items() if value is not None}
    return {"spec": spec, "targets": entries, **chosen}


class StatusPipe:
    """Writes events as JSON lines to a file descriptor, and never blocks for long.

    If nobody reads, budget events are dropped; the others wait up to two seconds.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rest = b""
        self._lock = threading.Lock()
        os.set_blocking(fd, False)

    def __call__(self, event: dict[str, Any]) -> None:
        patient = event.get("event") != "budget"
        with self._lock:
            if not patient and not self._write(0.0):
                return
            self._rest += json.dumps(event).encode() + b"\n"
            self._write(_WRITE_LIMIT if patient else 0.0)

    def _write(self, limit: float) -> bool:
        """Send what is left; whether all of it went."""
        deadline = time.monotonic() + limit
        while self._rest:
            try:
                self._rest = self._rest[os.write(self.fd, self._rest) :]
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0.0:
                    return False
                select.select([], [self.fd], [], left)
            except OSError:
                self._rest = b""  # nobody is there any more
                return False
        return True


def _watch_parent(fd: int | None) -> None:
    """End this process when the parent is gone: in order if it can, at all events soon."""
    parent = os.getppid()

    def gone() -> bool:
        if os.getppid() != parent:
            return True
        if fd is None:
            time.sleep(_POLL)
            return False
        poll = select.poll()
        poll.register(fd, 0)  # only errors and the closing of the other end
        return bool(poll.poll(_POLL * 1000))

    def watch() -> None:
        while not gone():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LAST_CHANCE)
        os._exit(1)

    threading.Thread(target=watch, name="pimd-watch-parent", daemon=True).start()


def run(config: Mapping[str, Any], report: Any, request_fd: int | None = None) -> int:
    """Load, warm up and serve as the configuration says; the exit status."""
    report({"event": "loading", "spec": str(config["spec"])})
    started = time.monotonic()
    share_cores()
    keep_memory()
    import numpy as np
    import torch

    from pimd.daemon.members import MemberRequests
    from pimd.daemon.serve import CONNECT_TIMEOUT, RECONNECT_TIMEOUT, Target, serve
    from pimd.potentials.registry import parse_spec
    from pimd.structure import Structure

    if config.get("threads"):
        torch.set_num_threads(int(config["threads"]))
    spec = parse_spec(config["spec"])
    evaluator = make_evaluator(spec, config.get("skin"), config.get("max_atoms"))
    potential = evaluator.potential
    try:
        targets = [
            Target(
                entry["address"],
                Structure(**{k: np.array(v) for k, v in entry["structure"].items()}),
                int(entry.get("n_connections", 1)),
                str(entry.get("name", "")),
                int(entry.get("trial_structures", 0)),
            )
            for entry in config["targets"]
        ]
        report(
            {"event": "loaded", "potential": potential.name, "seconds": time.monotonic() - started}
        )
        reason = serve(
            evaluator,
            targets,
            properties=property_names(spec, config.get("properties")),
            member_forces=sends_member_forces(spec),
            connect_timeout=float(config.get("connect_timeout", CONNECT_TIMEOUT)),
            reconnect_timeout=float(config.get("reconnect_timeout", RECONNECT_TIMEOUT)),
            report=report,
            dump_dir=config.get("dump_dir", "."),
            member_requests=None if request_fd is None else MemberRequests(request_fd, report),
        )
    finally:
        potential.close()
    return reason.status


def make_evaluator(
    spec: Spec,
    skin: float | None = None,
    max_atoms: int | None = None,
    budget: Budget | None = None,
) -> Evaluator:
    """The evaluator of a SPEC, with the `chunking` of the SPEC, and its `skin` where none is
    given."""
    from pimd.batch_splitting import as_chunking
    from pimd.evaluator import Evaluator
    from pimd.potentials.registry import make_potential

    chosen = spec.options.get("skin", DEFAULT_SKIN) if skin is None else skin
    return Evaluator(
        make_potential(spec),
        skin=float(chosen),
        max_atoms=max_atoms,
        chunking=as_chunking(spec.options.get("chunking", "auto")),
        budget=budget,
    )


def property_names(spec: Spec, given: Any = None) -> tuple[str, ...]:
    """Properties to send as extras; those of the SPEC count where none are given."""
    value = spec.options.get("properties", ()) if given is None else given
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else tuple(value)


def sends_member_forces(spec: Spec) -> bool:
    """Whether forces and virials of committee members go into the extras."""
    return bool(spec.options.get("member_forces", False))


def main(arguments: Sequence[str] | None = None) -> int:
    """The process: reads the configuration, serves, tells why it ended."""
    parser = argparse.ArgumentParser(prog="python -m pimd.daemon.child", description=__doc__)
    parser.add_argument("--status-fd", type=int, default=None, help="pipe for events")
    parser.add_argument("--request-fd", type=int, default=None, help="pipe for requests")
    parser.add_argument("config", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    if options.status_fd is not None:
        report: Any = StatusPipe(options.status_fd)
        os.set_inheritable(options.status_fd, False)
    else:
        def report(event: dict[str, Any]) -> None:
            print(json.dumps(event), flush=True)

    if options.request_fd is not None:
        os.set_inheritable(options.request_fd, False)
    _watch_parent(options.status_fd)
    try:
        with notices_as_events(report):
            return run(json.loads(options.config.read_text()), report, options.request_fd)
    except Exception as error:
        trace = "".join(traceback.format_exception(error))
        message = str(error) or type(error).__name__
        report(
            {"event": "error", "message": message, "simulation": None, "bead": None,
             "file": None, "traceback": trace}
        )
        report(
            {"event": "end", "reason": "loading_failed", "status": _LOADING_FAILED,
             "message": message}
        )
        return _LOADING_FAILED


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
