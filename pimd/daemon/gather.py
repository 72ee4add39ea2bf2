"""How long to wait for more requests before a round starts.

One connection never waits. With several, requests that belong together arrive one after
another: i-PI sends to P connections in a loop, and simulations of one size take their steps at
one pace. Waiting

    window = min(WINDOW_FRACTION x seconds of one call, WINDOW_CAP)

after the first request costs at most that fraction, and evaluates together what comes within it.
"""

from __future__ import annotations

__all__ = ["Gatherer"]

WINDOW_FRACTION = 0.05
"""Of the time of one call."""
WINDOW_CAP = 2.0e-3
"""Seconds."""
ARRIVING_CAP = 5.0e-3
"""Seconds to wait for the rest of a message that has begun to arrive."""
RECENT_ROUNDS = 8
"""A connection that took no part in this many rounds is not waited for."""
_SMOOTHING = 0.2


class Gatherer:
    """Decides when a round starts.

    Attributes:
        call_seconds: smoothed time of one call.
        n_rounds: rounds so far.
    """

    def __init__(self) -> None:
        self.call_seconds = 0.0
        self.n_rounds = 0

    @property
    def window(self) -> float:
        """Seconds to wait after the first request."""
        return min(WINDOW_FRACTION * self.call_seconds, WINDOW_CAP)

    def seconds_to_wait(
        self, since_first: float, n_pending: int, n_expected: int, arriving: bool
    ) -> float:
        """Seconds to go on waiting; 0: start the round.

        Args:
            since_first: seconds since the first pending request came.
            n_pending: connections with a pending request.
            n_expected: connections that may send one, those included.
            arriving: part of another request has come already.
        """
        if n_pending >= n_expected:
            return 0.0
        window = max(self.window, ARRIVING_CAP) if arriving else self.window
        return max(0.0, window - since_first)

    def expects(self, last_round: int) -> bool:
        """Whether a connection that last took part in round `last_round` is waited for."""
        return self.n_rounds - last_round <= RECENT_ROUNDS

    def called(self, seconds: float) -> None:
        """A round took this long in the potential."""
        first = self.n_rounds == 0
        self.call_seconds += (1.0 if first else _SMOOTHING) * (seconds - self.call_seconds)
        self.n_rounds += 1
