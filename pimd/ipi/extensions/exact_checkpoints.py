"""Checkpoints hold every number exactly, so that a resumed run is the run that was interrupted.

i-PI writes RESTART with the `floatformat` of its outputs, nine digits unless the input says
otherwise: a resumed run starts from slightly other positions and momenta, and is another
trajectory after some hundred steps. Here the numbers in checkpoints have the 17 significant
digits that give back the same double. Outputs, and `<floatformat>` itself, are as before;
checkpoints are half as large again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pimd.ipi.extensions.patching import Extension, Layer

__all__ = ["ExactCheckpoints"]

EXACT = "%24.16e"


def _write_type(stock: Any) -> Any:
    """`write_type` as the classes use it that write an input, not the outputs."""

    def write_type(kind: Any, data: Any) -> str:
        if kind is float:
            return EXACT % data
        text: str = stock(kind, data)
        return text

    return write_type


class ExactCheckpoints(Extension):
    """See the module."""

    name = "exact_checkpoints"
    purpose = "RESTART holds numbers with 17 digits, so that a run goes on exactly as it was"
    relies_on: ClassVar = {
        "ipi.utils.inputvalue:write_type": "88500e601807",
        "ipi.utils.inputvalue:InputValue.write": "35f7a341b3cb",
        "ipi.utils.inputvalue:InputArray.write": "dff9817f68fe",
        "ipi.utils.io.inputs.io_xml:write_float": "2581e1a0b398",
    }

    def layers(self) -> Mapping[str, Layer]:
        return {"ipi.utils.inputvalue:write_type": _write_type}
