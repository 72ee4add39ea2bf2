"""Symmetry functions against explicit loops over images, pairs and triples."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from bp_models import batch_of, structures, types_of

from pimd.potentials.base import PotentialError, Structure
from pimd.potentials.pair_moments import PairFunctions, sum_pairs
from pimd.potentials.pair_sums import fast_moments
from pimd.potentials.spherical_harmonics import cosine_powers, gradient_matrices, harmonics
from pimd.potentials.symmetry_functions import (
    Angular,
    Radial,
    Settings,
    SymmetryFunctions,
    default_settings,
)
from pimd.potentials.triples import triples

MIXED = Settings(
    (1, 8),
    4.6,
    3.3,
    (Radial(0.8, 0.0), Radial(2.5, 1.7), Radial(0.0, 0.0)),
    (
        Angular("G5", 0.2, 1, 1),
        Angular("G4", 0.1, 2, -1),
        Angular("G5", 0.2, 6, -1),
        Angular("G5", 0.05, 3, 1),
        Angular("G4", 0.3, 1, 1),
    ),
)


def neighbours(structure: Structure, cutoff: float) -> list[list[tuple[int, np.ndarray]]]:
    """Number and vector of every neighbour of each atom, by a loop over images."""
    reach = [range(-4, 5) if periodic else range(1) for periodic in structure.pbc]
    found: list[list[tuple[int, np.ndarray]]] = []
    for i, x in enumerate(structure.positions):
        own = []
        for shift in itertools.product(*reach):
            for j, y in enumerate(structure.positions):
                vector = y - x + np.array(shift) @ structure.cell
                if (j != i or any(shift)) and np.linalg.norm(vector) < cutoff:
                    own.append((int(structure.numbers[j]), vector))
        found.append(own)
    return found


def fc(r: float, cutoff: float) -> float:
    return 0.5 * (np.cos(np.pi * r / cutoff) + 1.0) if r < cutoff else 0.0


def angular_term(one: Angular, a: np.ndarray, b: np.ndarray, cutoff: float) -> float:
    r, s, t = np.linalg.norm(a), np.linalg.norm(b), np.linalg.norm(b - a)
    cosine = (a @ b) / (r * s)
    squares, switch = r * r + s * s, fc(r, cutoff) * fc(s, cutoff)
    if one.kind == "G4":
        squares, switch = squares + t * t, switch * fc(t, cutoff)
    angle = 2.0 ** (1 - one.zeta) * (1 + one.lambda_ * cosine) ** one.zeta
    return angle * np.exp(-one.eta * squares) * switch


def by_loops(settings: Settings, structure: Structure) -> np.ndarray:
    """All descriptors of the definition, (n_atoms, n_descriptors)."""
    rows = []
    for own in neighbours(structure, max(settings.cutoff, settings.angular_cutoff)):
        row = []
        for element in settings.elements:
            distances = [np.linalg.norm(v) for z, v in own if z == element]
            for one in settings.radial:
                row.append(sum(np.exp(-one.eta * (r - one.shift) ** 2) * fc(r, settings.cutoff)
                               for r in distances))  # fmt: skip
        for e, f in itertools.combinations_with_replacement(settings.elements, 2):
            couples = [(a, b) for (y, a), (z, b) in itertools.combinations(own, 2)
                       if sorted((y, z)) == [e, f]]  # fmt: skip
            for angle in settings.angular:
                row.append(
                    sum(angular_term(angle, a, b, settings.angular_cutoff) for a, b in couples)
                )
        rows.append(row)
    return np.array(rows, dtype=float)


def descriptors(
    settings: Settings, given: list[Structure], *, plain: bool = False, shuffle: int | None = None
) -> torch.Tensor:
    batch = batch_of(given, settings.range)
    symmetry = SymmetryFunctions(settings, torch.float64)
    symmetry.twice_differentiable = plain
    assert batch.pairs is not None
    pairs, vectors = batch.pairs, batch.pair_vectors()
    if shuffle is not None:
        order = torch.tensor(np.random.default_rng(shuffle).permutation(len(vectors)))
        pairs, vectors = pairs[:, order], vectors[order]
    return symmetry(types_of(batch), pairs, vectors)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("chosen", ["mixed", "default", "radial", "angular"])
def test_definition(chosen: str, plain: bool) -> None:
    """Cells smaller than the cutoff, clusters, slabs and lone atoms, to 1e-12."""
    settings = {
        "mixed": MIXED,
        "default": default_settings((1, 8), 4.6, 3.0, 3, 2),
        "radial": Settings((1, 8), 4.0, 9.0, (Radial(1.0, 1.0),), ()),
        "angular": Settings((1, 8), 2.0, 3.4, (), (Angular("G5", 0.1, 9, -1),)),
    }[chosen]
    given = structures()
    given.insert(1, Structure([8], [[0.0, 0.0, 0.0]]))
    found = descriptors(settings, given, plain=plain, shuffle=1).numpy()
    want = np.concatenate([by_loops(settings, one) for one in given])
    assert found.shape == want.shape == (len(found), settings.n_descriptors)
    assert np.abs(want).max() > 0.03
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-12)


def test_three_elements() -> None:
    """Order of element pairs, and elements that do not occur."""
    settings = default_settings((1, 6, 8, 14), 4.6, 3.4, 2, 1)
    one = structures()[0]
    given = Structure([8, 1, 14, 8, 1], one.positions, one.cell, one.pbc)
    for kind in ("G5", "G4"):
        chosen = default_settings((1, 6, 8, 14), 4.6, 3.4, 2, 1, kind=kind)
        assert chosen.n_descriptors == 4 * 2 + 10 * 5 == settings.n_descriptors
        batch = batch_of([given], chosen.range)
        types = torch.tensor([2, 0, 3, 2, 0])
        assert batch.pairs is not None
        found = SymmetryFunctions(chosen, torch.float64)(types, batch.pairs, batch.pair_vectors())
        np.testing.assert_allclose(found.numpy(), by_loops(chosen, given), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["G4", "G5"])
def test_smooth_at_the_cutoff(kind: str) -> None:
    """Values and slopes go to zero there, and everything is zero beyond."""
    settings = default_settings((1, 8), 4.0, 4.0, 3, 2, kind=kind)
    symmetry = SymmetryFunctions(settings, torch.float64)
    types, pairs = torch.tensor([1, 0, 0]), torch.tensor([[0, 0], [1, 2]])

    def at(r: float) -> tuple[float, float]:
        """Largest change by the second neighbour, and largest slope of it."""
        near, far = torch.tensor([[0.9, 0.1, 0.2]]), torch.tensor([[0.6, 0.8, 0.0]]) * r
        vectors = torch.cat([near, far]).double().requires_grad_()
        alone = symmetry(types, pairs[:, :1], vectors[:1].detach())
        found = symmetry(types, pairs, vectors)
        slopes = [
            torch.autograd.grad(one, vectors, retain_graph=True)[0][1] for one in found[0].unbind()
        ]
        change = (found - alone).detach()
        return float(change.abs().max()), float(torch.stack(slopes).abs().max())

    for closer, further in ((0.02, 0.01), (0.002, 0.001)):
        (value, slope), (value_2, slope_2) = at(4.0 - closer), at(4.0 - further)
        assert 0 < value_2 < value < 1.0 * closer**2  # fc ~ (pi/2)² (r_c - r)² / r_c²
        assert value / value_2 == pytest.approx(4.0, rel=0.1)
        assert slope / slope_2 == pytest.approx(2.0, rel=0.1)
    assert at(4.0) == pytest.approx((0.0, 0.0), abs=1e-15)
    assert at(4.7) == (0.0, 0.0)


def test_invariance() -> None:
    """Turned, mirrored, renumbered and doubled structures have the same descriptors."""
    rng = np.random.default_rng(3)
    given = structures()
    want = descriptors(MIXED, given)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = [Structure(s.numbers, s.positions @ turn, s.cell @ turn, s.pbc) for s in given]
    torch.testing.assert_close(descriptors(MIXED, turned), want, rtol=0, atol=1e-11)
    order = rng.permutation(5)
    first = given[0]
    mixed = Structure(first.numbers[order], first.positions[order], first.cell, first.pbc)
    torch.testing.assert_close(
        descriptors(MIXED, [mixed]), want[:5][order.tolist()], rtol=0, atol=1e-11
    )
    twice = Structure(
        np.tile(first.numbers, 2),
        np.concatenate([first.positions, first.positions + first.cell[1]]),
        first.cell * np.array([[1], [2], [1]]),
        first.pbc,
    )
    torch.testing.assert_close(
        descriptors(MIXED, [twice]), want[:5].repeat(2, 1), rtol=0, atol=1e-11
    )


def test_first_and_second_derivatives() -> None:
    """Of the fast sums, of the plain ones, and of G4, against finite differences."""
    settings = Settings(
        (1, 8), 4.0, 3.6, (Radial(0.8, 1.0),), (Angular("G5", 0.2, 3, -1), Angular("G4", 0.1, 2, 1))
    )
    rng = np.random.default_rng(0)
    pairs = torch.tensor([[0, 1, 0, 2, 0, 1, 2], [1, 0, 2, 0, 0, 2, 2]])
    types = torch.tensor([1, 0, 0])
    vectors = torch.tensor(1.5 * rng.normal(size=(7, 3))).requires_grad_()
    assert (vectors.norm(dim=1) < 3.6).any()
    assert (vectors.norm(dim=1) > 3.6).any()
    symmetry = SymmetryFunctions(settings, torch.float64)
    assert torch.autograd.gradcheck(lambda v: symmetry(types, pairs, v), (vectors,))
    symmetry.twice_differentiable = True
    assert torch.autograd.gradcheck(lambda v: symmetry(types, pairs, v), (vectors,))
    assert torch.autograd.gradgradcheck(lambda v: symmetry(types, pairs, v), (vectors,))


def test_the_fast_sums_say_that_they_have_no_second_derivative() -> None:
    symmetry = SymmetryFunctions(default_settings((1, 8)), torch.float64)
    vectors = torch.tensor([[1.0, 0.5, 0.2], [-1.0, -0.5, -0.2]], dtype=torch.float64)
    vectors.requires_grad_()
    found = symmetry(torch.tensor([0, 1]), torch.tensor([[0, 1], [1, 0]]), vectors)
    (slope,) = torch.autograd.grad(found.square().sum(), vectors, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fast_and_plain_moments_agree(dtype: torch.dtype) -> None:
    """Values and gradients, over several chunks with rows of very different lengths."""
    settings = default_settings((1, 8), 6.0, 4.0)
    functions = PairFunctions.of(settings, dtype, "cpu")
    rng = np.random.default_rng(0)
    n_atoms, n_pairs = 900, 60_000
    centre = np.where(rng.random(n_pairs) < 0.02, 5, rng.integers(0, n_atoms - 40, n_pairs))
    pairs = torch.tensor(np.stack([centre, rng.integers(0, n_atoms, n_pairs)]))
    types = torch.tensor(rng.integers(0, 2, n_atoms))
    vectors = torch.tensor(rng.uniform(-3.4, 3.4, (n_pairs, 3)), dtype=dtype)
    results = []
    for fixed in (None, False, True):
        leaf = vectors.clone().requires_grad_()
        if fixed is None:
            found = fast_moments(functions, types, pairs, leaf)
        else:
            found = sum_pairs(functions, types, pairs, leaf, fixed_shapes=fixed)
        values = [found.radial, found.angular, found.own]
        generator = torch.Generator().manual_seed(1)
        slopes = [torch.randn(v.shape, generator=generator).to(dtype) for v in values]
        (gradient,) = torch.autograd.grad(values, leaf, slopes)
        results.append([*(v.detach() for v in values), gradient])
    eps = torch.finfo(dtype).eps
    for got, also, want in zip(*results, strict=True):
        scale = float(want.abs().max())
        torch.testing.assert_close(got, want, rtol=0, atol=30 * eps * scale)
        torch.testing.assert_close(also, want, rtol=0, atol=30 * eps * scale)


@pytest.mark.parametrize("kind", ["G4", "G5"])
def test_gradients_of_several_energies(kind: str) -> None:
    settings = default_settings((1, 8), 4.6, 3.0, 3, 2, kind=kind)
    symmetry = SymmetryFunctions(settings, torch.float64)
    batch = batch_of(structures(), settings.range)
    types, pairs, vectors = types_of(batch), batch.pairs, batch.pair_vectors().requires_grad_()
    assert pairs is not None
    want = symmetry(types, pairs, vectors)
    generator = torch.Generator().manual_seed(2)
    slopes = torch.randn((4, *want.shape), dtype=torch.float64, generator=generator)
    found, gradients = symmetry.with_gradients(types, pairs, vectors.detach())
    assert torch.equal(found, want.detach())
    assert not found.requires_grad
    for got, slope in zip(gradients(slopes), slopes, strict=True):
        (one,) = torch.autograd.grad(want, vectors, slope, retain_graph=True)
        torch.testing.assert_close(got, one, rtol=0, atol=1e-12 * float(one.abs().max()))


def test_no_pairs_and_place_holders() -> None:
    settings = default_settings((1, 8))
    symmetry = SymmetryFunctions(settings, torch.float64)
    types = torch.tensor([0, 1])
    none = symmetry(types, torch.empty((2, 0), dtype=torch.int64), torch.empty((0, 3)).double())
    assert torch.equal(none, torch.zeros(2, settings.n_descriptors, dtype=torch.float64))
    far = torch.tensor([[9.0, 0, 0], [0, 0, 6.0]], dtype=torch.float64, requires_grad=True)
    found = symmetry(types, torch.tensor([[0, 1], [1, 0]]), far)
    assert float(found.detach().abs().max()) < 1e-15
    found.sum().backward()
    assert far.grad is not None
    assert float(far.grad.abs().max()) < 1e-14


def test_harmonics() -> None:
    """The addition theorem for powers of cosines, and derivatives, up to l = 12."""
    rng = np.random.default_rng(0)
    u, v = torch.tensor(rng.normal(size=(2, 3, 40)))
    u, v = u / u.norm(dim=0), v / v.norm(dim=0)
    cosine = (u * v).sum(0)
    s, t = torch.stack(harmonics(u, 12)), torch.stack(harmonics(v, 12))  # [lm, vector]
    assert len(s) == 169
    for zeta in (1, 2, 3, 7, 12):
        for sign in (1, -1):
            table = cosine_powers(zeta, sign)
            n = len(table)
            got = table @ (s[:n] * t[:n])
            want = 2.0 ** (1 - zeta) * (1 + sign * cosine) ** zeta
            torch.testing.assert_close(got, want, rtol=0, atol=1e-13)
    r = (1.3 * u).requires_grad_()
    solid = torch.stack(harmonics(r, 12, r.square().sum(0)))
    weights = torch.tensor(rng.normal(size=169))
    (slope,) = torch.autograd.grad((weights @ solid).sum(), r)
    want = torch.einsum("alm,l,mp->ap", gradient_matrices(12), weights, solid.detach())
    torch.testing.assert_close(slope, want, rtol=1e-12, atol=1e-9)


def test_triples() -> None:
    centres = torch.tensor([2, 0, 2, 1, 2, 0, 4])
    first, second = triples(centres, 6)
    found = sorted(zip(first.tolist(), second.tolist(), strict=True))
    assert [tuple(sorted(p)) for p in found] == [(0, 2), (0, 4), (1, 5), (2, 4)]
    assert len(triples(torch.empty(0, dtype=torch.int64), 3)[0]) == 0


def test_settings_go_through_json() -> None:
    again = Settings.from_dict(json.loads(json.dumps(MIXED.as_dict())))
    assert again == MIXED
    assert hash(again) == hash(MIXED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"elements": (8, 1)}, "ascending"),
        ({"elements": ()}, "ascending"),
        ({"elements": (0, 8)}, "1 to 118"),
        ({"cutoff": 0.0}, "cutoff is a length"),
        ({"angular_cutoff": float("nan")}, "angular_cutoff is a length"),
        ({"radial": (), "angular": ()}, "at least one"),
        ({"radial": (Radial(-1.0),)}, "eta"),
        ({"radial": (Radial(1.0, float("inf")),)}, "shift"),
        ({"angular": (Angular("G3", 0.1, 1, 1),)}, "G4 or G5"),
        ({"angular": (Angular("G5", 0.1, 0, 1),)}, "zeta"),
        ({"angular": (Angular("G5", 0.1, 1, 2),)}, "lambda"),
    ],
)
def test_settings_that_make_no_sense(change: dict, message: str) -> None:
    values = {name: getattr(MIXED, name) for name in MIXED.__dataclass_fields__}
    with pytest.raises(PotentialError, match=message):
        Settings(**{**values, **change})


def test_settings_of_something_else() -> None:
    with pytest.raises(PotentialError, match="no settings"):
        Settings.from_dict({"elements": [1, 8]})
    with pytest.raises(PotentialError, match="no settings"):
        Settings.from_dict({**MIXED.as_dict(), "radial": [3]})
