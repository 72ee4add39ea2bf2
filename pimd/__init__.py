"""Path-integral driver for i-PI: all beads of a machine-learning potential in one batch.

The way of the data, and of the folders:

    ipi/          i-PI's inputs, i-PI in this process, extensions of it
    run/          `pimd run`: a run directory, daemons, progress, a summary
    daemon/       from bytes to replies; knows nothing of any model
    evaluator.py  batch -> neighbour list -> potential -> checked numbers
    potentials/   from structures to energies, forces, virials

Inside are eV, Å, fs, amu and cells as rows; atomic units only in `daemon` and `ipi`.
"""
