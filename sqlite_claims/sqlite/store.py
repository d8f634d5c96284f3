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

    Threads may share a store. After ``os.fork``, both processes may continue to use the store. A store does NOT work on
    a network file system. Never open the file with the standard library's ``sqlite3`` in a process that has the store
    open.

    Args:
        path: The path of the file. A missing file is created.
        create: ``False``: raise ``StoreUnavailableError`` if the file is missing or has no tables of a store.
        read_only: Allow only methods that read.
        durability: ``"full"``: task data survives power loss. ``"process"``: task data survives a killed
            process, but power loss may undo the last commits.
        busy_timeout: Seconds that a write waits for the file's write lock before it raises ``StoreBusyError``.
        use_c_core: ``None``: use the C core if the core is installed. ``True``: raise an error if the core is not
            installed. ``False``: use the Python scan.
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
        """Add an instance with its first tasks if there is no instance of that name. Prevent ``prune`` from removing
        the instance until the feed is closed or this process ends. Return two values: whether the instance was added,
        and the feed."""
        while True:
            added = self.add_instance(instance_id, tasks, definition_hash=definition_hash, if_exists="skip")
            with contextlib.suppress(NotFoundError):  # the existing instance was pruned before this call fed it
                return added, self._backend.feed_instance(instance_id)
