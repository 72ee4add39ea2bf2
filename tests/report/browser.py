"""A headless Chromium without a network, spoken to over pipes in its DevTools protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
LIMIT_S = 400.0


def program() -> str | None:
    """The browser that is installed."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    """One page.

    Attributes:
        said: errors and warnings of the page, and the addresses it asked for.
    """

    def __init__(self, path: str, profile: Path) -> None:
        (ours_in, self._out), (self._in, ours_out) = os.pipe(), os.pipe()

        def on_fds_3_and_4() -> None:
            read, write = os.dup(ours_in), os.dup(ours_out)  # neither is 3 or 4 for certain
            os.dup2(read, 3)
            os.dup2(write, 4)

        self._process = subprocess.Popen(
            [path, "--headless", "--no-sandbox", "--enable-unsafe-swiftshader",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
             f"--user-data-dir={profile}"],
            preexec_fn=on_fds_3_and_4, close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(ours_in)
        os.close(ours_out)
        self._number, self._buffer, self._session = 0, b"", ""
        self.said: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression in the page."""
        return self.ask("Runtime.evaluate", expression=expression)["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The first value of an expression that is true; None after LIMIT_S."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            if found := self.value(expression):
                return found
            time.sleep(0.2)
        return None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            got = os.read(self._in, 1 << 16)
            assert got, "the browser has gone"
            self._buffer += got
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, message: dict[str, Any]) -> None:
        method, values = message.get("method"), message.get("params", {})
        if method == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.said.append(values["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.said.append(values["exceptionDetails"]["text"])
        elif method == "Network.requestWillBeSent":
            url = values["request"]["url"]
            if not url.startswith(("data:", "blob:", "file:", "about:")):
                self.said.append(url)
