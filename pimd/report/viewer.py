"""chemiscope in the page: its data set and its own code, compressed, without a network.

chemiscope (G. Fraux, R. K. Cersonsky and M. Ceriotti, J. Open Source Softw. 5, 2117 (2020); BSD
3-clause) is taken as it is installed; the browser unpacks it.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from pimd.potentials.base import PotentialError
from pimd.potentials.models import require
from pimd.report.chemiscope_data import atom_colour, dataset
from pimd.report.frames import Frames

__all__ = ["NoViewer", "Viewer", "viewer"]

SCRIPT = "sphinx/static/chemiscope.min.js"
NOTICES = "static/chemiscope-widget.mjs.LICENSE.txt"


class NoViewer(ValueError):
    """There is nothing to show the frames with; the message says what to install."""


@dataclass(frozen=True)
class Viewer:
    """What goes into the page.

    Attributes:
        script: chemiscope's code, gzip as base64.
        data: its data set, likewise.
        licences: of all that is in the code.
        version: of chemiscope.
        coloured_by: what colours the atoms; empty: their element.
    """

    script: str
    data: str
    licences: str
    version: str
    coloured_by: str


def viewer(frames: Frames, name: str) -> Viewer:
    """chemiscope with these frames.

    Raises:
        NoViewer: it is not installed, or not as it is expected.
    """
    try:
        require("chemiscope", "report")
    except PotentialError as error:
        raise NoViewer(str(error)) from error
    files, version = resources.files("chemiscope"), metadata.version("chemiscope")
    try:
        code, licences = (files / SCRIPT).read_bytes(), _licences(files)
    except OSError as error:
        raise NoViewer(
            f"chemiscope {version} lacks a file that is embedded ({error}): "
            "pip install 'pimd[report]' installs one that has it"
        ) from error
    data = json.dumps(dataset(frames, name), allow_nan=False, separators=(",", ":"))
    return Viewer(_packed(code), _packed(data.encode()), licences, version, atom_colour(frames))


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _licences(files: Any) -> str:
    """chemiscope's own licence and the notices of what its code is put together of."""
    own = [
        Path(str(file.locate())) for file in metadata.files("chemiscope") or []
        if file.name.startswith("LICENSE") and ".dist-info" in str(file)
    ]
    if not own:
        raise FileNotFoundError("LICENSE of chemiscope")
    notices = (files / NOTICES).read_text(encoding="utf-8")
    notices = re.sub(r"/\*! (?:\.{1,2}|\w+)/\S+ \*/\s*", "", notices)  # names of its own modules
    return f"{own[0].read_text(encoding='utf-8').strip()}\n\n{notices.strip()}\n"
