"""A short spin by default; what the user has set stays."""

from __future__ import annotations

from pimd.daemon.threads import SPIN_COUNT, share_cores


def test_a_short_spin_unless_the_user_says_otherwise() -> None:
    for before, after in (
        ({}, {"GOMP_SPINCOUNT": str(SPIN_COUNT)}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ):
        environment = dict(before)
        share_cores(environment)
        assert environment == after
