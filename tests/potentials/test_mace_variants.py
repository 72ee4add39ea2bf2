"""MACE compiled, converted, recorded, and without traces in the process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("mace")

import mace_models as models

from pimd.evaluator import Evaluator
from pimd.notices import PimdNotice
from pimd.potentials import mace_variants
from pimd.potentials.acceleration import Accelerated
from pimd.potentials.base import Batch, Potential, PotentialError, Wanted
from pimd.potentials.mace import MACE
from pimd.potentials.neighbours import NeighbourLists
from pimd.structure import Structure

Files = Callable[[str], Path]
mace_file = models.mace_file


def assert_equal(a: Potential, b: Potential, limit: float = 1e-11) -> None:
    """Equal energies, forces and virials of structures, a lone atom among them."""
    structures = [*models.structures(), Structure([8], [[0.0, 0.0, 0.0]])]
    one, other = (Evaluator(p).evaluate_structures(structures) for p in (a, b))
    np.testing.assert_allclose(one.energies, other.energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=limit)
    np.testing.assert_allclose(one.virials, other.virials, rtol=0, atol=limit)


def test_rebuilt_is_equal(mace_file: Files) -> None:
    """What is compiled and stacked, of plain torch operations."""
    stored, copy = (MACE(mace_file("undecided"), head="scan") for _ in range(2))
    copy.network = mace_variants.rebuilt(copy.module, copy.card)
    assert not any(isinstance(m, torch.jit.ScriptModule) for m in copy.network.modules())
    assert_equal(stored, copy)


def test_compile_with_another_compiler(
    mace_file: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but torch.compile itself: what is compiled is rebuilt, simplified and called right."""
    called = []

    def compiler(network: torch.nn.Module, dynamic: bool) -> Callable:
        assert dynamic

        def run(data: dict, **options: bool) -> Any:
            assert not any(x._is_view() for x in data.values())
            called.append(len(data["positions"]))
            return network(data, **options)

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    potential = MACE(mace_file("water"), compile=True)
    assert called == [mace_variants.N_EXAMPLE_ATOMS]
    assert not potential.graph_safe
    assert_equal(potential, MACE(mace_file("water")))
    assert called == [mace_variants.N_EXAMPLE_ATOMS, 43]
    evaluator = Evaluator(potential)
    evaluator.evaluate_structures(models.structures(), Wanted(False, False))
    evaluator.evaluate_structures([Structure([8], [[0.0, 0.0, 0.0]])])
    assert len(called) == 2  # these go through the stored network


@pytest.mark.parametrize("when", ["making", "first call", "later", "wrong"])
def test_compile_fails(when: str, mace_file: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said once; the results are those of the stored network."""

    def compiler(network: torch.nn.Module, dynamic: bool) -> Callable:
        if when == "making":
            raise RuntimeError("no compiler found\nand more")
        calls = []

        def run(data: dict, **options: bool) -> Any:
            calls.append(1)
            if when == "first call" or (when == "later" and len(calls) > 1):
                raise RuntimeError("no compiler found\nand more")
            output = network(data, **options)
            return {"energy": output["energy"] * (1.001 if when == "wrong" else 1.0)}

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    expected = "energies differ" if when == "wrong" else "RuntimeError: no compiler found$"
    if when == "later":
        potential = MACE(mace_file("water"), compile=True)
        with pytest.warns(PimdNotice, match=f"runs as stored: {expected}"):
            Evaluator(potential).evaluate_structures(models.structures())
    else:
        with pytest.warns(PimdNotice, match="runs as stored.*" + expected):
            potential = MACE(mace_file("water"), compile=True)
        assert potential.network is potential.module
    assert_equal(potential, MACE(mace_file("water")))


def test_compile_of_what_cannot_be_rebuilt(mace_file: Files) -> None:
    with pytest.warns(PimdNotice, match="rebuilds networks of ScaleShiftMACE only, not a MACE"):
        potential = MACE(mace_file("heads"), compile=True)
    assert_equal(potential, MACE(mace_file("heads")))


@pytest.mark.physics
def test_compile(mace_file: Files) -> None:
    """torch.compile, for batches of several sizes from one compilation."""
    compiled, stored = (MACE(mace_file("tiny"), compile=c, dtype="float32") for c in (True, False))
    assert isinstance(compiled.network, mace_variants.CompiledNetwork)
    for structures in (models.structures(), 2 * models.structures()):
        a, b = (Evaluator(p).evaluate_structures(structures) for p in (compiled, stored))
        np.testing.assert_allclose(a.energies, b.energies, rtol=0, atol=24 * 2e-7)
        np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=2e-5 * np.abs(b.forces).max())
    assert compiled.network.network is not compiled.module  # it did not fall back


def test_cuequivariance(mace_file: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing: an error. There: equal, or the stored network with a notice."""
    mace_file("water")  # mace-torch looks for it when imported
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "cuequivariance_torch", None)
        with pytest.raises(PotentialError, match="pip install cuequivariance-torch"):
            MACE(mace_file("water"), cuequivariance=True)
    pytest.importorskip("cuequivariance_torch")
    assert_equal(MACE(mace_file("water"), cuequivariance=True), MACE(mace_file("water")))
    with pytest.warns(PimdNotice, match="converts networks of ScaleShiftMACE only"):
        MACE(mace_file("heads"), cuequivariance=True)


