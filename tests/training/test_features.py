"""Descriptors and their derivatives worked out once: the forces they give are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from labelled import labelled

from pimd.potentials.base import Batch, Wanted
from pimd.potentials.behler_parrinello import BehlerParrinello, BPModel
from pimd.potentials.element_networks import ElementNetworks
from pimd.potentials.neighbours import NeighbourLists
from pimd.potentials.symmetry_functions import Settings, default_settings
from pimd.structure import Structure
from pimd.training.data import DataError
from pimd.training.features import Statistics, make_features, standardise, statistics
from pimd.training.samples import make_samples, predict

ELEMENTS = (1, 8)
CELL = np.array([[4.1, 0, 0], [1.2, 4.3, 0], [-0.7, 0.6, 3.9]])


def structures() -> list[Structure]:
    """A cell smaller than the cutoff, a cluster, a lone atom and a pair out of reach."""
    rng = np.random.default_rng(5)
    corners = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    crystal = (corners / 2 + rng.uniform(-0.05, 0.05, (8, 3))) @ CELL
    return [
        Structure([8, 1, 1, 8, 1, 1, 8, 1], crystal, CELL, True),
        Structure([8, 1, 1, 8], rng.uniform(0, 3, (4, 3))),
        Structure([8], np.zeros((1, 3))),
        Structure([1, 8], [[0, 0, 0], [0, 0, 20.0]]),
    ]


def committee(settings: Settings, found: Statistics) -> BPModel:
    generator = torch.Generator().manual_seed(3)
    networks = ElementNetworks(
        3, len(settings.elements), settings.n_descriptors, (6, 5), torch.float64, generator
    )
    return BPModel(
        settings, networks, found.mean, found.deviation,
        torch.tensor([-1.5, -7.25], dtype=torch.float64), energy_scale=0.3,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["G4", "G5"])
def test_energies_and_forces_are_those_of_the_potential(kind: str) -> None:
    """Members and forces against the potential that a simulation runs on, in fp64."""
    settings = default_settings(
        ELEMENTS, cutoff=4.5, angular_cutoff=3.5, n_radial=4, n_angular=2, kind=kind
    )
    data = structures()
    features = make_features(data, settings, torch.float64)
    found = statistics(features, len(ELEMENTS))
    model = committee(settings, found)
    standardise(features, found)
    samples = make_samples(labelled(data, "free"), features, np.zeros(2))
    got = predict(model.networks, 0.3, samples, train=False)

    potential = BehlerParrinello.of_model(model, calibrated=False)
    batch = NeighbourLists(potential.cutoff, skin=0.0).attach(Batch.from_structures(data))
    expected = potential.compute(batch, Wanted(member_forces=True))
    baseline = torch.tensor([-1.5, -7.25], dtype=torch.float64)
    types = (batch.numbers == 8).long()
    energies = got.energies + batch.sum_over_atoms(baseline[types])
    assert torch.allclose(energies, expected.member_energies, rtol=0, atol=1e-11)
    assert torch.allclose(got.forces, expected.member_forces, rtol=0, atol=1e-10)


def test_batches_of_features_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = default_settings(ELEMENTS, cutoff=4.5, angular_cutoff=3.5)
    data = structures()
    together = make_features(data, settings, torch.float64)
    monkeypatch.setattr("pimd.training.features.BATCH_ATOMS", 1)
    for one, other in zip(together, make_features(data, settings, torch.float64), strict=True):
        assert torch.allclose(one.descriptors, other.descriptors, rtol=0, atol=1e-13)
        assert torch.allclose(one.jacobian, other.jacobian, rtol=0, atol=1e-12)
        assert torch.equal(one.seen, other.seen)


def test_standardised_inputs() -> None:
    """Mean 0 and deviation 1 for each element; a descriptor that never varies gives 0."""
    settings = default_settings(ELEMENTS, cutoff=4.5, angular_cutoff=3.5)
    features = make_features(structures(), settings, torch.float64)
    for one in features:
        one.descriptors[:, 2] = 0.75
    found = statistics(features, len(ELEMENTS))
    assert torch.isinf(found.deviation[:, 2]).all()
    standardise(features, found)
    types = torch.cat([one.types for one in features])
    values = torch.cat([one.descriptors for one in features])
    for element in range(2):
        own = values[types == element]
        alive = torch.isfinite(found.deviation[element])
        assert alive.sum() > 20
        assert torch.allclose(own.mean(0), torch.zeros(1, dtype=own.dtype), atol=1e-12)
        assert torch.allclose(own.std(0, correction=0)[alive], torch.ones(1, dtype=own.dtype))
        assert not own[:, ~alive].any()
    assert not any(one.jacobian[:, 2].any() for one in features)


def test_too_much_for_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pimd.training.features._available_memory", lambda device: 1e5)
    settings = default_settings(ELEMENTS, cutoff=4.5, angular_cutoff=3.5)
    with pytest.raises(DataError, match=r"would take 0.0 GB, of 0.0 GB available.*--cutoff"):
        make_features(structures() * 5, settings, torch.float64)
