"""Free-energy differences: estimators from energies of stored beads, and what runs and reads runs.

The estimators (`perturbation`, `states`, `integration`, `isotopes`, `electronic`) know nothing of
i-PI or of any model; ladders of runs (`ladder_*`) and the records of runs come on top of them.
"""
