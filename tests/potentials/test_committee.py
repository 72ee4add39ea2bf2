"""Committees: their mean and members, pairs for each cutoff, nesting, stacking, properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from committee_parts import Born, Heads

from pimd.evaluator import Evaluated, Evaluator
from pimd.potentials.base import Potential, PotentialError, Structure, Wanted
from pimd.potentials.committee import Committee
from pimd.potentials.committee_stacking import StackingChoice
from pimd.potentials.registry import make_potential, parse_spec
from pimd.testing import check_potential, example_structures
from pimd.units import HARTREE_EV

PARTS = Path(__file__).with_name("committee_parts.py")
STRUCTURES = example_structures(7.0)
EVERYTHING = Wanted(member_forces=True, member_virials=True)
LJ = [f"lennard_jones, mode: smooth, cutoff: 7.0, epsilon: {e}" for e in (0.008, 0.011, 0.0135)]
CPU = {"device": "cpu"}


def evaluate(
    potential: Potential, wanted: Wanted = EVERYTHING, structures: list[Structure] = STRUCTURES
) -> Evaluated:
    return Evaluator(potential).evaluate_structures(structures, wanted)


def harmonics(*constants: float) -> list[str]:
    return [f"harmonic, k: {k}" for k in constants]


@pytest.mark.parametrize(
    "members",
    [
        harmonics(0.5, 1.0, 1.7),
        LJ,
        [f"{PARTS}:Born, strength: 40.0", f"{PARTS}:Born, strength: 60.0, cutoff: 4.0", LJ[0]],
        [Heads([30.0, 40.0, 62.0], head=45.0), LJ[1]],
    ],
    ids=["harmonic", "lennard_jones", "own", "ensemble"],
)
@pytest.mark.parametrize("stacking", ["always", "never"])
def test_contract(members: list, stacking: str) -> None:
    print(check_potential(Committee(members, alpha=1.4, stacking=stacking, **CPU), STRUCTURES))


def test_every_member_is_a_potential_with_its_own_derivatives() -> None:
    """Member forces and virials, calibrated, are derivatives of the member energies."""

    class OneOf(Committee):
        """A member in place of the mean."""

        def compute(self, batch, wanted):
            asked = Wanted(False, False, (), wanted.forces, wanted.virials)
            found = super().compute(batch, Wanted() if asked == Wanted(False, False) else asked)
            own = [found.member_forces, found.member_virials]
            found.energies = found.member_energies[1]
            found.forces, found.virials = (None if v is None else v[1] for v in own)
            found.member_energies = found.member_forces = found.member_virials = None
            return found

    skip = ["properties", "wanted"]
    print(check_potential(OneOf(LJ, alpha=2.5, **CPU), STRUCTURES, skip=skip))
    with_baseline = OneOf(LJ, alpha=2.5, baseline="lennard_jones, mode: smooth, cutoff: 7.0", **CPU)
    print(check_potential(with_baseline, STRUCTURES, skip=skip))


def test_mean_and_calibrated_members() -> None:
    found = evaluate(Committee(LJ, alpha=1.6, **CPU))
    alone = [evaluate(make_potential(spec)) for spec in LJ]
    for name in ("energies", "forces", "virials"):
        own = np.stack([getattr(a, name) for a in alone])
        mean = own.mean(0)
        scale = np.abs(own).max()
        np.testing.assert_allclose(getattr(found, name), mean, rtol=0, atol=1e-13 * scale)
        members = getattr(found, f"member_{name}")
        expected = mean + 1.6 * (own - mean)
        np.testing.assert_allclose(members, expected, rtol=0, atol=1e-13 * scale)
        np.testing.assert_allclose(
            members.std(0, ddof=1), 1.6 * own.std(0, ddof=1), rtol=0, atol=1e-12 * scale
        )


@pytest.mark.parametrize(
    "options",
    [{}, {"baseline": "lennard_jones, mode: smooth, cutoff: 7.0"}], ids=["mean", "baseline"],
)
def test_members_are_centred_on_what_is_sampled(options: dict) -> None:
    """|mean_i V_i - V_samp| < 1e-9 hartree, and forces and virials likewise."""
    members = [Heads([30.0, 40.0, 62.0], head=45.0), *LJ]
    found = evaluate(Committee(members, alpha=1.3, **options, **CPU))
    for name in ("energies", "forces", "virials"):
        off = getattr(found, f"member_{name}").mean(0) - getattr(found, name)
        assert np.abs(off).max() < 1e-9 * HARTREE_EV


def test_only_what_is_wanted_is_computed() -> None:
    asked = []

    class Noting(Born):
        def compute(self, batch, wanted):
            asked.append((wanted.forces, wanted.virials))
            return super().compute(batch, wanted)

    committee = Committee([Noting(40.0), Noting(60.0)], stacking="never", **CPU)
    for wanted, expected in [
        (Wanted(False, False), (False, False)),
        (Wanted(True, False), (True, False)),
        (Wanted(False, False, member_virials=True), (False, True)),
    ]:
        asked.clear()
        found = evaluate(committee, wanted)
        assert asked == [expected, expected]
        assert found.member_energies is not None
        assert found.member_forces is None
        assert (found.member_virials is not None) == wanted.member_virials


def test_each_member_sees_the_pairs_within_its_own_cutoff() -> None:
    """`Born` refuses others; three cutoffs, one list, one member that needs no pairs at all."""
    members: list = [Born(50.0, cutoff=c) for c in (3.0, 4.5, 3.0, 6.0)]
    members.append(make_potential("harmonic, k: 0.1"))
    committee = Committee(members, stacking="never", **CPU)
    assert committee.cutoff == 6.0
    found = evaluate(committee)
    for k, member in enumerate(members):
        alone = evaluate(member, Wanted())
        np.testing.assert_allclose(found.member_energies[k], alone.energies, rtol=0, atol=1e-13)
        np.testing.assert_allclose(found.member_forces[k], alone.forces, rtol=0, atol=1e-13)
        np.testing.assert_allclose(found.member_virials[k], alone.virials, rtol=0, atol=1e-12)


def test_members_in_another_precision() -> None:
    """A member whose batch is fp32 stands beside one in fp64."""
    single = "lennard_jones, mode: smooth, cutoff: 7.0, dtype: float32"
    committee = Committee([LJ[0], single], **CPU)
    assert (committee.dtype, committee.precision) == (torch.float64, torch.float32)
    found = evaluate(committee)
    alone = evaluate(make_potential(single), Wanted())
    np.testing.assert_allclose(found.member_energies[1], alone.energies, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.member_forces[1], alone.forces, rtol=0, atol=1e-7)
    assert Committee([Born(1.0), Born(2.0, dtype="float32")], **CPU).precision == torch.float32
    assert Committee(LJ, **CPU).precision is None


def test_members_of_members_count_one_by_one() -> None:
    """A committee of 2 and a potential: three members, the mean is of three."""
    nested = Committee([Committee(LJ[:2], alpha=3.0, **CPU), LJ[2]], **CPU)
    assert nested.n_members == 3
    found, flat = evaluate(nested), evaluate(Committee(LJ, **CPU))
    for name in ("energies", "forces", "virials"):
        a, b = getattr(found, name), getattr(flat, name)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())
    two = evaluate(Committee(LJ[:2], alpha=3.0, **CPU))
    np.testing.assert_allclose(found.member_energies[:2], two.member_energies, atol=1e-14)
    np.testing.assert_allclose(found.member_energies[2], flat.member_energies[2], atol=1e-14)


def test_an_ensemble_is_centred_on_its_own_head() -> None:
    ensemble = Heads([30.0, 40.0, 62.0], head=45.0)
    found = evaluate(Committee([ensemble, Born(70.0)], **CPU))
    shape = evaluate(Born(1.0), Wanted()).energies
    centre = np.array([30.0, 40.0, 62.0]) + 45.0 - 44.0
    np.testing.assert_allclose(found.member_energies[:3], centre[:, None] * shape, rtol=1e-12)
    np.testing.assert_allclose(found.energies, (3 * 45.0 + 70.0) / 4 * shape, rtol=1e-12)


def test_one_ensemble_alone_is_a_committee() -> None:
    assert Committee(Heads([1.0, 2.0]), **CPU).n_members == 2


def test_properties_are_means_of_those_all_members_have() -> None:
    committee = Committee([Born(40.0), Born(70.0)], stacking="always", **CPU)
    assert set(committee.properties) == {"charge", "bond"}
    found = evaluate(committee, Wanted(properties=("charge", "bond")))
    shape = evaluate(Born(1.0), Wanted()).energies
    np.testing.assert_allclose(found.properties["charge"], 55.0 * shape, rtol=1e-13)
    positions = np.concatenate([s.positions for s in STRUCTURES])
    np.testing.assert_allclose(found.properties["bond"], 55.0 * positions, rtol=1e-13)
    assert Committee([Born(40.0), LJ[0]], **CPU).properties == {}
    with pytest.raises(PotentialError, match="does not give dipole"):
        evaluate(committee, Wanted(properties=("dipole",)))


# -- stacking -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [Wanted(False, False), Wanted(), EVERYTHING])
def test_stacked_equals_one_by_one(wanted: Wanted) -> None:
    """In the order of the members, whatever stands between those that are stacked."""
    members: list = [Born(40.0), LJ[0], Born(55.0), Born(90.0), LJ[2]]
    results = []
    for stacking in ("always", "never"):
        committee = Committee(members, alpha=1.2, stacking=stacking, **CPU)
        assert committee.members.can_stack == (stacking == "always")
        results.append(evaluate(committee, wanted))
    for name in ("energies", "forces", "virials"):
        for prefix in ("", "member_"):
            a, b = (getattr(r, prefix + name) for r in results)
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


def test_members_that_cannot_be_stacked_are_not() -> None:
    committee = Committee([Born(40.0), Born(50.0, cutoff=4.0)], stacking="always", **CPU)
    assert not committee.members.can_stack
    assert evaluate(committee).member_energies.shape == (2, len(STRUCTURES))


class Clock:
    """Time that a computation spends by saying so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("faster", [True, False])
