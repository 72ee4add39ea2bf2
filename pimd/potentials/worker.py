"""What runs in a worker process of `WorkerPool`: load the target, answer jobs, end in time."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import select
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["main"]

OUTPUT_LIMIT = 64 * 1024
"""Bytes of output kept between jobs; what calculators print would otherwise fill the disk."""


def main(descriptor: int, temporary: bool) -> None:
    """Serve jobs from the connection until its other end is closed.

    Args:
        descriptor: of the connection.
        temporary: whether the working folder goes with the process.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the owner decides; it closes the connection
    faulthandler.enable()
    threading.Thread(target=_end_with_owner, args=(descriptor, temporary), daemon=True).start()
    connection = Connection(descriptor)
    function = _load(connection)
    while function is not None:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            break
        answer: tuple[Any, ...]
        try:
            answer = ("done", function(job))
        except BaseException as error:
            answer = ("failed", *_describe(error))
        _shorten_output()
        try:
            connection.send(answer)
        except OSError:
            break
    _leave(temporary)


def _load(connection: Connection) -> Callable[[Any], Any] | None:
    try:
        target, setup = connection.recv()
        module, _, name = target.partition(":")
        info, function = getattr(importlib.import_module(module), name)(setup)
    except BaseException as error:
        with contextlib.suppress(OSError):
            connection.send(("failed", *_describe(error)))
        return None
    connection.send(("done", info))
    return function


def _describe(error: BaseException) -> tuple[str, str]:
    """Kind and text of an exception, with the line it came from."""
    traceback.print_exception(error)
    kind = type(error).__name__
    text = str(error).strip() or "no message"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename[:1] != "<"]
    where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return kind, f"{kind}: {text}{where}"


def _shorten_output() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fstat(1).st_size > OUTPUT_LIMIT:
        os.ftruncate(1, 0)


def _end_with_owner(descriptor: int, temporary: bool) -> None:
    """Leave at once when the other end of the connection is gone, even mid-calculation."""
    poller = select.poll()
    poller.register(descriptor, 0)  # only hang-up and error
    poller.poll()
    _leave(temporary)


def _leave(temporary: bool) -> None:
    if temporary:
        folder = os.getcwd()
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # the others are still there
            os.rmdir(os.path.dirname(folder))
    os._exit(0)
