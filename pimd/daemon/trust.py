"""What may be loaded when its name came over a socket.

Models are often pickles or compiled code: loading one runs what is in it. A SPEC on a command line
or in an XML that the user started is his own. A SPEC in the INIT of a server is somebody's who can
reach, or be, that server. Of the latter

    a built-in potential that names no file            is accepted;
    a file, also of a member or a baseline,            must lie in an allowed folder, symbolic
                                                       links and `..` followed first;
    `file.py:Class`                                    likewise;
    `module:Class`, and ASE's calculators              are refused: they import what they name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pimd.potentials.registry import PATH_OPTIONS, POTENTIALS, Spec, parse_spec
from pimd.structure import PotentialError

__all__ = ["NotTrusted", "allowed_folders", "spec_of_parameters", "trusted"]

IMPORTING = ("ase",)
"""Built-in potentials with an option that names what to import."""
MOST_NESTED = 12
"""Brackets within brackets; reading takes a time that grows with them."""
NESTED = ("members", "baseline")
"""Options whose values are SPECs."""


class NotTrusted(PotentialError):
    """A SPEC from a server names what may not be loaded; the message says what and why."""


def allowed_folders(names: Iterable[Path | str]) -> list[Path]:
    """The folders of --allow-model-dir, as they really are.

    Raises:
        PotentialError: one is no folder.
    """
    folders = []
    for name in names:
        try:
            folder = Path(name).expanduser().resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise PotentialError(f"--allow-model-dir {name}: {error}") from error
        if not folder.is_dir():
            raise PotentialError(f"--allow-model-dir {name}: is no folder")
        folders.append(folder)
    return folders


def spec_of_parameters(text: str) -> Spec | None:
    """The SPEC in the text of INIT; None where it names no potential.

    i-PI writes `key : value , ` for each parameter, and `batch_size:B` behind them.

    Raises:
        NotTrusted: the text names a potential in a way that cannot be read.
    """
    rest, _, last = text.rpartition(",")
    body = rest if last.partition(":")[0].strip() == "batch_size" else text
    if not any(item.partition(":")[0].strip() == "potential" for item in body.split(",")):
        return None
    if _depth(body) > MOST_NESTED:
        raise NotTrusted("cannot read the server's parameters: they are nested too deeply")
    try:
        return parse_spec(f"{{{body}}}")
    except ValueError as error:
        raise NotTrusted(f"cannot read the server's parameters: {error}") from None


def trusted(spec: Spec, allowed: Sequence[Path], folder: Path) -> Spec:
    """The SPEC with the real path of every file it names, if all of it may be loaded.

    Args:
        spec: from a server.
        allowed: folders, from `allowed_folders`.
        folder: what relative names are relative to.

    Raises:
        NotTrusted: something in it may not be.
    """
    return _Judge(allowed, folder).spec(spec)


def _depth(text: str) -> int:
    """How deeply brackets are nested."""
    depth = deepest = 0
    for char in text:
        depth = max(0, depth + (char in "[{(") - (char in "]})"))
        deepest = max(deepest, depth)
    return deepest


class _Judge:
    """Goes through a SPEC and everything in it."""

    def __init__(self, allowed: Sequence[Path], folder: Path) -> None:
        self.allowed, self.folder = list(allowed), folder

    def spec(self, spec: Spec) -> Spec:
        potential = spec.potential
        if potential in IMPORTING:
            raise NotTrusted(
                f"the server names the potential '{potential}', which imports what it is told: "
                "give it on the command line, with --potential"
            )
        if potential not in POTENTIALS:
            file, colon, name = potential.rpartition(":")
            if not (colon and file.endswith(".py")):
                raise NotTrusted(
                    f"the server names '{potential}', which is no potential of pimd: a class in "
                    "an installed module must be given on the command line, with --potential"
                )
            potential = f"{self.file(file)}:{name}"
        own = potential not in POTENTIALS
        options = {key: self.option(key, value, own) for key, value in spec.options.items()}
        return Spec(potential, options)

    def option(self, key: str, value: Any, own: bool) -> Any:
        if isinstance(value, list):
            return [self.option(key, one, own) for one in value]
        if isinstance(value, Mapping):
            if key in NESTED or "potential" in value:
                return self.nested(dict(value))
            return {k: self.option(k, v, own) for k, v in value.items()}
        if not isinstance(value, str):
            return value
        if key in NESTED:
            return self.nested(value)
        names_file = key in PATH_OPTIONS or self.is_place(value, own)
        return str(self.file(value)) if names_file else value

    def nested(self, value: str | dict[str, Any]) -> dict[str, Any]:
        try:
            inner = parse_spec(value)
        except ValueError as error:
            raise NotTrusted(f"cannot read the server's parameters: {error}") from None
        judged = self.spec(inner)
        return {"potential": judged.potential, **judged.options}

    def is_place(self, text: str, own: bool) -> bool:
        """Whether a text where no file is expected could be one to whom it is given.

        A potential of the user's own (`own`) may open what it likes: there any file that exists.
        """
        if os.sep in text or "\0" in text or text.startswith("~") or text in (".", ".."):
            return True
        return own and bool(text) and os.path.lexists(self.folder / text)

    def file(self, name: str) -> Path:
        try:
            real = (self.folder / Path(name).expanduser()).resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise NotTrusted(
                f"the server names the file {name!r}, which cannot be read: {reason}"
            ) from None
        if not any(real.is_relative_to(folder) for folder in self.allowed):
            where = ", ".join(map(str, self.allowed)) or "none is"
            link = "" if str(real) == name else f" (really {real})"
            raise NotTrusted(
                f"the server names the file {name!r}{link}, which is in no folder that may be "
                f"loaded from (--allow-model-dir: {where})"
            )
        if not (real.is_file() or real.is_dir()):
            raise NotTrusted(f"the server names {name!r}, which is neither a file nor a folder")
        return real
