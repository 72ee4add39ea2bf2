"""From what a run wrote to averages with error bars; knows nothing of i-PI or of any model."""
