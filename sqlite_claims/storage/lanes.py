"""Lanes: one for each (kind, set of tags). A worker's kinds and tags select the lanes it looks into."""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING

from .statements import sql

if TYPE_CHECKING:
    from .database import Database

Kinds = frozenset[str] | None
Tags = tuple[str, ...]
# Selections remembered; a program has few workers with different tags and kinds.
_SELECTIONS_MAX = 256
CLAIMED_SIDE = 1 << 32
"""A claimed task's lane is this much more, where an expired claim is found and all claims stand together. A paused
instance's tasks have their lane negated, so that nobody who looks for work comes across them."""


class Lanes:
    """What this process knows of the file's lanes. Read again whenever their number has changed."""

    def __init__(self) -> None:
        self._known = -1
        self._by_id: dict[int, tuple[str, Tags]] = {}
        self._of: dict[int, tuple[str, Tags]] = {}  # by what tasks have as their lane
        self._ids: dict[tuple[str, Tags], int] = {}
        self._selected: dict[tuple[Tags, Kinds], array[int]] = {}
        self._unsaved = False

    def saved(self) -> None:
        """After a commit: the lanes that were added are there."""
        self._unsaved = False

    def forget(self) -> None:
        """After a rollback: the lanes that were added in the transaction aren't there."""
        if self._unsaved:
            self.__init__()  # type: ignore[misc]

    def refresh(self, db: Database, number: int) -> None:
        """Be as the file is, which has ``number`` lanes."""
        if number == self._known:
            return
        self._selected.clear()
        self._of.clear()
        self._by_id = {id: (kind, tuple(json.loads(tags))) for id, kind, tags in db.rows(sql.lanes)}
        self._ids = {lane: id for id, lane in self._by_id.items()}
        self._known = number

    def select(self, tags: Tags, kinds: Kinds) -> array[int]:
        """The lanes whose tasks a worker with these tags and kinds may take."""
        found = self._selected.get((tags, kinds))
        if found is None:
            own = set(tags)
            found = array(
                "q",
                [
                    id + side
                    for id, (kind, wanted) in self._by_id.items()
                    if (kinds is None or kind in kinds) and (not own or own.issuperset(wanted))
                    for side in (0, CLAIMED_SIDE)
                ],
            )
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
                self.refresh(db, db.rows(sql.lane_count)[0][0])
            found = self._of[lane] = self._by_id[id]
        return found

    def intern(self, db: Database, kind: str, tags: Tags) -> int:
        """The id of a lane, which is added where the file has none such. Needs the write lock."""
        self.refresh(db, db.rows(sql.lane_count)[0][0])
        id = self._ids.get((kind, tags))
        if id is None:
            id = db.rows(sql.add_lane, kind, json.dumps(tags, separators=(",", ":")))[0][0]
            db.execute(sql.count_lane)
            self._by_id[id] = kind, tags
            self._ids[kind, tags] = id
            self._selected.clear()
            self._known += 1
            self._unsaved = True
        return id
