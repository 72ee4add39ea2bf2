"""Run an i-PI input as `i-pi` does, with the extensions, or without them.

    python extensions_runner.py input.xml SETTINGS

SETTINGS is JSON for `Settings`, or `stock`. At the end one line of JSON goes to report.json: what
was on, what was counted, what failed. Ends with status 1 if the run failed.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

import ipi.utils.softexit
from ipi.engine.simulation import Simulation
from ipi.utils.softexit import softexit

from pimd.ipi import extensions

ipi.utils.softexit.SOFTEXITLATENCY = 0.2  # its threads end sooner; nothing else depends on it


def main() -> None:
    statuses: list[extensions.ExtensionStatus] = []
    if sys.argv[2] != "stock":
        settings = json.loads(sys.argv[2])
        settings["off"] = frozenset(settings.get("off", ["spaced_states"]))  # tests count steps
        if settings.pop("tell_silent", False):
            settings["on_silent"] = Path("silent").write_text
        statuses = extensions.enable_all(extensions.Settings(**settings))
    with open(sys.argv[1]) as file:
        simulation = Simulation.load_from_xml(file.read())
    first = int(simulation.step)
    with contextlib.suppress(SystemExit):
        start = time.perf_counter()
        simulation.run()
        seconds = time.perf_counter() - start
        with open("seconds", "w") as file:
            file.write(str(seconds))
    with contextlib.suppress(SystemExit):
        softexit.trigger(simulation.exit_status, simulation.exit_message)
    deadline = time.monotonic() + 15.0
    while softexit.exiting and time.monotonic() < deadline:
        time.sleep(0.01)
    report = {
        "enabled": [s.name for s in statuses if s.enabled],
        "off": {s.name: s.reason for s in statuses if not s.enabled},
        "first_step": first,
        "failure": vars(extensions.FAILURE) if extensions.FAILURE else {},
        "message": extensions.failure_message(),
        "direct": {name: c.direct for name, c in extensions.counters().items()},
        "counters": {name: [c.exchanges, c.requests] for name, c in extensions.counters().items()},
    }
    with open("report.json", "w") as file:
        json.dump(report, file)
    sys.exit(1 if extensions.FAILURE else 0)


if __name__ == "__main__":
    main()
