"""Runs the steps of a long operation."""

from __future__ import annotations

import time

from ..backend import Steps

# Longest pause after a step of a long operation. Up to this limit, the pause is as long as the step, so that other
# processes can write.
_PAUSE_S_MAX = 0.02


def take(steps: Steps) -> None:
    """Run the steps of a long operation, with pauses in which other processes can write."""
    began = time.monotonic()
    for _ in steps:
        time.sleep(min(time.monotonic() - began, _PAUSE_S_MAX))
        began = time.monotonic()
