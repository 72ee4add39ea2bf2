"""Checkpoints hold every number exactly, so that a resumed run is the run that was interrupted.

i-PI writes RESTART with the `floatformat` of its outputs, nine digits unless the input says
otherwise: a resumed run starts from slightly other positions and momenta, and is another
trajectory after some hundred steps. Here the numbers in checkpoints have the 17 significant
digits that give back the same double. Outputs, and `<floatformat>` itself, are as before;
checkpoints are half as large again, and are written several times faster, because an array is
written in one go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["ExactCheckpoints"]

EXACT = "%24.16e"
PER_LINE = 5


def _write_type(stock: Any) -> Any:
    """`write_type` as the classes use it that write an input, not the outputs."""

    def write_type(kind: Any, data: Any) -> str:
        if kind is float:
            return EXACT % data
        text: str = stock(kind, data)
        return text

    return write_type


def _write_array(stock: Any) -> Any:
    """InputArray.write, in i-PI's layout."""
    from ipi.utils.inputvalue import Input

    def write(self: Any, name: str = "", indent: str = "") -> str:
        if self.type is not float:
            text: str = stock(self, name=name, indent=indent)
            return text
        numbers = [EXACT % value for value in np.asarray(self.value, dtype=float).tolist()]
        if len(numbers) <= PER_LINE:
            body = f" [ {', '.join(numbers)} ] "
        else:
            starts = range(0, len(numbers), PER_LINE)
            lines = [", ".join(numbers[i : i + PER_LINE]) for i in starts]
            body = f"\n{indent} [ " + f", \n{indent}   ".join(lines) + " ]\n"
        written: str = Input.write(self, name=name, indent=indent, text=body)
        return written

    return write


class ExactCheckpoints(Extension):
    """See the module."""

    name = "exact_checkpoints"
    purpose = "RESTART holds numbers with 17 digits, so that a run goes on exactly as it was"
    relies_on: ClassVar = {
        "ipi.utils.inputvalue:write_type": "88500e601807",
        "ipi.utils.inputvalue:InputArray.write": "dff9817f68fe",
        "ipi.utils.inputvalue:InputValue.write": "35f7a341b3cb",
        "ipi.utils.io.inputs.io_xml:write_float": "2581e1a0b398",
    }

    def layers(self) -> Mapping[str, Layer]:
        return {
            "ipi.utils.inputvalue:write_type": _write_type,
            "ipi.utils.inputvalue:InputArray.write": _write_array,
        }
