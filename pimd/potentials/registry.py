"""From a SPEC to a potential.

A SPEC names a potential and its options. It is written as in i-PI's `<parameters>`,
`{potential: qtip4pf, cutoff: 9.0}`, or short on a command line, `qtip4pf` or
`qtip4pf, cutoff: 9.0`, or as a mapping from Python. A potential of the user's own is named by
its file or module and class, `{potential: my_network.py:MyPotential, model: water.pt}`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pimd.structure import PotentialError

if TYPE_CHECKING:
    from pimd.potentials.base import Potential

__all__ = [
    "MODEL_FILES", "PATH_OPTIONS", "POTENTIALS", "Spec", "make_potential", "parse_spec",
    "potential_of_file", "split_items", "split_name",
]

POTENTIALS: dict[str, str] = {
    "free": "pimd.potentials.free:Free",
    "harmonic": "pimd.potentials.harmonic:Harmonic",
    "lennard_jones": "pimd.potentials.lennard_jones:LennardJones",
    "stillinger_weber": "pimd.potentials.stillinger_weber:StillingerWeber",
    "silvera_goldman": "pimd.potentials.silvera_goldman:SilveraGoldman",
    "qtip4pf": "pimd.potentials.qtip4pf:QTIP4PF",
    "ase": "pimd.potentials.ase:ASEPool",
    "behler_parrinello": "pimd.potentials.behler_parrinello:BehlerParrinello",
    "committee": "pimd.potentials.committee:Committee",
    "mace": "pimd.potentials.mace:MACE",
    "metatomic": "pimd.potentials.metatomic:Metatomic",
    "nequip": "pimd.potentials.nequip:NequIP",
    "deepmd": "pimd.potentials.deepmd:DeePMD",
}
"""Name -> "module:class", imported when asked for; the class's keywords are the options."""

OWN_POTENTIAL = re.compile(r"[\w./~-]+:[A-Za-z_]\w*")
"""A user's own potential, `file.py:Class` or `module:Class`."""

MODEL_FILES: dict[str, str] = {
    ".model": "mace",
    ".nequip.pt2": "nequip",
    ".nequip.pth": "nequip",
    ".pt": "metatomic",
    ".pth": "deepmd",
    ".npz": "behler_parrinello",
}
"""Ending of a model file -> potential; a SPEC may be just the name of such a file."""

PATH_OPTIONS = ("model", "members", "template", "baseline", "extensions")
"""Options that hold file names, or SPECs that do; they are resolved against the folder of the
input."""

DAEMON_OPTIONS = ("properties", "skin", "pbc", "member_forces", "chunking")
"""Options that any SPEC may carry, used by the daemon rather than by the potential: the properties
to send as extras, the Verlet skin in Å, whether the structures are periodic (default: where they
have a cell), whether the forces and virials of committee members go into the extras, and in
which parts batches are evaluated (`auto`, `none` or a number, see `pimd.batch_splitting`)."""


@dataclass(frozen=True)
class Spec:
    """A potential's name and options, as read; values are strings, numbers, bools or lists."""

    potential: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return _format({"potential": self.potential, **self.options}, ", ", "{}")

    @property
    def is_conservative(self) -> bool:
        """False where the SPEC asks for forces that are the derivative of no energy."""
        return self.options.get("non_conservative") is not True

    def in_xml(self) -> str:
        """As `<parameters>` of an i-PI input: i-PI splits at every comma, and ends at the first
        closing brace, so lists and mappings inside are written `[a; b]` and `(key: value; ...)`.
        """
        items = {"potential": self.potential, **self.options}
        parts = (f"{key}: {_format(value, '; ', '()')}" for key, value in items.items())
        return "{" + ", ".join(parts) + "}"

    def resolved(self, folder: Path) -> Spec:
        """This spec with the files it names made absolute, relative to `folder`."""
        options = dict(self.options)
        potential = self.potential
        file, colon, name = potential.rpartition(":")
        if colon and file.endswith(".py"):
            potential = f"{folder / file}:{name}"
        for key in PATH_OPTIONS:
            if key in options:
                options[key] = _resolved(options[key], folder)
        return Spec(potential, options)

    def files(self) -> list[str]:
        """Every file the SPEC names, members and baselines included."""
        file, colon, _ = self.potential.rpartition(":")
        found = [file] if colon and file.endswith(".py") else []
        for key in PATH_OPTIONS:
            found += _files(self.options.get(key, []))
        return found


def parse_spec(text: str | Mapping[str, Any]) -> Spec:
    """Read a SPEC.

    Raises:
        PotentialError: if the text is no SPEC or names no potential.
    """
    if isinstance(text, Mapping):
        options = dict(text)
    else:
        body = text.strip()
        if body.startswith("{") and body.endswith("}"):
            body = body[1:-1]
        items = split_items(body)
        if items and (":" not in items[0] or OWN_POTENTIAL.fullmatch(items[0].strip())):
            items[0] = f"potential: {items[0]}"
        options = {}
        for item in items:
            key, colon, value = item.partition(":")
            if not colon or not key.strip():
                raise PotentialError(
                    f"cannot read '{item.strip()}' in the potential '{text}': expected "
                    "'key: value' pairs separated by commas, like "
                    "{potential: qtip4pf, cutoff: 9.0}"
                )
            options[key.strip()] = _value(value.strip())
    name = options.pop("potential", None)
    guess = potential_of_file(str(name)) if name else None
    if guess is not None and "model" not in options:
        return Spec(guess, {"model": str(name), **options})
    if not name:
        raise PotentialError(
            f"'{text}' names no potential; say for example {{potential: qtip4pf}}. "
            f"Known: {', '.join(POTENTIALS)}"
        )
    return Spec(str(name), options)


