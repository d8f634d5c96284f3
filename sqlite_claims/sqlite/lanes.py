"""Lanes: one for each (kind, set of tags), and one more for each that a large instance has to itself. A worker's kinds
and tags select the lanes it looks into."""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING

from ..errors import StoreCorruptError
from ..validate import shown
from .codes import PAUSED, RUNNING
from .statements import sql

if TYPE_CHECKING:
    from .database import Database

Kinds = frozenset[str] | None
Tags = tuple[str, ...]
# Selections remembered; a program has few workers with different tags and kinds.
_SELECTIONS_MAX = 256
# Own lanes of instances that run or are paused: each is one more place where a look for work has to look (about 2 µs).
OWN_MAX = 32
# Above as many lanes (each counts twice, with its claimed side) a look for work first asks which of them have rows in
# the order at all, which costs about 1 µs for each lane that has; a lane without costs a look 1 µs otherwise.
MANY = 32
# If more than an eighth of them have rows, that is not asked again for this many looks.
CROWDED_LOOKS = 16
CLAIMED_SIDE = 1 << 32
"""A claimed task's lane is this much more, where an expired claim is found and all claims stand together. A paused
instance's tasks have their lane negated, so that nobody who looks for work comes across them."""


def _stored_tags(path: str, id: int, text: str) -> Tags:
    try:
        tags = json.loads(text)
        if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
            return tuple(tags)
    except (ValueError, RecursionError):
        pass
    raise StoreCorruptError(f"{path}: claims_lane row {id}: tags is {shown(text)}")


