"""Read i-PI's XML input before i-PI does: forcefields, who serves them, the files it names.

Only what pimd needs is looked at; everything else is i-PI's business and passes through as it
is. The input handed to i-PI differs from the user's in three ways: file names are absolute, the
`<parameters>` of a socket hold the potential that serves it (with `member_forces` where an
`<ffcommittee>` around it reads them), and `total_steps` where it was asked for on the command
line.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

from pimd.ipi.committees import spec_in_committee
from pimd.potentials.registry import POTENTIALS, Spec, parse_spec, split_name
from pimd.structure import PotentialError

__all__ = ["InputError", "InputFile", "SocketForcefield", "read_input"]

SOCKET_TAGS = ("ffsocket", "ffcavphsocket")
FILE_MODES = ("xyz", "pdb", "chk", "ase")
FILE_TAGS = ("pes_path", "plumed_dat", "sGDML_model", "yaffpara", "yaffsys", "yaffconf")


class InputError(ValueError):
    """The XML input cannot be run; the message says what to change."""


@dataclass
class SocketForcefield:
    """One `<ffsocket>`: its name and the potential that serves it.

    Attributes:
        name: the forcefield's name in the XML.
        spec: the potential, None where the XML names none.
        element: the XML element, edited in place.
        committee: the `<ffcommittee>` around it, if there is one.
    """

    name: str
    spec: Spec | None
    element: ET.Element
    committee: ET.Element | None = None

    def child_text(self, tag: str, default: str = "") -> str:
        child = self.element.find(tag)
        return default if child is None else (child.text or "").strip()


@dataclass
class InputFile:
    """An i-PI XML input, parsed.

    Attributes:
        path: the file it came from.
        root: the `<simulation>` element.
        sockets: the socket forcefields, at any depth, in the order of the file.
    """

    path: Path
    root: ET.Element
    sockets: list[SocketForcefield] = field(default_factory=list)

    @property
    def total_steps(self) -> int:
        """Steps the run ends at; i-PI's default is 1000."""
        return _int(self.root, "total_steps", 1000)

    @total_steps.setter
    def total_steps(self, steps: int) -> None:
        element = self.root.find("total_steps")
        if element is None:
            element = ET.SubElement(self.root, "total_steps")
        element.text = f" {steps} "

    @property
    def step(self) -> int:
        """The step the input starts from: 0, or where a RESTART stands."""
        return _int(self.root, "step", 0)

    def set_potentials(self, assignments: list[str]) -> None:
        """Apply `--potential` arguments: `NAME=SPEC`, or a bare SPEC for sockets without one.

        Raises:
            InputError: for a name that is no socket forcefield, or nothing left to assign.
        """
        names = [socket.name for socket in self.sockets]
        for text in assignments:
            name, spec_text = split_name(text)
            if name:
                if name not in names:
                    raise InputError(
                        f"--potential {text}: there is no socket forcefield '{name}' in "
                        f"{self.path.name}; it has {', '.join(names) or 'none'}"
                    )
                targets = [s for s in self.sockets if s.name == name]
            else:
                targets = [s for s in self.sockets if s.spec is None]
                targets = targets or (self.sockets if len(self.sockets) == 1 else [])
                if not targets:
                    raise InputError(
                        f"--potential {text}: every socket forcefield already has a potential; "
                        f"say which one to replace, as NAME={text} with NAME one of "
                        f"{', '.join(names)}"
                    )
            spec = parse_spec(spec_text).resolved(Path.cwd())
            for socket in targets:
                _assign(socket, spec)

    def check_served(self) -> None:
        """Raise InputError where a socket has no potential, saying what to add."""
        missing = [socket for socket in self.sockets if socket.spec is None]
        if not missing:
            return
        name = missing[0].name
        raise InputError(
            f"{self.path}: nothing says what evaluates the forces of <ffsocket name='{name}'>.\n"
            f"Add to that forcefield, for example,\n"
            f"    <parameters> {{potential: qtip4pf}} </parameters>\n"
            f"or give it on the command line:\n"
            f"    pimd run {self.path.name} --potential {name}=qtip4pf\n"
            f"Potentials: {', '.join(POTENTIALS)}."
        )

    def xml(self) -> str:
        """The input as handed to i-PI."""
        return ET.tostring(self.root, encoding="unicode") + "\n"


def read_input(path: Path) -> InputFile:
    """Parse an i-PI XML input and make the files it names absolute.

    Raises:
        InputError: if it is no i-PI XML, or a potential in it cannot be read.
    """
    path = Path(path)
    try:
        root = ET.parse(path).getroot()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give the XML input in it") from None
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not well-formed XML: {error}") from None
    if root.tag != "simulation":
        raise InputError(
            f"{path}: the outermost element is <{root.tag}>; an i-PI input is a <simulation>"
        )
    folder = path.resolve().parent
    _resolve_files(root, folder)
    document = InputFile(path=path, root=root)
    committees = {element: whole for whole in root.iter("ffcommittee") for element in whole.iter()}
    for number, element in enumerate(e for e in root.iter() if e.tag in SOCKET_TAGS):
        name = element.get("name", "").strip() or f"socket{number}"
        socket = SocketForcefield(name, None, element, committees.get(element))
        parameters = element.find("parameters")
        text = "" if parameters is None else (parameters.text or "").strip()
        if _is_spec(text):
            try:
                _assign(socket, parse_spec(text).resolved(folder))
            except PotentialError as error:
                raise InputError(f"{path}: forcefield '{name}': {error}") from None
        document.sockets.append(socket)
    return document


def _is_spec(text: str) -> bool:
    """Whether parameters speak to pimd: they hold a `potential` key, or are a bare name."""
    body = text.strip().lstrip("{")
    return body.split(":")[0].strip() == "potential" or "potential:" in body.replace(" ", "")


def _assign(socket: SocketForcefield, spec: Spec) -> None:
    socket.spec = spec = spec_in_committee(spec, socket.committee)
    parameters = socket.element.find("parameters")
    if parameters is None:
        parameters = ET.SubElement(socket.element, "parameters")
    parameters.text = f" {spec.in_xml()} "


def _resolve_files(root: ET.Element, folder: Path) -> None:
    """Make the files that i-PI will open absolute, where they exist beside the input."""
    for element in root.iter():
        names_file = element.get("mode", "") in FILE_MODES or element.tag in FILE_TAGS
        if names_file and len(element) == 0 and element.text:
            element.text = f" {_absolute(element.text.strip(), folder)} "
        elif element.tag == "parameters" and element.text and not _is_spec(element.text):
            body = element.text.strip()
            if body.startswith("{") and body.endswith("}"):
                items = [item.partition(":") for item in body[1:-1].split(",")]
                joined = ", ".join(
                    f"{k.strip()}{c} {_absolute(v.strip(), folder)}" for k, c, v in items if k
                )
                element.text = " {" + joined + "} "


def _absolute(name: str, folder: Path) -> str:
    path = folder / name
    return str(path) if name and path.is_file() else name


def _int(root: ET.Element, tag: str, default: int) -> int:
    element = root.find(tag)
    if element is None or not (element.text or "").strip():
        return default
    try:
        return int(float((element.text or "").strip()))
    except ValueError:
        raise InputError(f"<{tag}> is '{element.text}', expected a whole number") from None
