"""The public methods for limits."""

from __future__ import annotations

from typing import Final

from .. import validate
from ..errors import InvalidArgumentError
from ..interface.limits import SharedLimits, StoreLimits
from ..model import Duration, LimitInfo
from .base import SharedFront, StoreFront

_NUMBER_MAX: Final = 10_000
_PERIOD_US_MAX: Final = 366 * 86_400_000_000


class SharedLimitsFront(SharedFront, SharedLimits):
    """The methods of ``SharedLimits``."""

    def set_limit(self, name: str, *, concurrency: int | None = None, rate: tuple[int, Duration] | None = None) -> None:
        name = validate.rule_name("name", name)
        if concurrency is None and rate is None:
            raise InvalidArgumentError("set_limit needs concurrency, rate, or both; remove_limit removes a limit")
        if concurrency is not None:
            validate.integer("concurrency", concurrency, 1, _NUMBER_MAX)
        claims, period_us = (None, None) if rate is None else _checked_rate(rate)
        self._backend.set_limit(name, concurrency=concurrency, rate=claims, period_us=period_us)

    def remove_limit(self, name: str) -> None:
        self._backend.remove_limit(validate.rule_name("name", name))


class StoreLimitsFront(StoreFront, StoreLimits):
    """The methods of ``StoreLimits``."""

    def list_limits(self) -> list[LimitInfo]:
        return self._backend.list_limits()


def _checked_rate(rate: object) -> tuple[int, int]:
    """Check a rate, and return the number of claims and the period in microseconds."""
    if not isinstance(rate, (tuple, list)) or len(rate) != 2:
        raise InvalidArgumentError(
            f"rate must be a pair of a number of claims and a period, not {validate.shown(rate)}"
        )
    claims = validate.integer("rate[0]", rate[0], 1, _NUMBER_MAX)
    period_us = validate.duration_us("rate[1]", rate[1])
    if not 0 < period_us <= _PERIOD_US_MAX:
        raise InvalidArgumentError(
            f"rate[1] must be a period of more than 0 s and at most 366 days, not {validate.shown(rate[1])}"
        )
    return claims, period_us
