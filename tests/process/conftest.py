"""Shared fixtures of the tests with real processes."""

from __future__ import annotations

from .children import start

__all__ = ["start"]
