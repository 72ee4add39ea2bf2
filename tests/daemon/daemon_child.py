"""The daemon as a child process of the test."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import daemon_ipi as ipi

from pimd.daemon.child import configuration
from pimd.daemon.serve import Target

HARMONIC = {"potential": "harmonic", "k": ipi.K_HARTREE * ipi.HARTREE / ipi.BOHR**2}



def wait_until(condition: Callable[[], bool], what: str, limit: float = 30.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Child:
    """`python -m pimd.daemon.child` with a status pipe."""

    def __init__(self, folder: Path, address: str, spec: Any, **options: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = configuration(spec, [Target(address, ipi.template(), name="test")], **options)
        path = folder / "daemon.json"
        path.write_text(json.dumps(config))
        self.read_end, write_end = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pimd.daemon.child", "--status-fd", str(write_end), str(path)],
            pass_fds=(write_end,),
            cwd=folder,
            stderr=subprocess.PIPE,
        )
        os.close(write_end)
        self.events: list[dict[str, Any]] = []
        self._rest = b""

    def read(self, timeout: float = 0.0) -> bool:
        """Take events; False at the end of the pipe."""
        while select.select([self.read_end], [], [], timeout)[0]:
            data = os.read(self.read_end, 65536)
            if not data:
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.events += [json.loads(line) for line in lines]
            timeout = 0.0
        return True

    def wait_for(self, event: str, limit: float = 40.0) -> dict[str, Any]:
        deadline = time.monotonic() + limit
        while True:
            for told in self.events:
                if told["event"] == event:
                    return told
            assert time.monotonic() < deadline, f"no {event} in {self.events}"
            if not self.read(0.1):
                time.sleep(0.1)

    def end(self, limit: float = 30.0) -> int:
        try:
            status = self.process.wait(limit)
            if self.read_end >= 0:
                self.read()
            return status
        finally:
            self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        if self.process.stderr:
            self.process.stderr.close()
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
