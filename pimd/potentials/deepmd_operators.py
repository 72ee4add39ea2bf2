"""The operators of DeePMD-kit's compiled library that its frozen models mention.

A model frozen with that library names its operators even where it never calls them: exchange of
ghosts between MPI ranks, and tables, which only compressed models use. Where DeePMD-kit is
installed and built for this torch its library is loaded, which takes nothing else of it into the
process; else the operators are declared without a body, so that the model can be loaded, and
calling one is an error.
"""

from __future__ import annotations

import configparser
import ctypes
import importlib.util
import re
from importlib import metadata
from pathlib import Path

import torch

__all__ = ["missing_operator", "provide"]

OPERATORS = {
    "border_op": (9, "", "Tensor[]"),
    "tabulate_fusion_se_a": (4, "int", "Tensor[]"),
    "tabulate_fusion_se_atten": (5, "int bool", "Tensor[]"),
    "tabulate_fusion_se_r": (3, "int", "Tensor[]"),
    "tabulate_fusion_se_t": (4, "int", "Tensor[]"),
    "tabulate_fusion_se_t_tebd": (4, "int", "Tensor[]"),
}
"""Name -> number of tensors it takes, what it takes then, and what it returns (DeePMD-kit 3.2)."""

_declared: dict[str, torch.library.Library] = {}  # an operator lasts as long as its library


def missing_operator(error: Exception) -> str | None:
    """The operator an error of torch is about; None: it is about something else."""
    found = re.search(r"deepmd::(\w+)", str(error))
    return found.group(1) if found else None


def provide(name: str) -> bool:
    """Load or declare an operator; whether anything was done about it."""
    if name in _declared or name not in OPERATORS:
        return False
    if not _declared and why_not_loaded() is None:
        return True
    n_tensors, others, result = OPERATORS[name]
    kinds = ["Tensor"] * n_tensors + others.split()
    arguments = ", ".join(f"{kind} x{k}" for k, kind in enumerate(kinds))
    library = torch.library.Library("deepmd", "FRAGMENT")
    library.define(f"{name}({arguments}) -> {result}")
    _declared[name] = library
    return True


def why_not_loaded() -> str | None:
    """Load the compiled library; None if it is there, else why not, in words."""
    spec = importlib.util.find_spec("deepmd")
    if spec is None or not spec.submodule_search_locations:
        return "DeePMD-kit is not installed: pip install 'pimd[deepmd]'"
    folder = Path(next(iter(spec.submodule_search_locations))) / "lib"
    libraries = sorted(folder.glob("*deepmd_op_pt.*"))
    if not libraries:
        return f"this DeePMD-kit has no compiled library in {folder}"
    config = configparser.ConfigParser()
    config.read(folder / "run_config.ini")
    built_for = config.get("CONFIG", "pt_version", fallback="")
    if built_for != torch.__version__.partition("+")[0]:
        return (
            f"DeePMD-kit here was built for torch {built_for or 'of another kind'}, this is torch "
            f"{torch.__version__}"
        )
    try:
        _load_mpi()
        torch.ops.load_library(libraries[0])
    except (OSError, RuntimeError) as error:
        return f"{libraries[0]} cannot be loaded: {str(error).splitlines()[0]}"
    return None


def _load_mpi() -> None:
    """The wheels of DeePMD-kit are linked to the MPI library of the package `mpich`, by no path."""
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.match("libmpi.so.*") or file.match("libmpi.*.dylib"):
            ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
            return
