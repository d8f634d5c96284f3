"""The public methods that set and read the aging interval."""

from __future__ import annotations

from .. import validate
from ..errors import InvalidArgumentError
from ..interface.aging import SharedAging, StoreAging
from ..model import Duration
from .base import SharedFront, StoreFront


class SharedAgingFront(SharedFront, SharedAging):
    """The methods of ``SharedAging``."""

    def set_aging_interval(self, interval: Duration | None) -> None:
        aging_us = None if interval is None else validate.duration_us("interval", interval)
        if aging_us == 0:
            raise InvalidArgumentError("interval must be more than 0 s, or None for no aging")
        self._backend.set_aging_interval(aging_us)


class StoreAgingFront(StoreFront, StoreAging):
    """The methods of ``StoreAging``."""

    @property
    def aging_interval(self) -> float | None:
        aging_us = self._backend.aging_us()
        return None if aging_us is None else aging_us / 1e6
