"""Lanes: one shared lane for each combination of a kind and a set of tags, and own lanes of large instances.

A worker's kinds and tags select the lanes from which the worker claims tasks.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from ..errors import StoreCorruptError
from ..validate import shown
from .codes import CLAIMED_SIDE, HAS_OPTIONS, IS_LIMITED, NEVER, QUEUE_MIN, InstanceCode
from .statements import Row, Statement, sql

T = TypeVar("T")

Kinds = frozenset[str] | None
Tags = tuple[str, ...]
# The largest number of cached queues.
_QUEUES_MAX = 10_000
# The largest number of cached selections. A program has few workers with different tags and kinds.
_SELECTIONS_MAX = 256
# The largest number of own lanes of instances that are in progress or paused. Each own lane adds about 2 µs to every
# search for work.
OWN_MAX = 32
# Above this number of lanes, a search for work first reads from the index which lanes have tasks. (Each lane counts
# twice, because its claimed side is counted, too.) This read costs about 1 µs for each lane with tasks, and saves 1 µs
# for each lane without tasks.
MANY = 32
# The number of searches that don't read which lanes have tasks, after a search has found tasks in more than an eighth
# of the lanes.
CROWDED_SEARCHES = 16


def _stored_tags(path: str, id: int, text: str) -> Tags:
    try:
        tags = json.loads(text)
        if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
            return tuple(tags)
    except (ValueError, RecursionError):
        pass
    raise StoreCorruptError(f"{path}: claims_lanes row {id}: tags is {shown(text)}")


class Lane(NamedTuple):
    """The properties of a lane. ``traits``: see ``claims_lanes.traits``."""

    kind: str
    tags: Tags
    traits: int


class Queue(NamedTuple):
    """The queue of a partition's tasks in one lane."""

    lane: int
    partition: int


class Executor(Protocol):
    """An object that runs statements on the store's connection."""

    path: str

    @property
    def execute(self) -> Callable[..., Any]:
        """The function that runs a statement with a sequence of bindings."""

    @property
    def executemany(self) -> Callable[..., Any]:
        """The function that runs a statement with each of several sequences of bindings."""

    def rows(self, statement: Statement[Row], *bindings: Any) -> list[Row]:
        """Run a statement, and return all its rows."""

    def value(self, statement: Statement[tuple[T]], *bindings: Any) -> T:
        """Run a statement, and return the first column of its first row."""


