"""What a metatomic model may ask for besides the structure: total charge, spin multiplicity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pimd.potentials.base import PotentialError
from pimd.potentials.metatomic_model import MetatomicModel
from pimd.potentials.models import require
from pimd.potentials.options import number

__all__ = ["system_inputs"]

UNITS = {"charge": "e", "spin_multiplicity": ""}


def system_inputs(model: MetatomicModel, given: Mapping[str, float]) -> dict[str, Any]:
    """TensorMaps of one structure for what the model asks for, the same for all structures.

    Raises:
        PotentialError: the model asks for something else.
    """
    inputs = {}
    for name, wanted in model.inputs.items():
        if name not in UNITS or wanted.sample_kind != "system":
            raise PotentialError(
                f"{model.file} asks for '{name}' of each {wanted.sample_kind} as an input; known "
                f"are {', '.join(UNITS)}, of the whole structure"
            )
        value = number(name, given[name]) * model.factor_of_input(name, UNITS[name])
        inputs[name] = _tensor_map(name, value, model)
    return inputs


def _tensor_map(name: str, value: float, model: MetatomicModel) -> Any:
    mts = require("metatensor.torch", "metatomic")
    zero = torch.tensor([[0]], dtype=torch.int32, device=model.device)
    block = mts.TensorBlock(
        torch.tensor([[value]], dtype=model.dtype, device=model.device),
        mts.Labels(["system"], zero),
        [],
        mts.Labels([name], zero),
    )
    return mts.TensorMap(mts.Labels(["_"], zero), [block])
