"""The scan in Python, used if the C core is not installed. This scan runs the same SQL as the scan in C, and returns
the same results.

``csrc/scan.c`` explains the merge. A stream is a generator of (position, id), and ``heapq`` merges the streams. All
streams share one cursor, which costs a quarter less time than ``Connection.execute``. So the scan reads all rows of a
statement with ``fetchall`` before it runs the next statement.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import islice
from typing import Any

import apsw

from ..codes import InstanceCode
from .scanner import WEIGHT_WITHOUT_AGING, ScanStatements, checked_aging

BLOCK_MAX = 64
# A damaged index may return rows out of order. Then the scan raises an error, because otherwise the scan might never
# end.
_OUT_OF_ORDER = "the rows of the index claims_task_next are out of order"

Row = tuple[int, int, int]  # priority, next_at, id
Block = tuple[list[Row], bool]  # rows of one priority, and whether the priority may have more rows
Position = tuple[int, int]  # a task's priority * weight + next_at, and its id


class PyScanner:
    """A ``Scanner`` in Python."""

    __slots__ = ("_cursor", "_statements")

    def __init__(self, connection: apsw.Connection, statements: ScanStatements) -> None:
        self._cursor: apsw.Cursor | None = connection.cursor()
        self._statements = statements

    def ready_ids(self, lanes: array[int], now: int, aging: int | None, limit: int, moving: bool) -> array[int]:
        checked_aging(aging)
        if self._cursor is None:
            raise apsw.ConnectionClosedError("the scanner is closed")
        if not lanes or limit <= 0:
            return array("q")
        share = min(max(limit // len(lanes), 1), BLOCK_MAX)
        scan = _Scan(self._cursor, self._statements, now, aging, share)
        try:
            ids = (id for _, id in merge(*scan.streams(lanes)))
            if moving:
                ids = (id for id in ids if scan.may_run(id))
            return array("q", islice(ids, limit))
        except BaseException:
            # An unfinished statement would keep the read transaction open, and the connection could not write
            # afterwards.
            connection = self._cursor.connection
            self._cursor.close(True)
            self._cursor = connection.cursor()
            raise

    def close(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None


class _Scan:
    """The arguments of one call, and the methods that read the index."""

    __slots__ = ("_aging", "_execute", "_now", "_share", "_statements", "_weight")

    def __init__(
        self, cursor: apsw.Cursor, statements: ScanStatements, now: int, aging: int | None, share: int
    ) -> None:
        self._execute: Callable[..., Any] = cursor.execute
        self._statements = statements
        self._now = now
        self._aging = aging is not None
        self._weight = WEIGHT_WITHOUT_AGING if aging is None else aging
        self._share = share  # number of rows in a stream's first block: the limit divided by the number of lanes

    def streams(self, lanes: array[int]) -> list[Iterator[Position]]:
        """Return the streams: one stream for each lane or, with aging, one stream for each priority of a lane."""
        streams = []
        for lane in lanes:
            block = self._head(lane, 0)
            while block is not None:
                streams.append(self._stream(lane, *block))
                block = self._head(lane, block[0][0][0]) if self._aging else None
        return streams

    def _stream(self, lane: int, rows: list[Row], more: bool) -> Iterator[Position]:
        taken = 0
        while True:
            for priority, next_at, id in rows:
                yield priority * self._weight + next_at, id
            block = None
            if more:
                taken += len(rows)
                block = self._block(lane, rows[-1], min(max(taken, self._share), BLOCK_MAX))
            if block is None and not self._aging:
                block = self._head(lane, rows[-1][0])
            if block is None:
                return
            rows, more = block

    def _head(self, lane: int, beyond: int) -> Block | None:
        """Return the first due rows of the lane, from the next priority after ``beyond`` that has due rows."""
        while rows := self._execute(self._statements.head, (lane, beyond, self._share)).fetchall():
            if rows[0][0] <= beyond:
                raise apsw.CorruptError(_OUT_OF_ORDER)
            beyond = rows[0][0]
            if rows[-1][0] != beyond or rows[-1][1] > self._now:
                rows = [row for row in rows if row[0] == beyond and row[1] <= self._now]
            if rows:
                return rows, len(rows) == self._share
        return None

    def _block(self, lane: int, last: Row, length: int) -> Block | None:
        """Return the due rows that follow the row ``last`` within the same priority."""
        priority, next_at, id = last
        rows = self._execute(self._statements.range, (lane, priority, next_at, id, self._now, length)).fetchall()
        if rows and rows[-1] <= last:
            raise apsw.CorruptError(_OUT_OF_ORDER)
        return (rows, len(rows) == length) if rows else None

    def may_run(self, id: int) -> bool:
        """Return whether the task's instance is in progress."""
        rows: list[tuple[int]] = self._execute(self._statements.instance_state, (id,)).fetchall()
        return rows == [(InstanceCode.IN_PROGRESS,)]
