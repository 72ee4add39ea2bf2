"""A Ctrl-C that Python loses in a destructor is heard all the same."""

from __future__ import annotations

import os
import signal
import threading
import warnings

import pytest

from pimd.interrupts import HeardInterrupt


class Finalised:
    """Interrupts the process while it is destroyed."""

    def __del__(self) -> None:
        interrupt_myself()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_is_lost_is_heard() -> None:
    before = signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings(), HeardInterrupt() as interrupt:
        warnings.simplefilter("ignore")
        interrupt.check()
        Finalised()  # where KeyboardInterrupt is printed and forgotten
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    assert signal.getsignal(signal.SIGINT) is before


def interrupt_myself() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # a place for the handler to run
        pass


def test_one_that_is_not_lost_is_raised_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), HeardInterrupt():
        interrupt_myself()


def test_other_threads_leave_signals_alone() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def enter() -> None:
        with HeardInterrupt() as interrupt:
            found.append(signal.getsignal(signal.SIGINT))
            interrupt.check()

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]
