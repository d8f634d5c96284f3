"""Sort the cases of a parametrized test into tiers: `make test` runs only the first case, and `make check` runs all
cases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first_is_fast(cases: Iterable[Any]) -> list[Any]:
    """Mark all cases except the first as slow. If a case is a tuple, its items are the values of several arguments."""
    first, *others = cases
    return [first, *(pytest.param(*_values(case), marks=pytest.mark.slow) for case in others)]


def _values(case: Any) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)
