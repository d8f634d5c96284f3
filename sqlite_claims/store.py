"""``SqliteClaimStore``: tasks in one SQLite file that many processes share. One public method, one transaction."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar

from . import validate
from .clock import SYSTEM_CLOCK, Clock
from .errors import BackendError, InvalidArgumentError, InvalidStateError, NotFoundError, StoreBusyError, StoreFullError
from .interface import TaskClaimStore
from .model import (
    AvailableTask,
    ClaimedTask,
    Duration,
    InstanceInfo,
    InstanceState,
    NewTask,
    StoreStats,
    TaskClaim,
    TaskInfo,
    TaskState,
    WorkerInfo,
)
from .operations import Operations, nothing
from .sqlite.database import PROBE_EVERY_US, Database
from .sqlite.doorbell import COMMITS, READY
from .sqlite.error_translation import log_after_commit
from .sqlite.files.paths import store_path
from .sqlite.lanes import Kinds, Tags
from .sqlite.maintenance import checking
from .sqlite.maintenance.long_read import LongRead
from .sqlite.operations import claiming, control, listing, pruning, reading, sessions, sweep, unused_lanes
from .sqlite.sessions.session_file import InstanceFeed, WorkerSession
from .transaction import OpenTransaction

P = ParamSpec("P")
T = TypeVar("T")
# Between the short steps of a long operation others get the writer for as long as the step took, at most this.
_PAUSE_S_MAX = 0.02
# How often who waits for an instance looks at it.
_LOOK_EVERY_S_MIN, _LOOK_EVERY_S_MAX = 0.002, 0.5


class Paged(Iterator[T], Generic[T]):
    """Records, from pages that are read when they are reached. Who takes the ``pages`` themselves gets one a step."""

    def __init__(self, pages: Iterator[list[T]]) -> None:
        self.pages = pages
        self._records = chain.from_iterable(pages)

    def __next__(self) -> T:
        return next(self._records)


class SqliteClaimStore(Operations, TaskClaimStore):
    """A claim store in one SQLite file on a local disk.

    ``create=False``: a missing file, or one without our tables, is ``StoreUnavailableError``. ``read_only``: only
    reading methods. ``durability``: ``"full"``: task data survives power loss; ``"process"``: it survives a killed
    process, and the last commits may go with the power. ``busy_timeout``: seconds a write may wait for the file's one
    writer before ``StoreBusyError``. ``use_c_core``: ``None``: the compiled scan where it is installed, else its Python
    twin; ``True`` demands it, ``False`` forbids it. ``clock``: for tests.

    Safe to share between threads. After ``os.fork`` both sides may go on using it. Does NOT work on network file
    systems. Never open the file with the standard library's ``sqlite3`` in a process that has it open here.
    """

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
            store_path(path),
            create=bool(create),
            read_only=bool(read_only),
            durable=durability == "full",
            busy_timeout=validate.duration_us("busy_timeout", busy_timeout) / 1e6,
            use_c_core=use_c_core,
            clock=clock,
        )
        self._db.probe_every_us = self._probe_every_us
        self._found_work = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._db.path!r})"

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._db.path

    def _run(self, operation: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._db.write(operation, False, *args, **kwargs)

    def _run_durably(self, operation: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._db.write(operation, True, *args, **kwargs)

    def _read(self, operation: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._db.read(operation, *args, **kwargs)

    # -- finding work

    def find_available_tasks(
        self,
        worker_id: str,
        limit: int,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
    ) -> list[AvailableTask]:
        worker_id = validate.name("worker_id", worker_id)
        limit = validate.limit(limit)
        wanted = () if tags is None else validate.names("tags", tags)
        handled = validate.kinds(kinds)
        if limit == 0 or (handled is not None and not handled):
            return self._read(nothing)
        return self._swept(claiming.find_available, worker_id, limit, wanted, handled)

    def _swept(self, look: Callable[..., T | None], *args: Any) -> T:
        """Run a search for work, and before it the sweep until none is needed."""
        may_sweep = not self._db.read_only and not self._db.has_transaction()
        found = self._read(look, *args, may_sweep)
        if found is None:
            while self._run(sweep.sweep):
                pass
            found = self._read(look, *args, False)
        assert found is not None
        return found

    def _claim_none(self) -> list[ClaimedTask]:
        self._db.refuse_writes()
        return super()._claim_none()

    def _claim_available(
        self, worker_id: str, limit: int, ttl_us: int | None, tags: Tags, kinds: Kinds, session: int | None
    ) -> list[ClaimedTask]:
        # Whether the last look found work tells whether this one should take the write lock at once.
        if not self._found_work:
            self._db.refuse_writes()
            if self._read(claiming.any_available, tags, kinds, True) is False:
                return []
        claimed = super()._claim_available(worker_id, limit, ttl_us, tags, kinds, session)
        self._found_work = bool(claimed)
        return claimed

    def wait_for_tasks(
        self, timeout: Duration, *, tags: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> bool:
        wanted = () if tags is None else validate.names("tags", tags)
        handled = validate.kinds(kinds)
        deadline = time.monotonic() + validate.duration_us("timeout", timeout) / 1e6
        while True:
            seen = self._db.bell.read(READY)
            if self._swept(claiming.any_available, wanted, handled):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            up = self._read(claiming.seconds_until_next, wanted, handled)
            self._db.bell.wait(READY, seen, min(left, up, claiming.SHORT_US / 1e6))

    # -- sessions

    def open_session(self, worker_id: str) -> WorkerSession:
        """Start a worker's session: claims bound to it (``session=``) are lost as soon as its process is gone, however
        long their lease. Close it, or let the process end."""
        return sessions.open_session(self._db, validate.name("worker_id", worker_id), self._end_session)

    def _end_session(self, session: WorkerSession) -> None:
        if session in self._db.own_sessions:
            self._db.own_sessions.remove(session)
        # Else whoever looks for work next finds the lock free.
        with contextlib.suppress(BackendError):
            self._run(sessions.close_session, session.id)

    def _add_fed_instance(
        self, instance_id: str, tasks: Sequence[NewTask] = (), *, definition_hash: str = ""
    ) -> tuple[bool, InstanceFeed]:
        """Add an instance with its first tasks where there is none of that name, and keep ``prune`` from removing it
        until the feed is closed or this process ends. Returns whether it was added, and the feed."""
        while True:
            added = self.add_instance(instance_id, tasks, definition_hash=definition_hash, if_exists="skip")
            with contextlib.suppress(NotFoundError):  # it was there, and has been pruned in between
                return added, sessions.feed_instance(self._db, instance_id)

    # -- signals

    def _signal(self, operation: Callable[Concatenate[Database, P], bool], *args: P.args, **kwargs: P.kwargs) -> None:
        self._freeing(lambda: self._run_durably(operation, *args, **kwargs))
        self._in_steps(control.move_step)

    def _freeing(self, run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what frees room; on a full disk in the room that is kept for it."""
        try:
            return run(*args, **kwargs)
        except StoreFullError:
            if not self._db.make_room():
                raise
            return run(*args, **kwargs)

    def _in_steps(self, step: Callable[[Database], bool]) -> None:
        # The caller's request has taken effect, so no error is raised here: the steps that are left are taken by the
        # next process that looks for work, or prunes.
        try:
            while True:
                began = time.monotonic()
                if not self._freeing(self._run, step):
                    return
                time.sleep(min(time.monotonic() - began, _PAUSE_S_MAX))
        except Exception as error:  # noqa: BLE001
            log_after_commit(self.path, "took effect; the next look for work, or prune, goes on with its rows", error)

    # -- reading

    def explain_task(self, instance_id: str, task_id: str) -> str:
        return self._read(
            reading.explain_task, validate.name("instance_id", instance_id), validate.name("task_id", task_id)
        )

    def wait_for_instance(self, instance_id: str, timeout: Duration) -> InstanceInfo | None:
        deadline = time.monotonic() + validate.duration_us("timeout", timeout) / 1e6
        while True:
            seen = self._db.bell.read(COMMITS)
            info = self.get_instance(instance_id)
            if info.state not in (InstanceState.IN_PROGRESS, InstanceState.PAUSED):
                return info
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._db.bell.wait(COMMITS, seen, min(left, _LOOK_EVERY_S_MAX))
            # Among busy workers every look would be followed by the next at once.
            time.sleep(min(_LOOK_EVERY_S_MIN, left))

    def list_instances(
        self, *, states: Collection[InstanceState] | None = None, limit: int | None = None
    ) -> Iterator[InstanceInfo]:
        chosen = validate.states("states", states, InstanceState)
        return self._pages(reading.instances_page, (), (chosen,), limit)

    def list_tasks(
        self,
        instance_id: str | None = None,
        *,
        states: Collection[TaskState] | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[TaskInfo]:
        chosen = validate.states("states", states, TaskState)
        if instance_id is not None:
            self._read(reading.instance_row, validate.name("instance_id", instance_id))
        return self._pages(listing.tasks_page, (instance_id,), (chosen, validate.kinds(kinds)), limit)

    def _pages(
        self,
        page: Callable[..., tuple[list[T], Any]],
        before: tuple[Any, ...],
        after: tuple[Any, ...],
        limit: int | None,
    ) -> Paged[T]:
        number = validate.LIMIT_MAX if limit is None else validate.limit(limit)
        self._read(nothing)  # a closed store says so here, not when the first record is asked for

        def pages() -> Iterator[list[T]]:
            left, start = number, None
            while left:
                found, start = self._read(page, *before, start, *after)
                yield found[:left]
                left = max(0, left - len(found)) if start is not None else 0

        return Paged(pages())

    def list_claims(self, worker_id: str | None = None) -> Iterator[TaskClaim]:
        name = None if worker_id is None else validate.name("worker_id", worker_id)
        return self._pages(reading.claims_page, (), (name,), None)

    def list_workers(self) -> Iterator[WorkerInfo]:
        return iter(self._read(reading.workers))

    def stats(self) -> StoreStats:
        return self._read(reading.stats)

    # -- the file

    def transaction(self, timeout: Duration = 5.0) -> OpenTransaction:
        return OpenTransaction(self._db, validate.duration_us("timeout", timeout) / 1e6)

    @property
    def aging_interval(self) -> float | None:
        aging = self._read(reading.aging)
        return None if aging is None else aging / 1e6

    def prune(self, older_than: Duration, *, limit: int = 1000) -> int:
        before = self._wall() - validate.duration_us("older_than", older_than)
        limit = validate.limit(limit)
        self._db.refuse_writes()
        pruned = 0
        listed = self._read(pruning.candidates, before, limit)
        for id, finished in listed:
            try:
                token = self._read(pruning.newest_token, id)
                # Without waiting for the disk: what the power takes back is there to be pruned again.
                pruned += self._freeing(self._run, pruning.prune_instance, id, finished, token)
            except Exception as error:
                if not pruned:
                    raise
                log_after_commit(self.path, "some instances were pruned; the others are left to the next prune", error)
                break
        self._in_steps(pruning.remove_step)
        if pruned:
            self._collect(before)
            self._in_steps(pruning.shrink_step)
            self._db.checkpoint()
        return pruned

    def _collect(self, before: int) -> None:
        """Remove lanes and policies that no task has any more, once nothing else is there to be pruned. It can wait, so
        it raises nothing."""
        try:
            if self._read(pruning.candidates, before, 1):
                return
            if (unused := self._read(unused_lanes.begin)) is not None:
                while self._read(unused_lanes.pass_step, unused):
                    pass
                self._in_steps(lambda db: unused_lanes.remove_step(db, unused))
        except Exception as error:  # noqa: BLE001
            log_after_commit(self.path, "pruned; unused lanes and policies are left to the next prune", error)

    def backup(self, path: str | os.PathLike[str]) -> None:
        self._backup(path).run()

    def _backup(self, path: str | os.PathLike[str]) -> LongRead[None]:
        return pruning.backup(self._db, store_path(path))

    def check(self) -> list[str]:
        return self._check().run()

    def _check(self) -> LongRead[list[str]]:
        with contextlib.suppress(StoreBusyError):  # another thread's transaction need not end first
            self._db.look_now()
        return checking.check(self._db, self._db.checkpoint_findings())

    def close(self) -> None:
        if self._db.has_transaction():
            raise InvalidStateError("a transaction is open: leave its with block first")
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