def test_the_faster_way_is_chosen_after_a_warm_up(faster: bool) -> None:
    clock, calls = Clock(), []
    choice = StackingChoice("auto", clock)

    def compute(stacked: bool) -> int:
        calls.append(stacked)
        first = calls.count(stacked) == 1  # the slow first call must not count
        clock.now += 100.0 * (stacked is faster) if first else (1.0 if stacked is faster else 2.0)
        return len(calls)

    results = [choice.run(compute, "forces", 1000 + k, lambda: None) for k in range(9)]
    assert results == list(range(1, 10))
    assert calls == [True, False] * 3 + [faster] * 3
    assert choice.decisions == {("forces", 10): faster}
    choice.run(compute, "forces", 5000, lambda: None)  # another size is measured anew
    assert calls[-1] is True
    choice.run(compute, "energies", 1000, lambda: None)
    assert calls[-1] is True


def test_choice_by_measuring_gives_the_same_numbers() -> None:
    committee = Committee([Born(40.0), Born(55.0)], **CPU)
    evaluator = Evaluator(committee)
    found = [evaluator.evaluate_structures(STRUCTURES, EVERYTHING) for _ in range(8)]
    assert len(committee.members.stacking.decisions) == 1
    for one in found[1:]:
        np.testing.assert_allclose(one.forces, found[0].forces, rtol=0, atol=1e-14)


