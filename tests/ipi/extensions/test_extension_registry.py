"""Extensions check i-PI before they change it, step aside where it differs, and undo all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipi.engine.outputs
import ipi.interfaces.sockets
import pytest

from pimd.ipi import extensions
from pimd.ipi.extensions import patching, registry
from pimd.ipi.extensions.atomic_checkpoints import AtomicCheckpoints
from pimd.ipi.extensions.patching import Extension
from pimd.ipi.extensions.socket_faults import SocketFaults

pytestmark = pytest.mark.usefixtures("extensions_off")

NAMES = [
    "whole_rounds",
    "socket_faults",
    "atomic_checkpoints",
    "exact_checkpoints",
    "output_positions",
    "periodic_restart",
    "private_sockets",
]


def everything() -> list[Extension]:
    return [make() for make in registry._factories(extensions.Settings()).values()]


def in_place() -> dict[str, Any]:
    """What is at every target, None where the class has nothing of its own."""
    found = {}
    for extension in everything():
        for target in extension.layers():
            owner, attribute = patching._resolve(target)
            found[target] = vars(owner).get(attribute)
    return found


def test_all_fit_the_installed_ipi() -> None:
    statuses = extensions.enable_all()
    assert {status.name for status in statuses} >= set(NAMES)
    assert [status.reason for status in statuses if not status.enabled] == []


def test_what_is_changed_is_what_is_checked() -> None:
    for extension in everything():
        assert extension.purpose
        for target in extension.layers():
            assert target in extension.relies_on or target in extension.adds, target


def test_switching_off_restores_the_very_objects() -> None:
    before = in_place()
    extensions.enable_all()
    changed = in_place()
    assert all(changed[target] is not before[target] for target in before)
    extensions.disable_all()
    after = in_place()
    assert all(after[target] is before[target] for target in before)
    assert "sendall" not in vars(ipi.interfaces.sockets.Driver)


@pytest.mark.parametrize("order", [1, -1])
def test_in_any_order(order: int) -> None:
    before = in_place()
    enabled = everything()
    for extension in enabled:
        assert extension.self_check() is None
        extension.enable()
        extension.enable()  # again changes nothing
    for extension in enabled[::order]:
        extension.disable()
    assert in_place() == before


def test_one_that_does_not_fit_steps_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "ipi.engine.outputs:CheckpointOutput.write"
    wrong = {**AtomicCheckpoints.relies_on, target: "0" * 12}
    monkeypatch.setattr(AtomicCheckpoints, "relies_on", wrong)
    stock = vars(ipi.engine.outputs.CheckpointOutput)["write"]
    status = {s.name: s for s in extensions.enable_all()}
    assert not status["atomic_checkpoints"].enabled
    assert f"{target} of i-PI" in status["atomic_checkpoints"].reason
    assert vars(ipi.engine.outputs.CheckpointOutput)["write"] is stock
    for name in ("output_positions", "periodic_restart"):
        assert status[name].reason == "it needs the extension atomic_checkpoints, which is off"
    assert status["whole_rounds"].enabled
    assert status["socket_faults"].enabled


def test_a_changed_ipi_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def poll(self: Any) -> None:
        """Not what the extension was written for."""

    monkeypatch.setattr(ipi.interfaces.sockets.InterfaceSocket, "poll", poll)
    reason = SocketFaults().self_check()
    assert reason is not None
    assert "InterfaceSocket.poll" in reason


def test_a_name_that_ipi_takes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def sendall(self: Any, data: bytes) -> None:
        """i-PI's own."""

    monkeypatch.setattr(ipi.interfaces.sockets.Driver, "sendall", sendall, raising=False)
    assert "has a ipi.interfaces.sockets:Driver.sendall of its own" in str(
        SocketFaults().self_check()
    )


@pytest.mark.parametrize("bounds", [((3, 4), (3, 5)), ((3, 2), (3, 3, 1))])
def test_other_versions_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, bounds: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    monkeypatch.setattr(patching, "TESTED", bounds)
    statuses = extensions.enable_all()
    assert not any(s.enabled for s in statuses)
    assert {s.name for s in statuses} >= set(NAMES)
    assert all("this was written for" in s.reason for s in statuses)


def test_sockets_that_cannot_be_had_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patching, "TESTED", ((4,), (5,)))
    with pytest.raises(extensions.ExtensionError, match="served at sockets of their own"):
        extensions.enable_all(extensions.Settings(private_sockets={"driver": "/tmp/x.sock"}))


def test_settings_leave_extensions_out() -> None:
    settings = extensions.Settings(restart_interval=0, off=frozenset({"whole_rounds"}))
    status = {s.name: s for s in extensions.enable_all(settings)}
    assert status["whole_rounds"].reason == "left out by the settings"
    assert status["periodic_restart"].reason == "restart_interval is 0"
    assert sum(not s.enabled for s in status.values()) == 2


def test_layers_wrap_each_other() -> None:
    """Two extensions of one function: each layer gets what the one before left in place."""

    class Adding(Extension):
        def __init__(self, name: str, amount: int) -> None:
            self.name, self.amount = name, amount  # type: ignore[misc]

        def layers(self) -> dict[str, Callable[[Any], Any]]:
            return {"ipi.interfaces.sockets:Message": self.layer}

        def layer(self, stock: Any) -> Any:
            return lambda text: stock(text) + str(self.amount).encode()

    one, two = Adding("one", 1), Adding("two", 2)
    one.enable()
    two.enable()
    assert ipi.interfaces.sockets.Message("ready") == b"READY       12"
    one.disable()
    assert ipi.interfaces.sockets.Message("ready") == b"READY       2"
    two.disable()
    assert ipi.interfaces.sockets.Message("ready") == b"READY       "