class Lanes:
    """A cache of the lanes in the file. The cache is reloaded whenever ``lanes_version`` in the file has changed."""

    def __init__(self) -> None:
        self._version = -1  # the version of the cached lanes; -1: reload
        self._newest = 0  # the largest id of a cached lane
        self.are_many = False
        self._skipped_searches = 0  # number of next searches that don't read which lanes have tasks
        self._by_id: dict[int, Lane] = {}
        # Plain tuples of kind, tags and traits by claims_tasks.lane, on any side. Python unpacks these tuples faster.
        self._by_column: dict[int, tuple[str, Tags, int]] = {}
        self._queues: dict[int, Queue] = {}
        self._ids: dict[tuple[int, Lane], int] = {}  # lane ids by instance (0 for a shared lane) and lane
        self._closed: set[int] = set()  # own lanes of instances that are not in progress
        self._own = 0  # number of own lanes of instances that are in progress or paused
        self._selected: dict[tuple[Tags, Kinds], array[int]] = {}
        self._selected_limited: dict[tuple[Tags, Kinds], array[int]] = {}
        self.any_limited = False
        """True if any lane contains tasks with a limit."""
        self.any_options = False
        """True if any lane contains tasks with options."""
        self._unsaved = False

    def saved(self) -> None:
        """Mark the changes of the cache as saved, because the transaction was committed."""
        self._unsaved = False

    def forget(self) -> None:
        """Empty the cache if the cache has uncommitted changes, because the transaction, or a part of it, was rolled
        back."""
        if self._unsaved:
            self.__init__()  # type: ignore[misc]
            self._unsaved = True  # the rest of the transaction may be rolled back, too

    def refresh(self, db: Executor, version: int) -> None:
        """Reload the cache if the cached version differs from ``version``, the version in the file."""
        if version == self._version:
            return
        if self._version >= 0:
            # Each new shared lane raises the version by one. If all new lanes are shared lanes, the cached lanes are
            # still correct.
            rows = db.rows(sql.lanes, self._newest)
            if len(rows) == version - self._version and not any(row.instance for row in rows):
                for row in rows:
                    self._learn(row.id, 0, Lane(row.kind, _stored_tags(db.path, row.id, row.tags), row.traits))
                self._version = version
                return
        unsaved = self._unsaved
        self.__init__()  # type: ignore[misc]
        self._unsaved = unsaved
        for row in db.rows(sql.lanes, 0):
            self._learn(row.id, row.instance, Lane(row.kind, _stored_tags(db.path, row.id, row.tags), row.traits))
            if row.instance and row.instance_state != InstanceCode.IN_PROGRESS:
                self._closed.add(row.id)
            self._own += row.instance_state in (InstanceCode.IN_PROGRESS, InstanceCode.PAUSED)
        self._version = version

    def _learn(self, id: int, instance: int, lane: Lane) -> None:
        self._by_id[id] = lane
        self._ids[instance, lane] = id
        self._newest = max(self._newest, id)
        self.are_many = 2 * len(self._by_id) > MANY
        if lane.traits & HAS_OPTIONS:
            self.any_options = True
        if lane.traits & IS_LIMITED:
            self.any_limited = True
            self._selected_limited.clear()
            return
        for (own, kinds), selected in self._selected.items():
            if self._admits(id, own, kinds):
                self._selected[own, kinds] = selected + array("q", (id, id + CLAIMED_SIDE))

    def select(self, tags: Tags, kinds: Kinds) -> array[int]:
        """Return the lanes, and their claimed sides, whose tasks a worker with these tags and kinds may claim now."""
        lanes = self._selected.get((tags, kinds))
        if lanes is None:
            lanes = array("q")
            for id, lane in self._by_id.items():
                if not lane.traits & IS_LIMITED and self._admits(id, tags, kinds):
                    lanes.extend((id, id + CLAIMED_SIDE))
            if len(self._selected) >= _SELECTIONS_MAX:
                self._selected.clear()
            self._selected[tags, kinds] = lanes
        return lanes

    def select_limited(self, tags: Tags, kinds: Kinds) -> array[int]:
        """Return the lanes of tasks with a limit that a worker with these tags and kinds may claim now. The tasks are
        in the queues of these lanes."""
        lanes = self._selected_limited.get((tags, kinds))
        if lanes is None:
            limited = (id for id, lane in self._by_id.items() if lane.traits & IS_LIMITED)
            lanes = array("q", (id for id in limited if self._admits(id, tags, kinds)))
            if len(self._selected_limited) >= _SELECTIONS_MAX:
                self._selected_limited.clear()
            self._selected_limited[tags, kinds] = lanes
        return lanes

    def admits(self, db: Executor, column: int, tags: Tags, kinds: Kinds) -> bool:
        """Return whether a worker with these tags and kinds may claim tasks with this ``claims_tasks.lane``."""
        return self._admits(self.lane_id(db, column), tags, kinds)

    def _admits(self, id: int, tags: Tags, kinds: Kinds) -> bool:
        kind, wanted, _ = self._by_id[id]
        return (
            (kinds is None or kind in kinds) and (not tags or set(tags).issuperset(wanted)) and id not in self._closed
        )

    def to_visit(self, db: Executor, tags: Tags, kinds: Kinds, *, paused: bool) -> array[int]:
        """Return the lanes that ``select`` returns. If ``select`` returns more than ``MANY`` lanes, return only the
        lanes that have tasks.

        ``paused``: include the paused sides.
        """
        selected = self.select(tags, kinds)
        if len(selected) > MANY:
            self._skipped_searches -= 1
            if self._skipped_searches < 0:
                few = len(selected) // 8
                rows = db.rows(sql.lanes_with_rows, -NEVER if paused else 0, few)
                if len(rows) < few:
                    used = (lane for (lane,) in rows if abs(lane) % CLAIMED_SIDE < QUEUE_MIN)
                    return array("q", [lane for lane in used if self._admits(abs(lane) % CLAIMED_SIDE, tags, kinds)])
                self._skipped_searches = CROWDED_SEARCHES
        return selected + array("q", [-lane for lane in selected]) if paused else selected

    def lane_of(self, db: Executor, column: int) -> tuple[str, Tags, int]:
        """Return the kind, tags and traits of the tasks with this ``claims_tasks.lane``."""
        cached = self._by_column.get(column)
        if cached is None:
            lane = self.lane_id(db, column)
            if lane not in self._by_id:
                self._version = -1
                self.refresh(db, db.value(sql.lanes_version))
            kind, tags, traits = self._by_id[lane]
            cached = kind, tags, traits
            if abs(column) % CLAIMED_SIDE < QUEUE_MIN:
                self._by_column[column] = cached
        return cached

    def lane_id(self, db: Executor, column: int) -> int:
        """Return the id of the lane of the tasks with this ``claims_tasks.lane``."""
        id = abs(column) % CLAIMED_SIDE
        return id if id < QUEUE_MIN else self.queue(db, id).lane

    def queue(self, db: Executor, id: int) -> Queue:
        """Return a queue. ``id``: the id of the queue, not of one of its sides."""
        cached = self._queues.get(id)
        if cached is None:
            if len(self._queues) >= _QUEUES_MAX:
                self._queues.clear()
            cached = self._queues[id] = Queue(*db.rows(sql.queue, id)[0])
        return cached

    def partition_of(self, db: Executor, column: int) -> int:
        """Return the partition of the tasks with a limit that have this ``claims_tasks.lane``."""
        return self.queue(db, abs(column) % CLAIMED_SIDE).partition

    def intern_queue(self, db: Executor, partition: str, lane: int) -> int:
        """Return the id of the queue of a partition's tasks in a lane. Add the partition and the queue if necessary.
        The caller must hold the write lock.

        ``partition``: the ``limit`` of the tasks. ``lane``: the id of the lane.
        """
        rows = db.rows(sql.partition_id, partition)
        if not rows:
            rows = db.rows(sql.add_partition, partition)
            db.execute(sql.set_limited)
        queue = db.rows(sql.queue_id, rows[0][0], lane)
        if not queue:
            queue = db.rows(sql.add_queue, rows[0][0], lane)
            self._unsaved = True
        return queue[0][0]

    def intern(self, db: Executor, lane: Lane, instance: int) -> int:
        """Return the id of a lane. Add the lane if the lane doesn't exist. The caller must hold the write lock.

        The result is an own lane of ``instance``. If ``instance`` is 0, or if there are already ``OWN_MAX`` own lanes,
        the result is a shared lane.
        """
        self.refresh(db, db.value(sql.lanes_version))
        shared = self._ids.get((0, lane)) or self._add(db, 0, lane)
        if not instance:
            return shared
        id = self._ids.get((instance, lane))
        if id is None and self._own < OWN_MAX:
            id = self._add(db, instance, lane)
            self._version = -1  # the next refresh then reads whether the new lane is open
        return id or shared

    def _add(self, db: Executor, instance: int, lane: Lane) -> int:
        id = db.value(sql.add_lane, instance, lane.kind, json.dumps(lane.tags, separators=(",", ":")), lane.traits)
        db.execute(sql.lanes_changed)
        self._learn(id, instance, lane)
        self._version += 1
        self._unsaved = True
        return id

    def opened_or_closed(self, db: Executor, instance: int) -> None:
        """Make every process reload the lanes if the instance has own lanes. An own lane is open while its instance is
        in progress."""
        db.execute(sql.own_lanes_changed, (instance,))
        self._unsaved = True

    def dropped(self, db: Executor) -> None:
        """Make every process reload the lanes, because unused lanes were deleted."""
        db.execute(sql.lanes_changed)
        self._unsaved = True

    def drop_own(self, db: Executor, instance: int) -> None:
        """Delete the own lanes of an instance whose last task was deleted."""
        self.opened_or_closed(db, instance)
        db.execute(sql.drop_own_lanes, (instance,))
