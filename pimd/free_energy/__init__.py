"""Free-energy differences from energies of stored beads; knows nothing of i-PI or of any model."""
