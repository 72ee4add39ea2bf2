"""Dynamics in plain numpy: Nosé-Hoover chains, and integrators to teach and to test with."""
