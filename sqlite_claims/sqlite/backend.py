"""The engine on SQLite: the operations of ``Backend``, each of which runs in one transaction of a ``Database``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ..backend import Kinds, Steps, Tags
from ..errors import BackendError, InvalidStateError, StoreBusyError, StoreFullError
from ..interface import Settled
from ..model import (
    AvailableTask,
    ClaimedTask,
    InstanceInfo,
    InstanceState,
    NewTask,
    StoreStats,
    TaskClaim,
    TaskInfo,
    TaskState,
    WorkerInfo,
)
from .database import Database
from .doorbell import COMMITS, READY
from .error_translation import log_after_commit
from .maintenance import checking
from .maintenance.backup import backup
from .maintenance.long_read import LongRead
from .operations import (
    adding,
    by_token,
    claiming,
    control,
    listing,
    pruning,
    reading,
    sessions,
    settling,
    sweep,
    unused_lanes,
)
from .sessions.owned_locks import InstanceFeed, SqliteWorkerSession
from .transaction import CallerTransaction

P = ParamSpec("P")
T = TypeVar("T")


class RunInTransaction(Protocol):
    """A function that runs an operation in a transaction. If ``durable`` is true, the effect of the operation must
    survive a power cut that happens after the function has returned."""

    def __call__(
        self, operation: Callable[Concatenate[Database, P], T], durable: bool, /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


class Read(Protocol):
    """A function that runs a read-only operation on one snapshot of the file."""

    def __call__(self, operation: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


class SqliteOperations:
    """The operations that a store and a transaction have in common. A store and a transaction each pass a different
    function that runs an operation."""

    session_type = SqliteWorkerSession

    def __init__(self, db: Database, write: RunInTransaction, read: Read) -> None:
        self._db = db
        # These are attributes, not methods, because a method would add one more Python stack frame to every call.
        self._write = write
        self._read = read

    def wall_us(self) -> int:
        return self._db.time.clock.wall_us()

    def check_usable(self, *, writes: bool) -> None:  # noqa: ARG002 - SqliteBackend uses this argument
        self._read(_nothing)

    # -- claims

    def claim_task(
        self, *, instance_id: str, task_id: str, worker_id: str, ttl_us: int | None, session_id: int | None
    ) -> TaskClaim | None:
        return self._write(
            claiming.claim_task,
            False,
            instance_id=instance_id,
            task_id=task_id,
            worker_id=worker_id,
            ttl_us=ttl_us,
            session_id=session_id,
        )

    def claim_available_tasks(
        self, *, worker_id: str, limit: int, ttl_us: int | None, tags: Tags, kinds: Kinds, session_id: int | None
    ) -> list[ClaimedTask]:
        write, claim = self._write, claiming.claim_available
        while (
            claimed := write(
                claim,
                False,
                worker_id=worker_id,
                limit=limit,
                ttl_us=ttl_us,
                tags=tags,
                kinds=kinds,
                session_id=session_id,
            )
        ) is None:
            pass
        return claimed

    def release_task_claim(self, *, instance_id: str, task_id: str, worker_id: str) -> None:
        self._write(claiming.release_by_worker, False, instance_id=instance_id, task_id=task_id, worker_id=worker_id)

    def extend_task_claim(self, *, instance_id: str, task_id: str, worker_id: str, additional_us: int) -> bool:
        return self._write(
            claiming.extend_by_worker,
            False,
            instance_id=instance_id,
            task_id=task_id,
            worker_id=worker_id,
            additional_us=additional_us,
        )

    def renew_task_claim(self, claim: TaskClaim, *, ttl_us: int | None) -> TaskClaim:
        return self._write(by_token.renew, False, claim, ttl_us=ttl_us)

    def complete_task(self, claim: TaskClaim, output: bytes) -> None:
        self._write(by_token.complete, True, claim, output)

    def fail_task(self, claim: TaskClaim, *, error: str, retry: bool, retry_in_us: int | None) -> None:
        self._write(by_token.fail, True, claim, error=error, retry=retry, retry_in_us=retry_in_us)

    def release_task(self, claim: TaskClaim, *, delay_us: int | None) -> None:
        self._write(by_token.release, False, claim, delay_us=delay_us)

    def renew_task_claims(self, claims: Sequence[TaskClaim], *, ttl_us: int | None) -> Settled:
        return self._write(by_token.renew_many, False, claims, ttl_us=ttl_us)

    def complete_tasks(self, results: Sequence[tuple[TaskClaim, bytes]]) -> Settled:
        return self._write(by_token.complete_many, True, results)

    def fail_tasks(self, failures: Sequence[tuple[TaskClaim, str]]) -> Settled:
        return self._write(by_token.fail_many, True, failures)

    def release_tasks(self, claims: Sequence[TaskClaim]) -> Settled:
        return self._write(by_token.release_many, False, claims)

    # -- tasks and instances

    def add_instance(
        self, instance_id: str, tasks: Sequence[NewTask], *, definition_hash: str, skip_existing: bool
    ) -> bool:
        return self._write(
            adding.add_instance, True, instance_id, tasks, definition_hash=definition_hash, skip_existing=skip_existing
        )

    def add_tasks(self, instance_id: str, tasks: Sequence[NewTask], *, skip_existing: bool) -> int:
        return self._write(adding.add_tasks, True, instance_id, tasks, skip_existing=skip_existing)

    def pause_instance(self, instance_id: str) -> Steps:
        self._write(control.pause, True, instance_id)
        return ()

    def resume_instance(self, instance_id: str) -> Steps:
        self._write(control.resume, True, instance_id)
        return ()

    def cancel_instance(self, instance_id: str, *, reason: str | None) -> Steps:
        self._write(control.cancel, True, instance_id, reason)
        return ()

    def retry_task(self, *, instance_id: str, task_id: str) -> None:
        self._write(settling.retry_task, True, instance_id=instance_id, task_id=task_id)

    def set_aging_interval(self, aging_us: int | None) -> None:
        self._write(pruning.set_aging, True, aging_us)

    def get_task(self, *, instance_id: str, task_id: str) -> TaskInfo:
        return self._read(reading.get_task, instance_id=instance_id, task_id=task_id)

    def get_instance(self, instance_id: str) -> InstanceInfo:
        return self._read(reading.get_instance, instance_id)


class SqliteBackend(SqliteOperations):
    """The operations of a store on one file."""

    def __init__(self, db: Database) -> None:
        super().__init__(db, db.write, db.read)
        self._found_work = True

    def check_usable(self, *, writes: bool) -> None:
        if writes:
            self._db.refuse_writes()
        self._read(_nothing)

    # -- finding work

    def find_available_tasks(self, *, worker_id: str, limit: int, tags: Tags, kinds: Kinds) -> list[AvailableTask]:
        return self._swept(
            lambda may_sweep: self._read(
                claiming.find_available, worker_id, limit=limit, tags=tags, kinds=kinds, may_sweep=may_sweep
            )
        )

    def any_available(self, *, tags: Tags, kinds: Kinds) -> bool:
        return self._swept(
            lambda may_sweep: self._read(claiming.any_available, tags=tags, kinds=kinds, may_sweep=may_sweep)
        )

    def _swept(self, search: Callable[[bool], T | None]) -> T:
        """Run a search for work. If a sweep is needed first, run all steps of the sweep, and then search again."""
        found = search(not self._db.read_only and not self._db.has_transaction())
        if found is None:
            while self._write(sweep.sweep, False):
                pass
            found = search(False)
        assert found is not None
        return found

    def claim_available_tasks(
        self, *, worker_id: str, limit: int, ttl_us: int | None, tags: Tags, kinds: Kinds, session_id: int | None
    ) -> list[ClaimedTask]:
        # After a search that found nothing, take the write lock only if there is a task to claim or work for a sweep.
        if not self._found_work:
            self._db.refuse_writes()
            if self._read(claiming.any_available, tags=tags, kinds=kinds, may_sweep=True) is False:
                return []
        claimed = super().claim_available_tasks(
            worker_id=worker_id, limit=limit, ttl_us=ttl_us, tags=tags, kinds=kinds, session_id=session_id
        )
        self._found_work = bool(claimed)
        return claimed

    # -- waiting

    def ready_number(self) -> int:
        return self._db.bell.read(READY)

    def wait_ready(self, number: int, *, tags: Tags, kinds: Kinds, timeout_s: float) -> None:
        next_s = self._read(claiming.seconds_until_next, tags=tags, kinds=kinds)
        self._db.bell.wait(READY, number, min(timeout_s, next_s, claiming.SHORT_US / 1e6))

    def commit_number(self) -> int:
        return self._db.bell.read(COMMITS)

    def wait_commit(self, number: int, *, timeout_s: float) -> None:
        self._db.bell.wait(COMMITS, number, timeout_s)

    # -- sessions

    def open_session(self, worker_id: str) -> SqliteWorkerSession:
        return sessions.open_session(self._db, worker_id, self._end_session)

    def _end_session(self, session: SqliteWorkerSession) -> None:
        if session in self._db.local_sessions:
            self._db.local_sessions.remove(session)
        # If this write fails, the next search for work finds the session's lock free, and removes the session.
        with contextlib.suppress(BackendError):
            self._write(sessions.close_session, False, session.id)

    def record_losses(self, claims: Sequence[TaskClaim], why: str) -> list[TaskClaim]:
        """Record the claims of a dead process as lost, with the cause of death. The next search for work would record
        the same losses, but without the cause."""
        return self._write(sessions.record_losses, False, claims, why)

    def feed_instance(self, instance_id: str) -> InstanceFeed:
        """Prevent ``prune`` from removing an instance until the feed is closed or this process ends."""
        return sessions.feed_instance(self._db, instance_id)

    # -- controls

    def pause_instance(self, instance_id: str) -> Steps:
        self._with_reserve(lambda: self._write(control.pause, True, instance_id))
        return self._moves()

    def resume_instance(self, instance_id: str) -> Steps:
        self._with_reserve(lambda: self._write(control.resume, True, instance_id))
        return self._moves()

    def cancel_instance(self, instance_id: str, *, reason: str | None) -> Steps:
        self._with_reserve(lambda: self._write(control.cancel, True, instance_id, reason))
        return self._moves()

    def _moves(self) -> Iterator[None]:
        """Update, step by step, the rows of the tasks of instances that were paused, resumed or cancelled."""
        return self._steps(control.move_step)

    def _with_reserve(self, run: Callable[[], T]) -> T:
        """Run a function that frees disk space. If the disk is full, release the reserved space, and run the function
        again."""
        try:
            return run()
        except StoreFullError:
            if not self._db.make_room():
                raise
            return run()

    def _steps(self, step: Callable[[Database], bool]) -> Iterator[None]:
        # The operation has already taken effect, so an error in a later step is logged and not raised.
        try:
            while self._with_reserve(lambda: self._write(step, False)):
                yield
        except Exception as error:  # noqa: BLE001
            log_after_commit(
                self._db.path,
                "took effect; the next search for work, or the next prune, will update the remaining rows",
                error,
            )

    # -- reading

    def explain_task(self, *, instance_id: str, task_id: str) -> str:
        return self._read(reading.explain_task, instance_id, task_id)

    def list_instances(self, *, states: Collection[InstanceState] | None) -> Iterator[list[InstanceInfo]]:
        return self._pages(lambda after: self._read(reading.instances_page, after, states))

    def list_tasks(
        self, *, instance_id: str | None, states: Collection[TaskState] | None, kinds: Kinds
    ) -> Iterator[list[TaskInfo]]:
        if instance_id is not None:
            self._read(reading.instance_row, instance_id)
        return self._pages(lambda after: self._read(listing.tasks_page, instance_id, after, states, kinds))

    def list_claims(self, *, worker_id: str | None) -> Iterator[list[TaskClaim]]:
        return self._pages(lambda after: self._read(reading.claims_page, after, worker_id))

    def list_workers(self) -> Iterator[list[WorkerInfo]]:
        return iter([self._read(reading.workers)])

    def _pages(self, read: Callable[[Any], tuple[list[T], Any]]) -> Iterator[list[T]]:
        """Return an iterator of the pages of a list. ``read``: a function that takes the start of a page (``None`` for
        the first page), and returns the page and the start of the next page."""
        self._read(_nothing)  # raises an error if the store is closed

        def pages() -> Iterator[list[T]]:
            records, after = read(None)
            yield records
            while after is not None:
                records, after = read(after)
                yield records

        return pages()

    def stats(self) -> StoreStats:
        return self._read(reading.stats)

    def aging_us(self) -> int | None:
        return self._read(reading.aging)

    # -- the file

    def transaction(self, timeout_s: float) -> SqliteTransaction:
        return SqliteTransaction(self._db, CallerTransaction(self._db, timeout_s))

    def prune(self, *, older_than_us: int, limit: int) -> tuple[int, Steps]:
        before = self.wall_us() - older_than_us
        self._db.refuse_writes()
        pruned = 0
        for instance in self._read(pruning.candidates, before_wall=before, limit=limit):
            try:
                token = self._read(pruning.newest_token, instance.id)
                # This transaction need not survive a power cut, because the instance can then be pruned again.
                pruned += self._with_reserve(
                    lambda: self._write(
                        pruning.prune_instance,
                        False,
                        instance.id,  # noqa: B023 - called before the loop continues
                        finished_wall=instance.finished_wall,  # noqa: B023
                        token=token,  # noqa: B023
                    )
                )
            except Exception as error:
                if not pruned:
                    raise
                why = "some instances were pruned; the next prune will remove the others"
                log_after_commit(self._db.path, why, error)
                break
        return pruned, self._prune_steps(before, pruned)

    def _prune_steps(self, before: int, pruned: int) -> Iterator[None]:
        yield from self._steps(pruning.remove_step)
        if pruned:
            yield from self._remove_unused(before)
            yield from self._steps(pruning.shrink_step)
            self._db.checkpoint()

    def _remove_unused(self, before: int) -> Iterator[None]:
        """Remove lanes and policies that no task uses any more. Do nothing if there are more instances to prune."""
        try:
            if self._read(pruning.candidates, before_wall=before, limit=1):
                return
            if (unused := self._read(unused_lanes.begin)) is None:
                return
            while self._read(unused_lanes.pass_step, unused):
                pass
        except Exception as error:  # noqa: BLE001 - the next prune removes these rows
            log_after_commit(self._db.path, "pruned; the next prune will remove unused lanes and policies", error)
            return
        yield from self._steps(lambda db: unused_lanes.remove_step(db, unused))

    def backup(self, path: str) -> LongRead[None]:
        return backup(self._db, path)

    def check(self) -> LongRead[list[str]]:
        with contextlib.suppress(StoreBusyError):  # if another thread has a transaction open, skip this check
            self._db.check_files()
        return checking.check(self._db, self._db.checkpoint_findings())

    def close(self) -> None:
        if self._db.has_transaction():
            raise InvalidStateError("a transaction is open: leave its with block first")
        self._db.close()


class SqliteTransaction(SqliteOperations):
    """The operations of a ``store.transaction()``. All operations of the object run in the same transaction."""

    def __init__(self, db: Database, transaction: CallerTransaction) -> None:
        super().__init__(db, transaction.write, transaction.read)
        self.begin = transaction.begin
        self.end = transaction.end
        self.execute = transaction.execute
        self._transaction = transaction

    @property
    def deadline(self) -> float:
        return self._transaction.deadline


def _nothing(_: Database) -> None:
    """Do nothing. If ``read`` runs this function, ``read`` only checks that the store or the transaction can be
    used."""
