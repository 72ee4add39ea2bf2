"""Models whose types of atoms have names, which need not be chemical symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pimd.potentials.base import Batch, PotentialError
from pimd.potentials.models import SpeciesTable

__all__ = ["NamedTypes"]


class NamedTypes:
    """From atomic numbers to the types of a model that names its types.

    Args:
        names: of the model's types, in its order.
        of_elements: element -> name of its type, (H: H1, O: O_w). Elements that are left out are
            not evaluated. None: every name is a chemical symbol.
        potential: for messages.
        device: where batches live.

    Raises:
        PotentialError: for names that are no symbols without `of_elements`, and for elements
            and types that there are not.
    """

    def __init__(
        self,
        names: Sequence[str],
        of_elements: Mapping[str, str] | None,
        potential: str,
        device: torch.device,
    ) -> None:
        from ase.data import atomic_numbers

        if of_elements is None:
            others = [name for name in names if name not in atomic_numbers]
            if others:
                raise PotentialError(
                    f"{potential} has types that are no elements: {', '.join(others)}; say which "
                    f"type each element has, like types: (H: {others[0]}); its types: "
                    f"{', '.join(names)}"
                )
            of_elements = {name: name for name in names}
        elif not isinstance(of_elements, Mapping) or not of_elements:
            raise PotentialError(f"types is a mapping like (H: H1; O: O_w), got {of_elements!r}")
        for symbol, name in of_elements.items():
            if symbol not in atomic_numbers:
                raise PotentialError(f"types gives a type for each element; {symbol} is none")
            if str(name) not in names:
                raise PotentialError(
                    f"{potential} has no type {name} for {symbol}; its types: {', '.join(names)}"
                )
        numbers = [atomic_numbers[symbol] for symbol in of_elements]
        types = [list(names).index(str(name)) for name in of_elements.values()]
        self._table = SpeciesTable(numbers, potential, device)
        self._type = torch.tensor(types, dtype=torch.int64, device=device)  # [element]

    def check(self, batch: Batch) -> None:
        """Raise PotentialError for elements without a type."""
        self._table.check(batch)

    def types(self, batch: Batch) -> Tensor:
        """Type of each atom of a batch that was checked, (n_atoms,) int64."""
        return self._type.index_select(0, self._table.types(batch))
