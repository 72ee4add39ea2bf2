"""How an extension changes i-PI: checked first, in layers, and undone exactly.

An `Extension` names the functions of i-PI that it replaces or relies on, each with a digest of
the source it was written for. Several extensions may wrap one function: the layers are put on in
the order of enabling, and each can be taken off by itself. When the last is off, what is in place
is the very object i-PI had.

A target is written `module:Class.attribute` or `module:function`.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, ClassVar

__all__ = ["Extension", "digest", "ipi_version_problem", "is_enabled", "stock_function"]

TESTED = ((3, 3, 1), (3, 4))
"""Versions of i-PI the extensions were written for: from the first, below the second."""

Layer = Callable[[Any], Any]
"""Gets what is in place and returns what takes its place."""

_MISSING = object()
_lock = threading.RLock()
_layers: dict[str, list[tuple[str, Layer]]] = {}
_stock: dict[str, Any] = {}


class Extension:
    """One change of i-PI's behaviour.

    Subclasses set the class attributes and return their layers; most need nothing else.

    Attributes:
        name: as reported to the user.
        purpose: what it is for, in one line.
        relies_on: target -> digest of the source this was written for, of all functions that
            are replaced, wrapped or imitated.
        adds: targets that i-PI's own classes must not define, because the extension does.
        requires: names of extensions that must be on.
    """

    name: ClassVar[str]
    purpose: ClassVar[str]
    relies_on: ClassVar[Mapping[str, str]] = {}
    adds: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()

    def layers(self) -> Mapping[str, Layer]:
        """Target -> layer; every target is in `relies_on` or in `adds`."""
        raise NotImplementedError

    def self_check(self) -> str | None:
        """Why the extension must step aside, or None if i-PI is what it was written for."""
        problem = ipi_version_problem()
        if problem:
            return problem
        for name in self.requires:
            if not is_enabled(name):
                return f"it needs the extension {name}, which is off"
        for target, expected in self.relies_on.items():
            try:
                found = digest(target)
            except (ImportError, AttributeError, OSError, TypeError) as error:
                return f"i-PI has no {target} to read ({error})"
            if found != expected:
                return (
                    f"{target} of i-PI {version('ipi')} is not what this was written for "
                    f"(digest {found}, expected {expected})"
                )
        for target in self.adds:
            owner, attribute = _resolve(target)
            if attribute in vars(owner) and target not in _stock:
                return f"i-PI {version('ipi')} has a {target} of its own"
        return None

    def left_to_ipi(self, simulation: Any) -> list[str]:
        """What of a bound simulation is left to i-PI's own code, and why, one line each.

        Empty where the extension does all that it is for, or cannot tell yet.
        """
        return []

    def enable(self) -> None:
        """Put the layers on. Enabling twice is enabling once."""
        if is_enabled(self.name):
            return
        with _lock:
            for target, layer in self.layers().items():
                _layers.setdefault(target, []).append((self.name, layer))
                _apply(target)

    def disable(self) -> None:
        """Take the layers off; without other layers i-PI's own objects are back."""
        with _lock:
            for target in list(_layers):
                kept = [entry for entry in _layers[target] if entry[0] != self.name]
                if len(kept) != len(_layers[target]):
                    _layers[target] = kept
                    _apply(target)


def is_enabled(name: str) -> bool:
    """Whether an extension of this name has layers in place."""
    return any(entry[0] == name for layers in _layers.values() for entry in layers)


def ipi_version_problem() -> str | None:
    """What is wrong with the installed version of i-PI, or None."""
    text = version("ipi")
    numbers = tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
    low, high = TESTED
    if low <= numbers < high:
        return None
    bounds = [".".join(map(str, bound)) for bound in TESTED]
    return f"i-PI is {text}; this was written for {bounds[0]} or later, below {bounds[1]}"


def digest(target: str) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of the source of i-PI's own function."""
    source = inspect.getsource(inspect.unwrap(stock_function(target)))
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def stock_function(target: str) -> Any:
    """What i-PI itself has at a target, whatever is in place now."""
    kept = _stock.get(target, _MISSING)
    if kept is not _MISSING:
        return kept
    owner, attribute = _resolve(target)
    return getattr(owner, attribute)


def _resolve(target: str) -> tuple[Any, str]:
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, attribute = path.split(".")
    for name in parents:
        owner = getattr(owner, name)
    return owner, attribute


def _apply(target: str) -> None:
    """Rebuild one attribute from i-PI's own object and the layers now on."""
    owner, attribute = _resolve(target)
    if target not in _stock:
        _stock[target] = vars(owner).get(attribute, _MISSING)
    stock = _stock[target]
    layers = _layers.get(target, [])
    if not layers:
        del _stock[target]
        _layers.pop(target, None)
        if stock is _MISSING:
            delattr(owner, attribute)
        else:
            setattr(owner, attribute, stock)
        return
    current = None if stock is _MISSING else stock
    for _, layer in layers:
        current = layer(current)
    setattr(owner, attribute, current)
