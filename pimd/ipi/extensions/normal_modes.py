"""Between beads and normal modes by one matrix product, where that is faster than FFTs.

The transform of P beads is an orthogonal matrix C, q_k = sum_j C_kj q_j. A matrix product takes
2 P^2 operations for each coordinate where an FFT takes about 5 P log2(P), but i-PI's FFT reads
and writes the coordinates six times to sort real and imaginary parts, and BLAS once:
`benchmarks/normal_modes.py` says from which P on the FFT wins. The result is the same to
rounding, in i-PI's convention.

Open paths, single precision and rings of more than `MOST_BEADS` are left to i-PI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["MOST_BEADS", "NormalModeProducts", "mode_matrix", "to_beads", "to_modes"]

MOST_BEADS = 80
"""Larger rings are transformed by FFT (benchmarks/normal_modes.py)."""


def _matrix(transform: Any) -> np.ndarray | None:
    """C [mode, bead] of one of i-PI's transforms, or None where i-PI's own way is taken."""
    found = transform.__dict__.get("_pimd_matrix", False)
    if found is False:
        found = transform._pimd_matrix = _new_matrix(transform)
    matrix: np.ndarray | None = found
    return matrix


def _new_matrix(transform: Any) -> np.ndarray | None:
    from ipi.utils.nmtransform import nm_fft, nm_trans

    if type(transform) not in (nm_fft, nm_trans) or len(transform._open) > 0:
        return None
    if type(transform) is nm_trans:
        matrix: np.ndarray = transform._b2nm
        return matrix
    if transform.single_precision or transform.nbeads > MOST_BEADS or transform.nbeads < 2:
        return None
    return mode_matrix(transform.nbeads)


def mode_matrix(n_beads: int) -> np.ndarray:
    """C [mode, bead]: the centroid; cosines of ever higher frequency; then sines, of ever lower."""
    from ipi.utils.nmtransform import mk_nm_matrix

    matrix: np.ndarray = mk_nm_matrix(n_beads)
    return matrix


def to_modes(transform: Any, beads: np.ndarray, out: np.ndarray) -> None:
    """Transform [bead, x] to [mode, x], into `out`."""
    matrix = _matrix(transform)
    if matrix is None:
        out[...] = transform.b2nm(beads)
    else:
        np.matmul(matrix, beads, out=out)


def to_beads(transform: Any, modes: np.ndarray, out: np.ndarray) -> None:
    """Transform [mode, x] to [bead, x], into `out`."""
    matrix = _matrix(transform)
    if matrix is None:
        out[...] = transform.nm2b(modes)
    else:
        np.matmul(matrix.T, modes, out=out)


def _product(stock: Any, backward: bool) -> Any:
    """`b2nm` or `nm2b` of a transform."""

    def transformed(self: Any, q: Any) -> np.ndarray:
        matrix = _matrix(self)
        if matrix is None or np.ndim(q) != 2:
            by_ipi: np.ndarray = stock(self, q)
            return by_ipi
        product: np.ndarray = np.matmul(matrix.T if backward else matrix, q)
        return product

    return transformed


class NormalModeProducts(Extension):
    """See the module."""

    name = "normal_modes"
    purpose = "between beads and normal modes by one matrix product where that is faster"
    relies_on: ClassVar = {
        "ipi.utils.nmtransform:mk_nm_matrix": "c0d6d1960f7e",
        "ipi.utils.nmtransform:nm_fft.__init__": "671d4bc206fa",
        "ipi.utils.nmtransform:nm_fft.b2nm": "587792fff2e6",
        "ipi.utils.nmtransform:nm_fft.nm2b": "7f322e321710",
        "ipi.utils.nmtransform:nm_trans.__init__": "d465800badb7",
        "ipi.utils.nmtransform:nm_trans.b2nm": "61b6d88778fe",
        "ipi.utils.nmtransform:nm_trans.nm2b": "28bbda85a44e",
    }

    def layers(self) -> Mapping[str, Layer]:
        layers: dict[str, Layer] = {}
        for kind in ("nm_fft", "nm_trans"):
            layers[f"ipi.utils.nmtransform:{kind}.b2nm"] = lambda stock: _product(stock, False)
            layers[f"ipi.utils.nmtransform:{kind}.nm2b"] = lambda stock: _product(stock, True)
        return layers