class HostReads(TorchDispatchMode):
    """Collects the operations that make a GPU wait for the host, or of sizes known only then."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if any(name.startswith(waiting) for waiting in self.WAITING):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(mace_file: Files) -> None:
    """Everything after `check` can be recorded as a CUDA graph."""
    potential = MACE(mace_file("undecided"), head="pbe")
    assert potential.graph_safe
    batch = NeighbourLists(potential.cutoff).attach(Batch.from_structures(models.structures()))
    for _ in range(3):  # TorchScript optimises in the first calls
        with HostReads() as reads:
            potential.predict(batch, Wanted())
    assert reads.found == []
    with HostReads() as reads:
        potential.check(batch)
    assert reads.found != []  # the mode does see them


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_padded_to_fixed_shapes(dtype: str, mace_file: Files) -> None:
    """Ghost structures, as CUDA graphs need them, leave the others alone."""
    potential = MACE(mace_file("water"), dtype=dtype)
    batch = NeighbourLists(potential.cutoff).attach(Batch.from_structures(models.structures()))
    expected = potential.predict(batch, Wanted())
    padded = Accelerated(potential, "graphs", recorder=lambda run: run)
    found = padded(batch, Wanted())
    assert padded.mode == "graphs"
    limit = 1e-11 if dtype == "float64" else 2e-5
    for name in ("energies", "forces", "virials"):
        a, b = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(a, b, rtol=0, atol=limit * max(1.0, float(b.abs().max()) / 1e3))


TRACES = """
import os, sys, torch, warnings
def state():
    switches = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    return switches, list(warnings.filters), os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
from pimd.potentials.mace import MACE
from pimd.evaluator import Evaluator
from pimd.structure import Structure
before, random = state(), torch.get_rng_state()
parts = [MACE(sys.argv[1]) for _ in range(2)]
assert MACE.stacked(parts) is not None
Evaluator(parts[0]).evaluate_structures([Structure([8, 1], [[0, 0, 0.0], [0, 0, 1.0]])])
assert state() == before, (state(), before)
assert torch.equal(torch.get_rng_state(), random)
from e3nn import get_optimization_defaults
assert get_optimization_defaults()["jit_script_fx"]
try:
    torch.load(sys.argv[1])
except Exception as error:
    assert "weights_only" in str(error), error
else:
    raise AssertionError("torch.load ran a pickle")
"""


def test_no_traces_in_the_process(mace_file: Files) -> None:
    """Default dtype, random state, warnings, environment, output: all as before."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRACES, str(mace_file("water"))],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr == ""
