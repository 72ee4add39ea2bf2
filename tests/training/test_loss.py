"""The loss and its schedule."""

from __future__ import annotations

import pytest
import torch

from pimd.training.loss import Schedule, errors_loss

SCHEDULE = Schedule(1e-2, 1e-4, 0.02, 2.0, 1000.0, 1.0)


def test_rate_falls_exponentially() -> None:
    assert SCHEDULE.rate(0.0) == pytest.approx(1e-2)
    assert SCHEDULE.rate(0.5) == pytest.approx(1e-3)
    assert SCHEDULE.rate(1.0) == pytest.approx(1e-4)


@pytest.mark.parametrize("done", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_prefactors_follow_the_rate(done: float) -> None:
    """p = limit (1 - r / r0) + start r / r0, both with the same r."""
    rate = SCHEDULE.rate(done)
    share = 0.01**done
    energy, force = SCHEDULE.prefactors(rate)
    assert energy == pytest.approx(2.0 * (1 - share) + 0.02 * share)
    assert force == pytest.approx(1.0 * (1 - share) + 1000.0 * share)


def test_schedule_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="0 < stop <= start"):
        Schedule(rate_start=1e-4, rate_stop=1e-2)
    with pytest.raises(ValueError, match="energy_limit"):
        Schedule(energy_limit=-1.0)


def test_loss_is_that_of_the_formula() -> None:
    """Two members, structures of 2 and 3 atoms, written out."""
    generator = torch.Generator().manual_seed(0)
    e = torch.randn(2, 2, dtype=torch.float64, generator=generator)
    f = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator)
    weights = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    index = torch.tensor([0, 0, 1, 1, 1])
    found = errors_loss(e, f, weights, index, (2.0, 30.0))
    first = 2.0 * (e[0] ** 2).sum() + 10.0 * (f[0] ** 2).sum()
    second = 2.0 * e[1, 1] ** 2 + 10.0 * (f[1, 2:] ** 2).sum()
    assert torch.allclose(found, torch.stack([first, second]) / 5, rtol=1e-12)


def test_of_equal_sizes_it_is_that_of_deeppot() -> None:
    """p_e / N dE² + p_f / (3 N) |dF|², averaged over structures."""
    generator = torch.Generator().manual_seed(1)
    e = torch.randn(1, 4, dtype=torch.float64, generator=generator)
    f = torch.randn(1, 12, 3, dtype=torch.float64, generator=generator)
    index = torch.arange(4).repeat_interleave(3)
    found = errors_loss(e, f, torch.ones_like(e), index, (0.7, 11.0))
    each = 0.7 / 3 * e[0] ** 2 + 11.0 / 9 * f[0].view(4, 9).square().sum(1)
    assert found.item() == pytest.approx(each.mean().item(), rel=1e-12)
