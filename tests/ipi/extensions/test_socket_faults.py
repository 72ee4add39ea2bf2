"""Every way a driver can fail ends in continuation or in a clean stop with RESTART."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from extensions_harness import Outcomes, Run, input_xml, runs_side_by_side, socket_xml

STEPS = 12
AT = 3
"""Exchanges before the fault: the first structures and steps 1 and 2."""

LOST = ("no_greeting", "truncate", "mute", "hang", "die", "close")
"""Faults that cost a driver; another takes over."""

WRONG = {
    "nan_force": "a force of nan on atom 1, y",
    "fewer_atoms": "forces for 22 atoms, expected 24",
    "list_extras": "extras that i-PI cannot use, '[1, 2, 3]'",
}
"""Answers no other driver would give differently, and what is said about them."""

STOCK_HANGS = ("die", "fewer_atoms", "list_extras", "hang")


def faulty(run: Run, fault: str, batch: int = 8, at: int = AT) -> None:
    """Start a driver that fails after `at` rounds."""
    at *= 8 // batch
    run.driver("--fault", fault, "--at", str(at), "--calls", "calls")


def input_with(batch: int = 8, **changes: Any) -> str:
    return input_xml(steps=STEPS, forcefields=socket_xml(batch=batch, **changes))


def lost(fault: str, batch: int, consolidate: str = "true") -> Callable[[Run], None]:
    def case(run: Run) -> None:
        xml = input_with(batch, consolidate=consolidate)
        limit = 3.0 if fault == "no_greeting" else 10.0
        run.start(xml, compute_limit=2.0, driver_limit=limit, tell_silent=True)
        faulty(run, fault, batch)
        if fault != "no_greeting":
            run.wait_for(lambda: len(run.rows()) >= AT, "first rows")
        else:
            time.sleep(1.5)
        run.driver()
        assert run.wait() == 0

    return case


def wrong(fault: str, batch: int, consolidate: str = "true") -> Callable[[Run], None]:
    def case(run: Run) -> None:
        run.start(input_with(batch, consolidate=consolidate))
        faulty(run, fault, batch)
        assert run.wait() == 1

    return case


def nobody(fault: str) -> Callable[[Run], None]:
    """No driver at all, or one that does not understand batches and dies of them."""

    def case(run: Run) -> None:
        run.start(input_with(), driver_limit=1.5)
        if fault:
            faulty(run, fault)
        assert run.wait() == 1

    return case


def terminated(at: int, **settings: Any) -> Callable[[Run], None]:
    """SIGTERM while the driver hangs in exchange `at`."""

    def case(run: Run) -> None:
        run.start(input_with(), **settings)
        faulty(run, "hang", at=at)
        calls = run.folder / "calls"
        run.wait_for(
            lambda: calls.exists() and len(calls.read_text().splitlines()) > at, "the hang"
        )
        time.sleep(0.3)
        run.terminate()
        start = time.monotonic()
        assert run.wait(10.0) == 0
        assert time.monotonic() - start < 10.0

    return case


def stock_hangs(fault: str) -> Callable[[Run], None]:
    """Stock i-PI, with a replacement beside it, and SIGTERM: still there seconds later."""

    def case(run: Run) -> None:
        run.start(input_with(), stock=True)
        faulty(run, fault)
        run.wait_for(lambda: len(run.rows()) >= AT, "first rows")
        time.sleep(0.5)
        run.driver()
        time.sleep(1.0)
        if fault == "hang":
            run.terminate()
        assert run.process is not None
        with pytest.raises(subprocess.TimeoutExpired):
            run.process.wait(3.0)
        assert len(run.rows()) == AT

    return case


def stock_nan(run: Run) -> None:
    run.start(input_with(), stock=True)
    faulty(run, "nan_force")
    assert run.wait() == 0


CASES: dict[str, Callable[[Run], None]] = {  # those that wait longest first
    **{f"stock {fault}": stock_hangs(fault) for fault in STOCK_HANGS},
    **{f"lost {fault}": lost(fault, 8) for fault in LOST},
    "lost singly": lost("die", 1),
    "lost unconsolidated": lost("die", 1, "false"),
    **{f"wrong {fault}": wrong(fault, 8) for fault in WRONG},
    "wrong singly": wrong("fewer_atoms", 1),
    "wrong unconsolidated": wrong("list_extras", 1, "false"),
    "nobody": nobody(""),
    "no_batches": nobody("no_batches"),
    "terminated": terminated(AT),
    "terminated first": terminated(0),
    "stock nan": stock_nan,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    with runs_side_by_side(tmp_path_factory.mktemp("faults"), CASES) as outcomes:
        yield outcomes


@pytest.mark.parametrize("case", [*LOST, "singly", "unconsolidated"])
def test_another_driver_takes_over(runs: Outcomes, case: str) -> None:
    run = runs[f"lost {case}"]
    assert run.steps() == list(range(STEPS + 1))
    assert run.restart_step() == STEPS
    assert run.report()["failure"] == {}
    silent = (run.folder / "silent").exists()
    assert silent == (case == "hang")  # only this one exceeded the compute limit


@pytest.mark.parametrize("case", ["lost die", "lost hang", "wrong nan_force", "terminated"])
def test_the_faults_meet_rounds_that_are_out_directly(runs: Outcomes, case: str) -> None:
    """All but the first go without i-PI's requests, up to the one that fails."""
    assert runs[case].report()["direct"]["driver"] >= AT


