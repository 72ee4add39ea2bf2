"""What cannot be relabelled."""

from __future__ import annotations

__all__ = ["RelabelError"]


class RelabelError(ValueError):
    """Beads cannot be evaluated, or not be kept; the message says which, and what to do."""
