"""The scan that uses the C core."""

from __future__ import annotations

from array import array

import apsw

from ..c_core import CCore, CScan
from .scanner import ScanStatements, checked_aging


class CoreScanner:
    """A ``Scanner`` that uses the C core."""

    __slots__ = ("_ready_ids", "close")

    def __init__(self, core: CCore, connection: apsw.Connection, statements: ScanStatements) -> None:
        scan = CScan(core, connection, statements.head, statements.range, statements.instance_state)
        self._ready_ids = scan.ready_ids
        self.close = scan.close

    def ready_ids(self, lanes: array[int], now: int, aging: int | None, limit: int, moving: bool) -> array[int]:
        return self._ready_ids(lanes, now, checked_aging(aging) or 0, limit, moving)