# -- how it is asked for ------------------------------------------------------------------------


def test_from_a_spec(tmp_path: Path) -> None:
    text = (
        "{potential: committee, members: [(potential: lennard_jones; epsilon: 0.01; cutoff: 7.0);"
        f" {PARTS}:Born; (potential: harmonic; k: 2.0)], alpha: 1.5, stacking: never, device: cpu}}"
    )
    committee = make_potential(text)
    assert isinstance(committee, Committee)
    assert (committee.n_members, committee.alpha, committee.cutoff) == (3, 1.5, 7.0)
    assert not committee.invariant
    again = make_potential(parse_spec(parse_spec(text).in_xml()))
    np.testing.assert_array_equal(evaluate(again).energies, evaluate(committee).energies)


def test_dtype_and_device_are_passed_on() -> None:
    members = [LJ[0], {"potential": "lennard_jones", "dtype": "float64"}, f"{PARTS}:Born"]
    committee = Committee(members, dtype="float32", device="cpu")
    parts = committee.members.potentials
    assert [p.dtype for p in parts] == [torch.float32, torch.float64, torch.float64]
    assert parts[2].precision == torch.float32
    assert Committee(LJ, dtype="model", device="cpu").dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": LJ[:1]}, "at least 2 members, got 1"),
        ({"members": [3, 4]}, "a member of a committee is a model file or a potential"),
        ({"members": ["nothing, k: 1", LJ[0]]}, "unknown potential 'nothing'"),
        ({"members": ["nowhere.py:Own", LJ[0]]}, "no file nowhere.py"),
        ({"members": LJ, "alpha": 0.0}, "alpha and sigma_b are > 0"),
        ({"members": LJ, "sigma_b": -1.0}, "alpha and sigma_b are > 0"),
        ({"members": LJ, "learned": "total"}, "belong to a committee with a baseline"),
        ({"members": LJ, "baseline": LJ[0], "learned": "half"}, "learned is one of"),
        ({"members": LJ, "baseline": LJ[0], "composition": {"Xx": 1.0}}, "Xx, which is no element"),
        ({"members": LJ, "stacking": "maybe"}, "stacking is one of auto, always, never"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(PotentialError, match=message):
        Committee(**options, **CPU)


def test_a_member_that_gives_no_member_forces_is_named() -> None:
    class Silent(Heads):
        def compute(self, batch, wanted):
            found = super().compute(batch, wanted)
            found.member_forces = None
            return found

    with pytest.raises(PotentialError, match="heads gives no member forces"):
        evaluate(Committee([Silent([1.0, 2.0]), LJ[0]], **CPU))


def test_close_reaches_every_part() -> None:
    closed = []

    class Closing(Born):
        def close(self) -> None:
            closed.append(self.strength)

    Committee([Closing(1.0), Closing(2.0)], baseline=Closing(3.0), stacking="never", **CPU).close()
    assert sorted(closed) == [1.0, 2.0, 3.0]
