"""What the tests of real processes share."""

from __future__ import annotations

from .children import start

__all__ = ["start"]
