"""A metatomic model file: loaded, and asked for outputs in our units.

Structures go in in the model's unit of length and numbers come out in the unit the model
declares; the factors to eV and Å are applied here, in float64. So the model proper can be called
without the checks and conversions that metatomic makes structure by structure around it; with
`check_consistency` these are made too.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pimd.potentials.base import PotentialError
from pimd.potentials.metatomic_systems import ListOptions
from pimd.potentials.models import model_device, model_file, model_precision, require

__all__ = ["MetatomicModel", "Request"]

OUR_UNITS = {
    "eV": "eV",
    "A": "Å",
    "e": "e",
    "e*A": "eÅ",
    "e*A^2": "eÅ^2",
    "eV/A": "eV/Å",
    "eV/A^3": "eV/Å^3",
    "A^2": "Å^2",
    "A^3": "Å^3",
}
"""metatomic's way to write a unit -> ours; outputs of these dimensions are converted to them."""


@dataclass(frozen=True)
class Request:
    """One output to be asked for.

    Attributes:
        name: as the model calls it.
        kind: `system` or `atom`: one row for each structure or each atom.
        unit: of the values once multiplied by `factor`.
        factor: from the model's unit.
        raw: metatomic's ModelOutput.
    """

    name: str
    kind: str
    unit: str
    factor: float
    raw: Any = field(compare=False)


class MetatomicModel:
    """A model file, loaded.

    Args:
        path: of the `.pt` file.
        extensions: folder of compiled extensions; None: those installed.
        dtype: as in a SPEC; it must be what the file computes in.
        device: as in a SPEC.
        check_consistency: let metatomic check what goes in and what comes out at every call.

    Attributes:
        dtype, device: of the model.
        numbers: atomic numbers it knows.
        outputs: name -> metatomic's ModelOutput, as the model declares them.
        length_factor: from Å to its unit of length.
        lists: neighbour lists it asks for.
        inputs: what else it asks for: name -> metatomic's ModelOutput.

    Raises:
        PotentialError: missing library, file or extensions; a precision or device it has not.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        extensions: str | Path | None = None,
        dtype: str | None = None,
        device: str | None = None,
        check_consistency: bool = False,
    ) -> None:
        self._mta = require("metatomic.torch", "metatomic")
        self.file = model_file(path, "metatomic model")
        self.check_consistency = check_consistency
        folder = None if extensions in (None, "") else Path(str(extensions)).expanduser()
        if folder is not None and not folder.is_dir():
            raise PotentialError(f"extensions: there is no folder {folder}")
        self._wrapper = _load(self._mta, self.file, folder)
        capabilities = self._wrapper.capabilities()
        self.dtype = model_precision(None, getattr(torch, capabilities.dtype))
        if model_precision(dtype, self.dtype) != self.dtype:
            raise PotentialError(
                f"{self.file} computes in {capabilities.dtype}, which a metatomic file fixes; got "
                f"dtype: {dtype}. Leave dtype out, or export the model in {dtype}"
            )
        self.device = _device(device, capabilities.supported_devices, self.file)
        self._wrapper = self._wrapper.to(self.device)
        self.numbers = [z for z in capabilities.atomic_types if 0 < z < 119]
        # (what the wrapper declares has deprecated names beside the model's own)
        names = getattr(
            self._wrapper, "_model_capabilities_outputs_names", list(capabilities.outputs)
        )
        self.outputs: dict[str, Any] = {name: capabilities.outputs[name] for name in names}
        self.length_unit = str(capabilities.length_unit)
        self.length_factor = self._factor("angstrom", self.length_unit or "angstrom")
        self.lists = [
            ListOptions(one.engine_cutoff("angstrom"), one.full_list, one)
            for one in self._wrapper.requested_neighbor_lists()
        ]
        self.inputs: dict[str, Any] = self._wrapper.requested_inputs(use_new_names=True)

    def pick(self, quantity: str, variant: str | None) -> str | None:
        """The output that gives a quantity: `energy`, or of a variant `energy/VARIANT`.

        Without a variant a model's only one is taken. None: the model gives no such thing.
        """
        if variant is not None:
            name = f"{quantity}/{variant}"
            return name if name in self.outputs else None
        if quantity in self.outputs:
            return quantity
        variants = [name for name in self.outputs if name.startswith(f"{quantity}/")]
        return variants[0] if len(variants) == 1 else None

    def gives(self, name: str, kind: str) -> bool:
        """Whether an output can be had for each `atom`, or each `system`."""
        declared = self.outputs[name].sample_kind
        return kind == declared or (kind, declared) == ("system", "atom")

    def request(self, name: str, kind: str) -> Request:
        """An output of the model in one of our units, or in its own where we have none."""
        declared = self.outputs[name]
        raw = self._mta.ModelOutput(unit=declared.unit, sample_kind=kind)
        for theirs, ours in OUR_UNITS.items() if declared.unit else ():
            try:
                return Request(name, kind, ours, self._factor(declared.unit, theirs), raw)
            except (ValueError, RuntimeError):  # other dimensions, or no unit of metatomic's
                continue
        return Request(name, kind, declared.unit, 1.0, raw)

    def factor_of_input(self, name: str, unit: str) -> float:
        """From our unit (as metatomic writes it) to the one in which the model wants an input."""
        wanted = self.inputs[name].unit
        return self._factor(unit, wanted) if wanted and unit else 1.0

    def run(self, systems: Sequence[Any], requests: Sequence[Request]) -> Mapping[str, Any]:
        """Outputs of systems in the model's units: name -> TensorMap, in the declared units."""
        wanted = {one.name: one.raw for one in requests}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what libraries have to say to model developers
            if self.check_consistency:
                options = self._mta.ModelEvaluationOptions(
                    length_unit=self.length_unit, outputs=wanted
                )
                return self._wrapper(list(systems), options, check_consistency=True)
            return self._wrapper.module(list(systems), wanted, None)

    def _factor(self, unit: str, other: str) -> float:
        return float(self._mta.unit_conversion_factor(unit, other))


def _load(mta: Any, file: Path, extensions: Path | None) -> Any:
    """The model, for evaluation. Raises PotentialError where it cannot be loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = mta.load_atomistic_model(str(file), extensions_directory=extensions)
        except (RuntimeError, ValueError) as error:
            cause = error.__cause__ or error
            text = str(cause)
            if "torch.classes" in text or "Unknown builtin op" in text:
                where = f"in {extensions}" if extensions else "installed"
                raise PotentialError(
                    f"{file} needs compiled extensions that are not {where}; give their folder "
                    f"as extensions: FOLDER. metatomic says: {_first_lines(error)}"
                ) from error
            raise PotentialError(f"{file} is no metatomic model: {_first_lines(cause)}") from error
    return model.eval().requires_grad_(False)


def _first_lines(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])


def _device(name: str | None, supported: Sequence[str], file: Path) -> torch.device:
    """The device asked for, or the best that both this machine and the model have."""
    automatic = name in (None, "auto")
    device = model_device(name)
    if automatic and device.type not in supported:
        device = torch.device("cpu")
    if device.type not in supported:
        raise PotentialError(
            f"{file} runs on {', '.join(supported)}, not on {device}: choose another device"
        )
    return device
