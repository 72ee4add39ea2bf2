"""All extensions: what they are set to, switched on and off together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pimd.ipi.extensions import failure
from pimd.ipi.extensions.patching import Extension, ipi_version_problem

if TYPE_CHECKING:
    from pimd.ipi.extensions.whole_rounds import Counter

__all__ = [
    "ExtensionError",
    "ExtensionStatus",
    "Settings",
    "counters",
    "disable_all",
    "enable_all",
    "left_to_ipi",
]


class ExtensionError(RuntimeError):
    """An extension that the run cannot do without does not fit the installed i-PI."""


@dataclass(frozen=True)
class Settings:
    """What the extensions are set to; times in seconds.

    Attributes:
        private_sockets: forcefield name -> path of a unix socket it is served at, in place of
            the address in the input.
        compute_limit: a driver that is silent for longer while it computes is disconnected, and
            its work given to another; 0: it may take for ever.
        driver_limit: the run ends when work has waited this long and no driver is connected;
            0: it waits for ever.
        restart_interval: wall time between two RESTARTs; 0: only at the end.
        on_silent: called, from i-PI's polling thread, with the name of the forcefield whose
            driver has exceeded `compute_limit`.
        off: names of extensions that are left out.
        stock: all of them are: i-PI runs as it is installed.
    """

    private_sockets: Mapping[str, str] = field(default_factory=dict)
    compute_limit: float = 0.0
    driver_limit: float = 120.0
    restart_interval: float = 60.0
    on_silent: Callable[[str], None] | None = None
    off: frozenset[str] = frozenset()
    stock: bool = False


@dataclass(frozen=True)
class ExtensionStatus:
    """Whether an extension is on.

    Attributes:
        name: of the extension.
        enabled: whether it is on.
        reason: why not, if it is not.
        purpose: what it is for, in one line; empty where it cannot even be loaded.
    """

    name: str
    enabled: bool
    reason: str = ""
    purpose: str = ""


_on: list[Extension] = []


def _factories(settings: Settings) -> dict[str, Callable[[], Extension]]:
    """Name -> how to make the extension, in the order they are switched on.

    Modules are imported when an extension is made: some import i-PI, which may not fit.
    """

    def make(module: str, name: str, *arguments: object) -> Callable[[], Extension]:
        def factory() -> Extension:
            kind: type[Extension] = getattr(import_module(f"{__package__}.{module}"), name)
            return kind(*arguments)

        return factory

    limits = (settings.compute_limit, settings.driver_limit, settings.on_silent)
    return {
        "single_system": make("single_system", "SingleSystem"),  # others wrap its `run_step`
        "whole_rounds": make("whole_rounds", "WholeRounds"),
        "socket_faults": make("socket_faults", "SocketFaults", *limits),
        "round_forces": make("round_forces", "RoundForces"),
        "direct_rounds": make("direct_rounds", "DirectRounds"),
        "atomic_checkpoints": make("atomic_checkpoints", "AtomicCheckpoints"),
        "exact_checkpoints": make("exact_checkpoints", "ExactCheckpoints"),
        "output_positions": make("output_positions", "OutputPositions"),
        "h5md_output": make("h5md_output", "H5MDOutput"),
        "periodic_restart": make("periodic_restart", "PeriodicRestart", settings.restart_interval),
        "spaced_states": make("spaced_states", "SpacedStates"),
        "normal_modes": make("normal_modes", "NormalModeProducts"),
        "vector_steps": make("vector_steps", "VectorSteps"),
        "fused_steps": make("fused_steps", "FusedSteps"),
        "random_ahead": make("random_ahead", "RandomAhead"),
        "nose_hoover": make("nose_hoover", "NoseHoover"),
        "private_sockets": make("private_sockets", "PrivateSockets", settings.private_sockets),
    }


def enable_all(settings: Settings | None = None) -> list[ExtensionStatus]:
    """Switch on every extension that fits the installed i-PI, before a simulation is loaded.

    One that does not fit steps aside, and its status says why: stock i-PI goes on without it.

    Raises:
        ExtensionError: if sockets of the run's own are asked for and cannot be had, because
            the drivers would then wait where nobody listens.
    """
    settings = settings or Settings()
    disable_all()
    failure.forget_failure()
    statuses = [_enable(*entry, settings) for entry in _factories(settings).items()]
    sockets = next(status for status in statuses if status.name == "private_sockets")
    if settings.private_sockets and not sockets.enabled:
        disable_all()
        raise ExtensionError(
            f"the forcefields cannot be served at sockets of their own: {sockets.reason}"
        )
    return statuses


def disable_all() -> None:
    """Switch everything off: i-PI is as installed."""
    while _on:
        _on.pop().disable()


def counters() -> dict[str, Counter]:
    """Forcefield name -> messages and structures sent since `enable_all`."""
    from pimd.ipi.extensions.whole_rounds import counters as of_rounds

    return of_rounds()


def left_to_ipi(simulation: Any) -> dict[str, list[str]]:
    """Extension name -> what of a bound simulation it leaves to i-PI's own code, and why.

    Only extensions that are on and leave something are in it.
    """
    found = {extension.name: extension.left_to_ipi(simulation) for extension in _on}
    return {name: lines for name, lines in found.items() if lines}


def _enable(name: str, factory: Callable[[], Extension], settings: Settings) -> ExtensionStatus:
    extension, problem = _made(factory)
    reason: str | None = ""
    if settings.stock:
        reason = "i-PI runs as it is installed"
    elif name in settings.off:
        reason = "left out by the settings"
    elif name == "periodic_restart" and settings.restart_interval <= 0:
        reason = "restart_interval is 0"
    reason = reason or ipi_version_problem() or problem
    if extension is not None:
        reason = reason or extension.self_check()
        if not reason:
            extension.enable()
            _on.append(extension)
    return ExtensionStatus(name, not reason, reason or "", extension.purpose if extension else "")


def _made(factory: Callable[[], Extension]) -> tuple[Extension | None, str]:
    """The extension, not switched on; or None and why it cannot be had."""
    try:
        return factory(), ""
    except (ImportError, AttributeError) as error:
        return None, f"the installed i-PI lacks what it needs ({error})"
