"""What a run shows while it goes: a live line on a terminal, plain lines in a log.

    step 1200/20000  85.3 ms/step  ETA 0:26:44  T 301.2 K  V -912.31 eV  drift 0.02 meV/atom
    sigma 0.41 (max 1.20) meV/atom  32.0 beads/call  model 91 %
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

__all__ = ["Progress", "Snapshot", "duration"]

LIVE_INTERVAL_S = 0.5
FIRST_LINES_S = (1.0, 5.0)
LOG_INTERVAL_S = 30.0


@dataclass
class Snapshot:
    """The state of a run after a step.

    `potential_ev` and `drift_ev_per_atom` are averages over beads, as i-PI prints them. `sigma`
    holds the mean and the largest uncertainty over the beads of each committee, eV per atom.
    """

    step: int
    total: int
    ms_per_step: float
    temperature_kelvin: float | None = None
    potential_ev: float | None = None
    drift_ev_per_atom: float | None = None
    structures_per_call: float | None = None
    model_share: float | None = None
    sigma: dict[str, tuple[float, float]] = field(default_factory=dict)

    def eta_seconds(self) -> float:
        return max(0, self.total - self.step) * self.ms_per_step / 1000.0

    def parts(self) -> list[str]:
        """The words of the progress line."""
        words = [
            f"step {self.step}/{self.total}",
            f"{self.ms_per_step:.1f} ms/step",
            f"ETA {duration(self.eta_seconds())}",
        ]
        if self.temperature_kelvin is not None:
            words.append(f"T {self.temperature_kelvin:.1f} K")
        if self.potential_ev is not None:
            words.append(f"V {self.potential_ev:.3f} eV")
        if self.drift_ev_per_atom is not None:
            words.append(f"drift {1000 * self.drift_ev_per_atom:+.3f} meV/atom")
        if self.sigma:
            words.append(f"sigma {self._sigma_words()} meV/atom")
        if self.structures_per_call is not None:
            words.append(f"{self.structures_per_call:.1f} beads/call")
        if self.model_share is not None:
            words.append(f"model {100 * self.model_share:.0f} %")
        return words

    def _sigma_words(self) -> str:
        """`0.41 (max 1.20)`, named where there are several committees."""
        words = [
            f"{name} {_milli(mean)} (max {_milli(largest)})"
            for name, (mean, largest) in self.sigma.items()
        ]
        return ", ".join(words) if len(words) > 1 else words[0].partition(" ")[2]


def _milli(value: float) -> str:
    """A thousand times a number, with at least two digits that count."""
    return f"{1000 * value:.2f}" if abs(value) >= 1e-4 else f"{1000 * value:.2g}"


class Progress:
    """Shows snapshots as often as a reader can use them.

    `due()` says whether it is time for another, so that a step between two costs nothing.
    """

    def __init__(self, console: Console, *, interval_s: float | None = None) -> None:
        self.console = console
        self.live = console.is_terminal and not console.is_dumb_terminal
        self._fixed = interval_s
        self._shown = 0
        self._started = self._last = time.monotonic()
        self._display: Live | None = None

    def __enter__(self) -> Progress:
        self._started = self._last = time.monotonic()
        if self.live:
            self._display = Live(
                Text("starting"),
                console=self.console,
                auto_refresh=False,
                transient=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None

    def due(self) -> bool:
        """Whether to make a snapshot now."""
        now = time.monotonic()
        if self.live:
            return now - self._last >= LIVE_INTERVAL_S
        if self._fixed is not None:
            return now - self._last >= self._fixed
        if self._shown < len(FIRST_LINES_S):
            return now - self._started >= FIRST_LINES_S[self._shown]
        return now - self._last >= LOG_INTERVAL_S

    def show(self, snapshot: Snapshot) -> None:
        self._last = time.monotonic()
        self._shown += 1
        if self._display is not None:
            self._display.update(_live_line(snapshot, self.console.width), refresh=True)
        else:
            self.console.print("  ".join(snapshot.parts()), highlight=False, soft_wrap=True)

    def say(self, message: str) -> None:
        """Print a line that stays, above the live one."""
        self.console.print(message, highlight=False, soft_wrap=True, markup=False)


def _live_line(snapshot: Snapshot, width: int) -> Table:
    """A bar and the words, on as many lines as the terminal's width asks for."""
    share = min(1.0, snapshot.step / max(1, snapshot.total))
    bar_width = max(10, min(40, width - 60))
    filled = round(share * bar_width)
    bar = Text("█" * filled, style="cyan") + Text("░" * (bar_width - filled), style="dim")
    words = snapshot.parts()
    table = Table.grid(padding=(0, 1))
    table.add_row(bar, Text(f"{100 * share:5.1f} %"), Text("  ".join(words[:3])))
    return_table = Table.grid()
    return_table.add_row(table)
    return_table.add_row(Text("  ".join(words[3:]), style="dim"))
    return return_table


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss, with days where there are any."""
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    text = f"{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days} d {text}" if days else text
