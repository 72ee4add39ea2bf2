"""The commands that work on what runs have written, one file each; no logic."""
