"""The properties of a run by name, read from their files when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pimd.record.missing import no_property
from pimd.record.series import Series

__all__ = ["Properties"]


class Properties(Mapping[str, Series]):
    """i-PI's properties by its names, blanks in arguments aside.

    One that was not written is a `NotInRecord` that says how to write it, not a KeyError.

    Args:
        sources: each gives some of the properties; of one that several give, the longest counts,
            and of equal ones the first.
        where: the run, in words.
    """

    def __init__(
        self, sources: Sequence[Callable[[], Iterable[Series]]], where: object
    ) -> None:
        self._sources, self._where = sources, where
        self._found: dict[str, Series] | None = None

    def _all(self) -> dict[str, Series]:
        if self._found is None:
            self._found = {}
            for source in self._sources:
                for series in source():
                    known = self._found.get(series.name)
                    if known is None or len(series) > len(known):
                        self._found[series.name] = series
        return self._found

    def __getitem__(self, name: str) -> Series:
        try:
            return self._all()["".join(name.split())]
        except KeyError:
            raise no_property(name, self._where, self._all()) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and "".join(name.split()) in self._all()

    def get(self, name: str, default: Any = None) -> Any:
        found = self._all().get("".join(name.split()))
        return default if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
