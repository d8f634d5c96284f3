"""The search for claimable tasks that have a limit. Both scanners use this search, and merge its result with theirs."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator

import apsw

from ..codes import CLAIMED_SIDE, QUEUE_MIN, InstanceCode
from ..database import Database
from ..lanes import Kinds, Tags
from ..limits import capacity, wanted_heads
from ..rows import TaskPosition
from ..scan.scanner import WEIGHT_WITHOUT_AGING
from ..statements import sql
from . import control

# The largest number of heads, or of tasks of one queue, that one statement reads.
_BLOCK_MAX = 256
_BEFORE_ALL = -(1 << 62)
# A head or a task: rank, id of the task (0 for a head), side, priority, next_at.
_Entry = tuple[int, int, int, int, int]


def with_limited(
    db: Database,
    ids: array[int],
    tags: Tags,
    kinds: Kinds,
    limit: int,
    limited: int,
    aging: int | None,
    *,
    moving: bool,
    expiring: bool,
) -> array[int]:
    """Return the ids of the tasks that can be claimed together, in order: the tasks without a limit, which are already
    found, and tasks with a limit. ``limited``: the largest number of tasks with a limit. ``expiring``:
    true if some expired tasks are not cancelled yet."""
    lanes = db.lanes.select_limited(tags, kinds)
    if not lanes:
        return ids
    db.limits.flush(db)
    search = _Search(db, lanes, WEIGHT_WITHOUT_AGING if aging is None else aging, limited, moving, expiring)
    if moving:
        search.add_strays(tags, kinds)
    found = search.run()
    if not found or not ids:
        return array("q", [id for _, id in found]) if found else ids
    others = [search.ranked(task) for task in db.rows(sql.positions, apsw.carray(ids))]
    return array("q", [id for _, id in sorted(others + found)[:limit]])


class _Search:
    """One search. A heap has the first entry of each stream. There is one stream for the heads of each lane and
    priority, and one for the tasks of each queue and priority whose head was taken."""

    def __init__(self, db: Database, lanes: array[int], weight: int, limit: int, moving: bool, expiring: bool) -> None:
        self._db = db
        self._weight = weight
        self._limit = limit
        self._moving = moving
        self._expiring = expiring
        self._free: dict[int, int] = {}  # the free slots of each partition
        self._heap: list[tuple[_Entry, int, Iterator[_Entry]]] = []
        self._streams = 0
        for lane in lanes:
            for priority in range(1, 6):
                self._add(self._heads(lane, priority))
        # The sweep has checked these partitions, unless the store is read-only.
        self._unchecked = {partition for (partition,) in db.rows(sql.partitions_to_check, db.time.now, -1)}
        for partition in self._unchecked:
            for side, priority, next_at, lane in wanted_heads(db, partition):
                if lane in lanes and next_at <= db.time.now:
                    self._add(self._tasks(side, priority, next_at - 1))

    def ranked(self, task: TaskPosition) -> tuple[int, int]:
        """Return the rank and the id of a task, by which tasks are sorted."""
        return task.priority * self._weight + task.next_at, task.id

    def _add(self, entries: Iterator[_Entry]) -> None:
        """Add a stream to the heap."""
        first = next(entries, None)
        if first is not None:
            self._streams += 1
            heapq.heappush(self._heap, (first, self._streams, entries))

    def add_strays(self, tags: Tags, kinds: Kinds) -> None:
        """Add the tasks of resumed instances that are still on the paused sides of their queues."""
        strays = [
            (*self.ranked(TaskPosition(stray.id, stray.priority, stray.next_at)), -stray.lane, stray.priority, 0)
            for stray in control.strays(self._db)
            if abs(stray.lane) & QUEUE_MIN and self._db.lanes.admits(self._db, stray.lane, tags, kinds)
        ]
        self._add(iter(sorted(strays)))

    def run(self) -> list[tuple[int, int]]:
        """Return the ranks and ids of the tasks, in order."""
        chosen: list[tuple[int, int]] = []
        heap = self._heap
        while heap and len(chosen) < self._limit:
            (rank, id, side, priority, next_at), _, entries = heap[0]
            partition = self._db.lanes.partition_of(self._db, side)
            if id and self._free_slots(partition) and self._may_run(id):
                chosen.append((rank, id))
                self._free[partition] -= 1
            # A full partition's tasks need not be read. A stream of heads or strays has several partitions.
            following = next(entries, None) if not id or self._free[partition] or next_at == 0 else None
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (following, _, entries))
            if not id and partition not in self._unchecked and self._free_slots(partition):
                self._add(self._tasks(side, priority, next_at - 1))
        return chosen

    def _free_slots(self, partition: int) -> int:
        free = self._free.get(partition)
        if free is None:
            free = self._free[partition] = capacity(self._db, partition).free
        return free

    def _may_run(self, id: int) -> bool:
        if self._expiring and self._db.rows(sql.expired_among, apsw.carray(array("q", [id])), self._db.time.wall):
            return False
        return not self._moving or self._db.value(sql.scan_instance_state, id) == InstanceCode.IN_PROGRESS

    def _heads(self, lane: int, priority: int) -> Iterator[_Entry]:
        next_at, side, size = _BEFORE_ALL, 0, min(self._limit, _BLOCK_MAX)
        while True:
            rows = self._db.rows(sql.heads_page, lane, priority, next_at, side, self._db.time.now, size)
            for next_at, side in rows:
                yield priority * self._weight + next_at, 0, side, priority, next_at
            if len(rows) < size:
                return
            size = _BLOCK_MAX

    def _tasks(self, side: int, priority: int, next_at: int) -> Iterator[_Entry]:
        id, size = 0, min(self._limit, _BLOCK_MAX)
        while True:
            rows = self._db.rows(sql.scan_range, side, priority, next_at, id, self._db.time.now, size)
            for _, next_at, id in rows:
                yield priority * self._weight + next_at, id, side % CLAIMED_SIDE, priority, next_at
            if len(rows) < size:
                return
            size = _BLOCK_MAX
