"""Sampled quantities against exact references."""
