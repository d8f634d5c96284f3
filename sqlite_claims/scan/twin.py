"""The scan in Python, for where the C core is not installed. Same SQL, same reads, same answers.

``csrc/scan.c`` explains the merge. Here a stream is a generator of (place, id), ``heapq`` merges them, and every
statement is finished by ``fetchall`` before its rows are used.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import islice
from typing import Any

import apsw

from .scanner import ScanStatements, checked_aging

BLOCK_MAX = 64
WEIGHT_WITHOUT_AGING = 1 << 64

Row = tuple[int, int, int]  # priority, next_at, id
Place = tuple[int, int]  # place in the order, id


class TwinScanner:
    """A ``Scanner`` that needs nothing but apsw."""

    __slots__ = ("_connection", "_statements")

    def __init__(self, connection: apsw.Connection, statements: ScanStatements) -> None:
        self._connection: apsw.Connection | None = connection
        self._statements = statements

    def ready_ids(self, lanes: array[int], now: int, aging: int | None, limit: int, moving: bool) -> array[int]:
        checked_aging(aging)
        found: array[int] = array("q")
        if self._connection is None:
            raise apsw.ConnectionClosedError("the scanner is closed")
        if not lanes or limit <= 0:
            return found
        share = min(max(limit // len(lanes), 1), BLOCK_MAX)
        question = _Question(self._connection, self._statements, now, aging, share)
        ids = (id for _, id in merge(*(stream for lane in lanes for stream in question.streams(lane))))
        if moving:
            ids = (id for id in ids if question.may_run(id))
        found.extend(islice(ids, limit))
        return found

    def close(self) -> None:
        self._connection = None


class _Question:
    """What one call asks, and the reads that answer it."""

    __slots__ = ("_aging", "_execute", "_now", "_share", "_statements")

    def __init__(
        self, connection: apsw.Connection, statements: ScanStatements, now: int, aging: int | None, share: int
    ) -> None:
        self._execute: Callable[..., Any] = connection.execute
        self._statements = statements
        self._now = now
        self._aging = aging
        self._share = share  # rows that a stream reads first: the limit, if all lanes gave alike

    def streams(self, lane: int) -> Iterator[Iterator[Place]]:
        """Without aging a lane is one stream; with it, each of its priorities is."""
        priority = 0
        while head := self._head(lane, priority):
            yield self._stream(lane, *head)
            if self._aging is None:
                return
            priority = head[0][0][0]

    def _head(self, lane: int, beyond: int) -> tuple[list[Row], bool] | None:
        """The first due rows of the lane's next priority that has any, and whether it may have more."""
        while rows := self._execute(self._statements.head, (lane, beyond, self._share)).fetchall():
            beyond = rows[0][0]
            due = [row for row in rows if row[0] == beyond and row[1] <= self._now]
            if due:
                return due, len(due) == self._share
        return None

    def _stream(self, lane: int, rows: list[Row], more: bool) -> Iterator[Place]:
        weight = self._aging or WEIGHT_WITHOUT_AGING
        priority, taken = rows[0][0], 0
        while True:
            for _, next_at, id in rows:
                yield priority * weight + next_at, id
            if more:
                taken += len(rows)
                rows, more = self._block(lane, rows[-1], min(max(taken, self._share), BLOCK_MAX))
            elif self._aging is None and (head := self._head(lane, priority)):
                rows, more = head
                priority = rows[0][0]
            else:
                return

    def _block(self, lane: int, last: Row, length: int) -> tuple[list[Row], bool]:
        """The rows after this one in its priority, and whether there may be more."""
        priority, next_at, id = last
        rows = self._execute(self._statements.range, (lane, priority, next_at, id, self._now, length)).fetchall()
        return rows, len(rows) == length

    def may_run(self, id: int) -> bool:
        """Whether the task's instance is in progress."""
        rows: list[tuple[int]] = self._execute(self._statements.instance_state, (id,)).fetchall()
        return rows == [(0,)]