def test_the_forces_are_the_same_after_a_driver_was_lost(runs: Outcomes) -> None:
    """The structure that was being computed is computed again, not skipped."""
    expected = runs["lost close"].rows()
    assert runs["lost die"].rows() == expected
    assert runs["lost hang"].rows() == expected


@pytest.mark.parametrize("fault", WRONG)
def test_an_answer_that_cannot_be_used_ends_the_run(runs: Outcomes, fault: str) -> None:
    run = runs[f"wrong {fault}"]
    failure = run.report()["failure"]
    assert WRONG[fault] in failure["message"]
    assert failure["forcefield"] == "driver"
    assert failure["step"] == AT
    assert failure["bead"] == (None if fault.endswith("atoms") else 5)
    assert run.restart_step() == AT - 1
    assert run.steps() == list(range(AT))


@pytest.mark.parametrize("case", ["singly", "unconsolidated"])
def test_one_structure_at_a_time_names_the_bead(runs: Outcomes, case: str) -> None:
    run = runs[f"wrong {case}"]
    failure = run.report()["failure"]
    assert failure["bead"] in range(8)
    assert failure["step"] == AT
    assert run.restart_step() == AT - 1
    assert f"bead {failure['bead']}, step {AT}: the driver" in run.report()["message"]


def test_no_driver_at_all(runs: Outcomes) -> None:
    run = runs["nobody"]
    message = run.report()["message"]
    assert "no driver has been connected for 1.5 s" in message
    assert f"the unix socket {run.socket()}" in message
    assert run.restart_step() == 0


def test_a_driver_that_knows_no_batches(runs: Outcomes) -> None:
    message = runs["no_batches"].report()["message"]
    assert "whether it knows batches: i-PI asks for 8 structures" in message


@pytest.mark.parametrize(("case", "step"), [("terminated", AT - 1), ("terminated first", 0)])
def test_sigterm_while_the_driver_hangs(runs: Outcomes, case: str, step: int) -> None:
    run = runs[case]
    assert run.report()["failure"] == {}
    assert run.restart_step() == step


@pytest.mark.parametrize("fault", STOCK_HANGS)
def test_stock_ipi_hangs(runs: Outcomes, fault: str) -> None:
    """The case itself sees to it that i-PI is still there, replacement or not."""
    run = runs[f"stock {fault}"]
    assert not (run.folder / "RESTART").exists()


def test_stock_ipi_integrates_nan(runs: Outcomes) -> None:
    assert "nan" in runs["stock nan"].rows()[-1]