class Lanes:
    """What this process knows of the file's lanes. Read again whenever their version has changed."""

    def __init__(self) -> None:
        self._known = -1  # the version
        self._newest = 0  # the largest id
        self.are_many = False
        self._crowded = 0  # looks to come that don't ask which lanes have rows
        self._by_id: dict[int, tuple[str, Tags]] = {}
        self._of: dict[int, tuple[str, Tags]] = {}  # by what tasks have as their lane
        self._ids: dict[tuple[int, str, Tags], int] = {}  # by the instance whose own it is (0: shared), kind and tags
        self._closed: set[int] = set()  # own lanes of instances that don't run
        self._own = 0  # own lanes of instances that run, or will when they are resumed
        self._selected: dict[tuple[Tags, Kinds], array[int]] = {}
        self._unsaved = False

    def saved(self) -> None:
        """After a commit: what was changed is there."""
        self._unsaved = False

    def forget(self) -> None:
        """After a rollback, of a part of the transaction perhaps: what was changed in it isn't there."""
        if self._unsaved:
            self.__init__()  # type: ignore[misc]
            self._unsaved = True  # what is read before the rest has ended may be undone with it

    def refresh(self, db: Database, version: int) -> None:
        """Be as the file is, whose lanes have this version."""
        if version == self._known:
            return
        if self._known >= 0:
            # Each shared lane that is added raises the version by one. If that is all, the others are as they were.
            rows = db.rows(sql.lanes, self._newest)
            if len(rows) == version - self._known and not any(instance for *_, instance, _ in rows):
                for id, kind, tags, _, _ in rows:
                    self._learn(id, 0, kind, _stored_tags(db.path, id, tags))
                self._known = version
                return
        unsaved = self._unsaved
        self.__init__()  # type: ignore[misc]
        self._unsaved = unsaved
        for id, kind, tags, instance, state in db.rows(sql.lanes, 0):
            self._learn(id, instance, kind, _stored_tags(db.path, id, tags))
            if instance and state != RUNNING:
                self._closed.add(id)
            self._own += state in (RUNNING, PAUSED)
        self._known = version

    def _learn(self, id: int, instance: int, kind: str, tags: Tags) -> None:
        self._by_id[id] = kind, tags
        self._ids[instance, kind, tags] = id
        self._newest = max(self._newest, id)
        self.are_many = 2 * len(self._by_id) > MANY
        for (own, kinds), selected in self._selected.items():
            if self.admits(id, own, kinds):
                self._selected[own, kinds] = selected + array("q", (id, id + CLAIMED_SIDE))

    def select(self, tags: Tags, kinds: Kinds) -> array[int]:
        """The lanes whose tasks a worker with these tags and kinds may take now."""
        found = self._selected.get((tags, kinds))
        if found is None:
            found = array("q")
            for id in self._by_id:
                if self.admits(id, tags, kinds):
                    found.extend((id, id + CLAIMED_SIDE))
            if len(self._selected) >= _SELECTIONS_MAX:
                self._selected.clear()
            self._selected[tags, kinds] = found
        return found

    def admits(self, lane: int, tags: Tags, kinds: Kinds) -> bool:
        """Whether a worker with these tags and kinds may take tasks of this lane, whichever side of it is meant."""
        id = abs(lane) % CLAIMED_SIDE
        kind, wanted = self._by_id[id]
        return (
            (kinds is None or kind in kinds) and (not tags or set(tags).issuperset(wanted)) and id not in self._closed
        )

    def to_visit(self, db: Database, tags: Tags, kinds: Kinds, *, paused: bool) -> array[int]:
        """Those of the lanes that ``select`` gives in which anything stands, where they are many; ``paused``: on their
        paused side, too."""
        selected = self.select(tags, kinds)
        if len(selected) > MANY:
            self._crowded -= 1
            if self._crowded < 0:
                few = len(selected) // 8
                rows = db.rows(sql.lanes_with_rows, -CLAIMED_SIDE * CLAIMED_SIDE // 4 if paused else 0, few)
                if len(rows) < few:
                    return array("q", [lane for (lane,) in rows if self.admits(lane, tags, kinds)])
                self._crowded = CROWDED_LOOKS
        return selected + array("q", [-lane for lane in selected]) if paused else selected

    def of(self, db: Database, lane: int) -> tuple[str, Tags]:
        """The kind and tags of a task's lane, whichever side of it the task is on."""
        found = self._of.get(lane)
        if found is None:
            id = abs(lane) % CLAIMED_SIDE
            if id not in self._by_id:
                self._known = -1
                self.refresh(db, db.rows(sql.lanes_version)[0][0])
            found = self._of[lane] = self._by_id[id]
        return found

    def intern(self, db: Database, kind: str, tags: Tags, owner: int) -> int:
        """The id of a lane, which is added where the file has none such: the own one of the instance ``owner``, unless
        that is 0 or there are as many as there may be, else the shared one. Needs the write lock."""
        self.refresh(db, db.rows(sql.lanes_version)[0][0])
        shared = self._ids.get((0, kind, tags)) or self._add(db, 0, kind, tags)
        if not owner:
            return shared
        id = self._ids.get((owner, kind, tags))
        if id is None and self._own < OWN_MAX:
            id = self._add(db, owner, kind, tags)
            self._known = -1  # whether it is open is read anew
        return id or shared

    def _add(self, db: Database, owner: int, kind: str, tags: Tags) -> int:
        id: int = db.rows(sql.add_lane, owner, kind, json.dumps(tags, separators=(",", ":")))[0][0]
        db.execute(sql.lanes_changed)
        self._learn(id, owner, kind, tags)
        self._known += 1
        self._unsaved = True
        return id

    def opened_or_closed(self, db: Database, instance: int) -> None:
        """An instance runs again, or doesn't any more: so with the lanes of its own, if it has any."""
        db.execute(sql.own_lanes_changed, (instance,))
        self._unsaved = True

    def dropped(self, db: Database) -> None:
        """Have the lanes read again, since unused ones were removed."""
        db.execute(sql.lanes_changed)
        self._unsaved = True

    def drop_own(self, db: Database, instance: int) -> None:
        """The last task in an instance's own lanes is gone."""
        self.opened_or_closed(db, instance)
        db.execute(sql.drop_own_lanes, (instance,))
