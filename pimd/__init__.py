"""Path-integral driver for i-PI: all beads of a machine-learning potential in one batch.

The way of the data, and of the folders:

    ipi/          i-PI's inputs, i-PI in this process, extensions of it
    run/          `pimd run`: a run directory, daemons, progress, a summary
    daemon/       from bytes to replies; knows nothing of any model
    evaluator.py  batch -> neighbour list -> potential -> checked numbers
    potentials/   from structures to energies, forces, virials
    record/       what a run left behind, as arrays with units
    relabel/      energies of stored beads under another potential
    analysis/     averages with errors, uncertainty of committees, distributions, spectra
    free_energy/  perturbation, integration over ladders of runs, isotopes, electrons
    results/      what an analysis gives back; report/ puts a run on one page
    commands/     the commands of `pimd` that read what runs have written
    training/     Behler-Parrinello committees from labels
    dynamics/     Nosé-Hoover chains and a reference integrator, to read and to test with

Inside are eV, Å, fs, amu and cells as rows; atomic units only in `daemon` and `ipi`.
"""

from typing import TYPE_CHECKING

from pimd.record import open_run
from pimd.relabel import relabel

__all__ = ["__version__", "open_run", "relabel"]

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """The version, looked up when asked for: that takes longer than everything else here."""
        if name == "__version__":
            from importlib import metadata

            return metadata.version("pimd")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
