"""What is learned of memory from what a meter says."""

from __future__ import annotations

from pimd.device_memory import SHARE, MemoryUse


class Meter:
    def __init__(self) -> None:
        self.started, self.now, self.free = 0, 0, 10_000

    def start(self) -> None:
        self.started += 1

    def peak(self) -> int:
        return self.now

    def available(self) -> int:
        return self.free


def learned(*batches: tuple[int, int]) -> tuple[MemoryUse, Meter]:
    meter = Meter()
    use = MemoryUse(meter)
    for cost, peak in batches:
        use.start()
        meter.now = peak
        use.done(cost)
    assert meter.started == len(batches)
    return use, meter


def test_memory_is_taken_as_proportional_to_the_costliest_batch() -> None:
    use, meter = learned((10, 900), (100, 1000), (50, 700))
    assert use.most(100) is None  # it fitted
    assert use.most(int(SHARE * 1000)) is None  # 10 bytes each
    assert use.most(2000) == int(SHARE * 1000)
    meter.free = 500
    assert use.most(2000) == 100, "what fitted once is tried again"


def test_what_does_not_grow_is_mended_by_the_next_costlier_batch() -> None:
    use, _ = learned((1, 1000))
    assert use.most(500) == int(SHARE * 10)
    use, _ = learned((1, 1000), (8, 1040))
    assert use.most(60) is None


def test_a_batch_that_takes_nothing_new_does_not_lower_what_is_known() -> None:
    """As a graph that is replayed in memory of its own."""
    use, _ = learned((100, 1000), (100, 0))
    assert use.most(2000) == int(SHARE * 1000)


def test_nothing_measured_nothing_limited() -> None:
    use = MemoryUse(None)
    use.start()
    use.done(10)
    assert use.most(10**12) is None
    assert learned()[0].most(10**12) is None
    assert learned((5, 0))[0].most(10**12) is None