def potential_of_file(name: str) -> str | None:
    """The potential a model file is of, by the ending of its name; None: it is no model file."""
    if OWN_POTENTIAL.fullmatch(name):
        return None
    endings = sorted(MODEL_FILES, key=len, reverse=True)
    return next((MODEL_FILES[e] for e in endings if name.lower().endswith(e)), None)


def make_potential(
    spec: Spec | str | Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> Potential:
    """Build the potential a SPEC names, ready to compute.

    Args:
        spec: the potential and its options.
        defaults: options for a potential that takes them, where the SPEC does not give them.

    Raises:
        PotentialError: for an unknown potential or option, or what the potential raises.
    """
    if not isinstance(spec, Spec):
        spec = parse_spec(spec)
    spec = _by_content(spec)
    factory = _factory(spec.potential)
    options = {k: v for k, v in spec.options.items() if k not in DAEMON_OPTIONS}
    signature = inspect.signature(factory)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    own = "accelerate" in signature.parameters
    accelerate = None if own else options.pop("accelerate", None)
    unknown = [key for key in options if key not in signature.parameters]
    if unknown and not takes_any:
        raise PotentialError(
            f"{spec.potential} has no option {', '.join(unknown)}; its options: "
            f"{', '.join(signature.parameters) or 'none'}"
        )
    known = {key: value for key, value in (defaults or {}).items() if key in signature.parameters}
    potential = factory(**{**known, **options})
    if accelerate is not None:
        from pimd.potentials.acceleration import choose_mode

        choose_mode(potential, accelerate)
    return potential


def _by_content(spec: Spec) -> Spec:
    """Model files in .pt are metatomic's, unless one is a committee that `pimd train` wrote."""
    model = spec.options.get("model")
    if spec.potential != "metatomic" or not isinstance(model, (str, Path)):
        return spec
    from pimd.potentials.bp_file import is_model_file

    return Spec("behler_parrinello", spec.options) if is_model_file(model) else spec


def _factory(name: str) -> Callable[..., Potential]:
    """The class a potential is named by."""
    target = POTENTIALS.get(name, name if OWN_POTENTIAL.fullmatch(name) else None)
    if target is None:
        raise PotentialError(
            f"unknown potential '{name}'; known: {', '.join(POTENTIALS)}, or your own as "
            "file.py:Class"
        )
    place, _, attribute = target.rpartition(":")
    try:
        load = _load_file if place.endswith(".py") else importlib.import_module
        module = load(place)
        factory: Callable[..., Potential] = getattr(module, attribute)
    except (ImportError, OSError) as error:
        raise PotentialError(f"cannot load the potential '{name}': {error}") from error
    except AttributeError:
        raise PotentialError(f"{place} has no class '{attribute}'") from None
    return factory


def _load_file(name: str) -> ModuleType:
    path = Path(name).expanduser()
    spec = importlib.util.spec_from_file_location(f"pimd_user_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _resolved(value: Any, folder: Path) -> Any:
    """File names, SPECs, or lists of them, with every file name made absolute."""
    if isinstance(value, list):
        return [_resolved(one, folder) for one in value]
    if isinstance(value, Mapping):
        spec = parse_spec(value).resolved(folder)
        return {"potential": spec.potential, **spec.options}
    if str(value) in POTENTIALS:  # a SPEC that is a name alone
        return value
    return str(folder / Path(str(value)).expanduser())


def _files(value: Any) -> list[str]:
    if isinstance(value, list):
        return [file for one in value for file in _files(one)]
    if isinstance(value, Mapping):
        return parse_spec(value).files()
    return [] if str(value) in POTENTIALS else [str(value)]


def split_name(text: str) -> tuple[str, str]:
    """`NAME=SPEC`, as on a command line -> NAME and SPEC; the name of a bare SPEC is ""."""
    name, equals, spec = text.partition("=")
    if equals and name.strip().isidentifier():
        return name.strip(), spec
    return "", text


def split_items(body: str) -> list[str]:
    """Split at commas and semicolons outside brackets; empty items are dropped."""
    items, depth, current = [], 0, ""
    for char in body:
        depth += (char in "[{(") - (char in "]})")
        if char in ",;" and depth == 0:
            items.append(current)
            current = ""
        else:
            current += char
    items.append(current)
    return [item for item in items if item.strip()]


def _value(text: str) -> Any:
    if text.startswith("[") and text.endswith("]"):
        return [_value(item.strip()) for item in split_items(text[1:-1])]
    if text[:1] + text[-1:] in ("{}", "()"):
        pairs = (item.partition(":") for item in split_items(text[1:-1]))
        return {key.strip(): _value(value.strip()) for key, _, value in pairs}
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text in ("yes", "no", "on", "off"):  # words would count as true
        raise PotentialError(f"'{text}' is neither true nor false: write true or false")
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text.strip("'\"")


def _format(value: Any, separator: str, braces: str) -> str:
    if isinstance(value, list):
        return "[" + separator.join(_format(v, separator, braces) for v in value) + "]"
    if isinstance(value, dict):
        items = (f"{k}: {_format(v, separator, braces)}" for k, v in value.items())
        return braces[0] + separator.join(items) + braces[1]
    return str(value)
