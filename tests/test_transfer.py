"""One copy in and one copy out: the packed ways, which serve GPUs, give what the plain ones do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pimd.evaluated import Evaluated
from pimd.potentials.base import Prediction
from pimd.transfer import ALIGNMENT, Staging, fetch

CPU = torch.device("cpu")
SHAPES = [(5, 3), (2, 3, 3), (0, 3), (7,)]


def filled(dtype: torch.dtype, packed: bool | None) -> list[torch.Tensor]:
    staging = Staging(SHAPES, dtype, CPU, packed=packed)
    rng = np.random.default_rng(0)
    for array, shape in zip(staging.arrays, SHAPES, strict=True):
        assert array.shape == shape
        np.multiply(rng.normal(size=shape), 0.529177, out=array)
    return staging.send()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_packed_arrays_arrive_bit_for_bit(dtype: torch.dtype) -> None:
    for packed, plain in zip(filled(dtype, True), filled(dtype, None), strict=True):
        assert packed.dtype == dtype
        assert packed.is_contiguous()
        assert torch.equal(packed, plain)


def test_packed_arrays_are_aligned_and_not_those_on_the_host() -> None:
    staging = Staging(SHAPES, torch.float64, CPU, packed=True)
    for array in staging.arrays:
        array[...] = 1.0
    tensors = staging.send()
    starts = [t.data_ptr() - tensors[0].data_ptr() for t in tensors]
    assert all(start % ALIGNMENT == 0 for start in starts)
    for array in staging.arrays:
        array[...] = 2.0
    assert all(bool((t == 1.0).all()) for t in tensors)


def test_on_the_cpu_nothing_is_copied() -> None:
    staging = Staging([(4, 3)], torch.float64, CPU)
    (tensor,) = staging.send()
    assert tensor.data_ptr() == staging.arrays[0].ctypes.data
    (array,) = fetch([tensor])
    assert array.ctypes.data == tensor.data_ptr()


def prediction() -> Prediction:
    torch.manual_seed(0)
    return Prediction(
        torch.randn(2, dtype=torch.float64),
        forces=torch.randn(5, 3, dtype=torch.float32).T.contiguous().T,  # strided
        virials=torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True),
        member_energies=torch.randn(4, 2, dtype=torch.float64),
        properties={"dipole": torch.randn(2, 3), "count": torch.tensor([3, 2])},
    )


def test_a_packed_prediction_is_the_plain_one_bit_for_bit() -> None:
    packed, plain = (Evaluated.of(prediction(), packed=p) for p in (True, None))
    for name in ("energies", "forces", "virials", "member_energies"):
        got, want = getattr(packed, name), getattr(plain, name)
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, want)
    assert packed.member_forces is plain.member_forces is None
    assert list(packed.properties) == list(plain.properties)
    for name, want in plain.properties.items():
        np.testing.assert_array_equal(packed.properties[name], want)


def test_nothing_to_fetch() -> None:
    assert fetch([]) == fetch([], packed=True) == []


def test_parts_join_along_their_structures_and_atoms() -> None:
    one, other = Evaluated.of(prediction()), Evaluated.of(prediction())
    joined = Evaluated.joined([one, other])
    assert joined.energies.shape == (4,)
    assert joined.forces is not None
    assert joined.member_energies is not None
    assert joined.forces.shape == (10, 3)
    assert joined.member_energies.shape == (4, 4)
    np.testing.assert_array_equal(joined.member_energies[:, 2:], other.member_energies)
    assert joined.properties["dipole"].shape == (4, 3)
    assert joined.member_forces is None
    assert Evaluated.joined([one]) is one
