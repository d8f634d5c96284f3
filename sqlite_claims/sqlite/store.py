"""``SqliteClaimStore``: tasks in one SQLite file that many processes share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Literal

from .. import validate
from ..clock import SYSTEM_CLOCK, Clock
from ..errors import InvalidArgumentError, NotFoundError
from ..front import Store
from ..model import NewTask
from .backend import SqliteBackend
from .database import PROBE_EVERY_US, Database
from .sessions.owned_locks import InstanceFeed, SqliteWorkerSession


class SqliteClaimStore(Store[SqliteWorkerSession]):
    """A claim store in one SQLite file on a local disk.

    Safe to share between threads. After ``os.fork`` both processes may go on using it. Does NOT work on network file
    systems. Never open the file with the standard library's ``sqlite3`` in a process that has it open here.

    Args:
        path: The file. It is created if it is missing.
        create: ``False``: a missing file, or one without the store's tables, is ``StoreUnavailableError``.
        read_only: Allow reading methods only.
        durability: ``"full"``: task data survives power loss. ``"process"``: it survives a killed process; power loss
            may undo the last commits.
        busy_timeout: Seconds that a write waits for the file's one writer before it raises ``StoreBusyError``.
        use_c_core: ``None``: use the C core if it is installed. ``True``: require it. ``False``: use the Python scan.
        clock: For tests: a ``sqlite_claims.testing.ManualClock``.
    """

    _backend: SqliteBackend
    _probe_every_us = PROBE_EVERY_US

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        read_only: bool = False,
        durability: Literal["full", "process"] = "full",
        busy_timeout: float = 10.0,
        use_c_core: bool | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if durability not in ("full", "process"):
            raise InvalidArgumentError(f"durability must be 'full' or 'process', not {validate.shown(durability)}")
        if use_c_core not in (None, True, False):
            raise InvalidArgumentError(f"use_c_core must be None, True or False, not {validate.shown(use_c_core)}")
        self._db = Database(
            validate.store_path(path),
            create=bool(create),
            read_only=bool(read_only),
            durable=durability == "full",
            busy_timeout=validate.duration_us("busy_timeout", busy_timeout) / 1e6,
            use_c_core=use_c_core,
            clock=clock,
        )
        self._db.probe_every_us = self._probe_every_us
        self._backend = SqliteBackend(self._db)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._db.path!r})"

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._db.path

    def _add_fed_instance(
        self, instance_id: str, tasks: Sequence[NewTask] = (), *, definition_hash: str = ""
    ) -> tuple[bool, InstanceFeed]:
        """Add an instance with its first tasks if there is none of that name, and keep ``prune`` from removing it
        until the feed is closed or this process ends. Return whether it was added, and the feed."""
        while True:
            added = self.add_instance(instance_id, tasks, definition_hash=definition_hash, if_exists="skip")
            with contextlib.suppress(NotFoundError):  # it existed, and has been pruned in between
                return added, self._backend.feed_instance(instance_id)
