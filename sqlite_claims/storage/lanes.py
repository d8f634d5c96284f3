"""Lanes: one for each (kind, set of tags), and one more for each that a large instance has to itself. A worker's kinds
and tags select the lanes it looks into."""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING

from ..errors import StoreCorruptError
from ..validate import shown
from .statements import sql
from .states import PAUSED, RUNNING

if TYPE_CHECKING:
    from .database import Database

Kinds = frozenset[str] | None
Tags = tuple[str, ...]
# Selections remembered; a program has few workers with different tags and kinds.
_SELECTIONS_MAX = 256
# Own lanes of instances that run or are paused: each is one more place where a look for work has to look (about 2 µs).
OWN_MAX = 32
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
        self._by_id: dict[int, tuple[str, Tags]] = {}
        self._of: dict[int, tuple[str, Tags]] = {}  # by what tasks have as their lane
        self._ids: dict[tuple[int, str, Tags], int] = {}  # by the instance whose own it is (0: shared), kind and tags
        self._open: list[int] = []  # not the own lanes of an instance that doesn't run
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
        rows = db.rows(sql.lanes)
        self._selected.clear()
        self._of.clear()
        self._by_id = {id: (kind, _stored_tags(db.path, id, tags)) for id, kind, tags, _, _ in rows}
        self._ids = {(instance, *self._by_id[id]): id for id, _, _, instance, _ in rows}
        self._open = [id for id, _, _, instance, state in rows if not instance or state == RUNNING]
        self._own = sum(1 for *_, state in rows if state in (RUNNING, PAUSED))
        self._known = version

    def select(self, tags: Tags, kinds: Kinds) -> array[int]:
        """The lanes whose tasks a worker with these tags and kinds may take now."""
        found = self._selected.get((tags, kinds))
        if found is None:
            own = set(tags)
            found = array("q")
            for id in self._open:
                kind, wanted = self._by_id[id]
                if (kinds is None or kind in kinds) and (not own or own.issuperset(wanted)):
                    found.extend((id, id + CLAIMED_SIDE))
            if len(self._selected) >= _SELECTIONS_MAX:
                self._selected.clear()
            self._selected[tags, kinds] = found
        return found

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
        db.execute(sql.lane_added)
        self._by_id[id] = kind, tags
        self._ids[owner, kind, tags] = id
        self._open.append(id)
        self._selected.clear()
        self._known += 1
        self._unsaved = True
        return id

    def opened_or_closed(self, db: Database, instance: int) -> None:
        """An instance runs again, or doesn't any more: so with the lanes of its own, if it has any."""
        db.execute(sql.own_lanes_changed, (instance,))
        self._unsaved = True

    def drop_own(self, db: Database, instance: int) -> None:
        """The last task in an instance's own lanes is gone."""
        self.opened_or_closed(db, instance)
        db.execute(sql.drop_own_lanes, (instance,))
