"""The operations of ``Backend`` in memory. A lock guards the engine; a rollback restores a snapshot."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any, Generic, TypeVar

from ..backend import Kinds, Steps, Tags
from ..clock import Clock
from ..errors import ClaimLostError, InvalidStateError, StoreBusyError, StoreClosedError
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
from ..validate import WALL_US_MAX
from . import reading
from .engine import Engine
from .records import Task
from .session import InMemorySession

T = TypeVar("T")
K = TypeVar("K")
# The longest time that an operation waits for a different thread's transaction. The file store has the same time as its
# default.
_BUSY_TIMEOUT_S = 10.0
# A waiting thread checks again after this time, because a test that sets a simulated clock wakes no thread.
_POLL_S = 0.02


class MemoryOperations:
    """The operations that a store and a transaction have in common."""

    session_type = InMemorySession

    @abstractmethod
    def _engine(self, *, writes: bool = True) -> AbstractContextManager[Engine]:
        """Yield the engine for one operation, after the engine has read the clocks."""

    def wall_us(self) -> int:
        with self._engine(writes=False) as engine:
            return engine.wall

    def check_usable(self, *, writes: bool) -> None:
        with self._engine(writes=writes):
            pass

    # -- claims

    def claim_task(
        self, *, instance_id: str, task_id: str, worker_id: str, ttl_us: int | None, session_id: int | None
    ) -> TaskClaim | None:
        with self._engine() as engine:
            engine.sweep_task(engine.task(instance_id, task_id))
            task = engine.task(instance_id, task_id)
            if not engine.can_be_claimed(task):
                return None
            return reading.claim_of(engine, engine.claim(task, worker_id, ttl_us, session_id))

    def claim_available_tasks(
        self, *, worker_id: str, limit: int, ttl_us: int | None, tags: Tags, kinds: Kinds, session_id: int | None
    ) -> list[ClaimedTask]:
        with self._engine() as engine:
            claimed = []
            for found in _first_available(engine, worker_id, limit, tags, kinds):
                task = engine.claim(found, worker_id, ttl_us, session_id)
                available = reading.available_task(engine, task, task.attempts)
                claimed.append(ClaimedTask(available, reading.claim_of(engine, task)))
            return claimed

    def release_task_claim(self, *, instance_id: str, task_id: str, worker_id: str) -> None:
        with self._engine() as engine:
            engine.release(engine.held_by_name(instance_id, task_id, worker_id), None)

    def extend_task_claim(self, *, instance_id: str, task_id: str, worker_id: str, additional_us: int) -> bool:
        with self._engine() as engine:
            task = engine.held_by_name(instance_id, task_id, worker_id)
            if task.expires_wall is not None and task.expires_wall + additional_us > WALL_US_MAX:
                return False
            engine.extend(task, additional_us)
            return True

    def renew_task_claim(self, claim: TaskClaim, *, ttl_us: int | None) -> TaskClaim:
        with self._engine() as engine:
            return reading.claim_of(engine, engine.renew(engine.held_by_token(claim), ttl_us))

    def complete_task(self, claim: TaskClaim, output: bytes) -> None:
        with self._engine() as engine:
            engine.complete(engine.held_by_token(claim), output)

    def fail_task(self, claim: TaskClaim, *, error: str, retry: bool, retry_in_us: int | None) -> None:
        with self._engine() as engine:
            engine.fail(engine.held_by_token(claim), error, retry, retry_in_us)

    def release_task(self, claim: TaskClaim, *, delay_us: int | None) -> None:
        with self._engine() as engine:
            engine.release(engine.held_by_token(claim), delay_us)

    def renew_task_claims(self, claims: Sequence[TaskClaim], *, ttl_us: int | None) -> Settled:
        with self._engine() as engine:
            done: list[TaskClaim] = []
            _, lost = _in_turn(
                engine, claims, lambda task, _: done.append(reading.claim_of(engine, engine.renew(task, ttl_us)))
            )
            return Settled(done, lost)

    def complete_tasks(self, results: Sequence[tuple[TaskClaim, bytes]]) -> Settled:
        with self._engine() as engine:
            claims = [claim for claim, _ in results]
            return _in_turn(engine, claims, lambda task, index: engine.complete(task, results[index][1]))

    def fail_tasks(self, failures: Sequence[tuple[TaskClaim, str]]) -> Settled:
        with self._engine() as engine:
            claims = [claim for claim, _ in failures]
            return _in_turn(engine, claims, lambda task, index: engine.fail(task, failures[index][1], True, None))

    def release_tasks(self, claims: Sequence[TaskClaim]) -> Settled:
        with self._engine() as engine:
            return _in_turn(engine, claims, lambda task, _: engine.release(task, None))

    # -- tasks and instances

    def add_instance(
        self, instance_id: str, tasks: Sequence[NewTask], *, definition_hash: str, skip_existing: bool
    ) -> bool:
        with self._engine() as engine:
            return engine.add_instance(instance_id, tasks, definition_hash, skip_existing)

    def add_tasks(self, instance_id: str, tasks: Sequence[NewTask], *, skip_existing: bool) -> int:
        with self._engine() as engine:
            return engine.add_tasks(instance_id, tasks, skip_existing)

    def pause_instance(self, instance_id: str) -> Steps:
        with self._engine() as engine:
            engine.pause(instance_id)
        return ()

    def resume_instance(self, instance_id: str) -> Steps:
        with self._engine() as engine:
            engine.resume(instance_id)
        return ()

    def cancel_instance(self, instance_id: str, *, reason: str | None) -> Steps:
        with self._engine() as engine:
            engine.cancel(instance_id, reason)
        return ()

    def retry_task(self, *, instance_id: str, task_id: str) -> None:
        with self._engine() as engine:
            engine.retry(instance_id, task_id)

    def set_aging_interval(self, aging_us: int | None) -> None:
        with self._engine() as engine:
            engine.state.aging = aging_us

    def get_task(self, *, instance_id: str, task_id: str) -> TaskInfo:
        with self._engine(writes=False) as engine:
            return reading.task_info(engine, engine.task(instance_id, task_id))

    def get_instance(self, instance_id: str) -> InstanceInfo:
        with self._engine(writes=False) as engine:
            return reading.instance_info(engine, instance_id)


class MemoryBackend(MemoryOperations):
    """The operations of a store."""

    def __init__(self, clock: Clock) -> None:
        self.engine = Engine(clock)
        self.changed = threading.Condition(threading.RLock())
        # True while the thread that holds the lock has a transaction open.
        self.in_transaction = False
        self._commits = 0
        self._closed = False

    @contextmanager
    def _engine(self, *, writes: bool = True) -> Iterator[Engine]:
        if not self.changed.acquire(timeout=_BUSY_TIMEOUT_S):
            raise StoreBusyError(f"a transaction of another thread has been open for more than {_BUSY_TIMEOUT_S:g} s")
        try:
            if self._closed:
                raise StoreClosedError("the store is closed")
            if writes and self.in_transaction:
                raise InvalidStateError("this thread has a transaction open: call the method on its tx")
            self.engine.catch_up()
            yield self.engine
            if writes:
                self.notify()
        finally:
            self.changed.release()

    def notify(self) -> None:
        """Wake all waiting threads after a change."""
        self._commits += 1
        self.changed.notify_all()

    # -- finding work, and waiting

    def find_available_tasks(self, *, worker_id: str, limit: int, tags: Tags, kinds: Kinds) -> list[AvailableTask]:
        with self._engine(writes=False) as engine:
            found = _first_available(engine, worker_id, limit, tags, kinds)
            return [reading.available_task(engine, task, task.attempts + 1) for task in found]

    def any_available(self, *, tags: Tags, kinds: Kinds) -> bool:
        with self._engine(writes=False) as engine:
            engine.sweep()
            return any(True for _ in engine.available(frozenset(tags), kinds))

    def ready_number(self) -> int:
        return self.commit_number()

    def wait_ready(self, number: int, *, tags: Tags, kinds: Kinds, timeout_s: float) -> None:  # noqa: ARG002 - polls
        self.wait_commit(number, timeout_s=timeout_s)

    def commit_number(self) -> int:
        with self._engine(writes=False):
            return self._commits

    def wait_commit(self, number: int, *, timeout_s: float) -> None:
        with self._engine(writes=False):
            if self._commits != number:
                return
            if not self.in_transaction:
                self.changed.wait(min(timeout_s, _POLL_S))
            else:  # inside a transaction, a wait on the condition would release the lock
                time.sleep(min(timeout_s, _POLL_S))

    # -- reading: each page has one record, with its state when the page is read

    def explain_task(self, *, instance_id: str, task_id: str) -> str:
        with self._engine(writes=False) as engine:
            return reading.explanation(engine, engine.task(instance_id, task_id))

    def list_instances(self, *, states: Collection[InstanceState] | None) -> Iterator[list[InstanceInfo]]:
        with self._engine(writes=False) as engine:
            names = list(engine.state.instances)

        def show(engine: Engine, name: str) -> InstanceInfo | None:
            instance = engine.state.instances.get(name)
            is_shown = instance is not None and (states is None or instance.state in states)
            return reading.instance_info(engine, name) if is_shown else None

        return self._each(names, show)

    def list_tasks(
        self, *, instance_id: str | None, states: Collection[TaskState] | None, kinds: Kinds
    ) -> Iterator[list[TaskInfo]]:
        with self._engine(writes=False) as engine:
            if instance_id is None:
                keys = list(engine.state.tasks)
            else:
                engine.instance(instance_id)
                keys = sorted((instance_id, name) for name in engine.state.members[instance_id])

        def show(engine: Engine, key: tuple[str, str]) -> TaskInfo | None:
            task = engine.state.tasks.get(key)
            if task is None or not (states is None or reading.state_of(engine, task) in states):
                return None
            return reading.task_info(engine, task) if kinds is None or (task.spec.kind or "") in kinds else None

        return self._each(keys, show)

    def list_claims(self, *, worker_id: str | None) -> Iterator[list[TaskClaim]]:
        with self._engine(writes=False) as engine:
            keys = list(engine.state.held)

        def show(engine: Engine, key: tuple[str, str]) -> TaskClaim | None:
            task = engine.state.tasks.get(key)
            is_held = task is not None and task.state is TaskState.CLAIMED and worker_id in (None, task.worker_id)
            return reading.claim_of(engine, task) if is_held and task is not None else None

        return self._each(keys, show)

    def list_workers(self) -> Iterator[list[WorkerInfo]]:
        with self._engine(writes=False) as engine:
            return iter([[reading.worker_info(engine, session) for session in engine.state.sessions.values()]])

    def _each(self, keys: list[K], show: Callable[[Engine, K], T | None]) -> Iterator[list[T]]:
        for key in keys:
            with self._engine(writes=False) as engine:
                record = show(engine, key)
            if record is not None:
                yield [record]

    def stats(self) -> StoreStats:
        with self._engine(writes=False) as engine:
            return reading.stats(engine)

    def aging_us(self) -> int | None:
        with self._engine(writes=False) as engine:
            return engine.state.aging

    # -- the store as a whole

    def prune(self, *, older_than_us: int, limit: int) -> tuple[int, Steps]:
        with self._engine() as engine:
            return engine.prune(older_than_us, limit), ()

    def backup(self, path: str) -> _Done[None]:  # noqa: ARG002 - the interface's
        self.check_usable(writes=False)
        raise InvalidStateError("a store in memory has no file to copy")

    def check(self) -> _Done[list[str]]:
        with self._engine(writes=False) as engine:
            return _Done(engine.state.damage())

    def open_session(self, worker_id: str) -> InMemorySession:
        with self._engine() as engine:
            id = engine.open_session(worker_id).id
        return InMemorySession(
            id, worker_id, is_known=lambda id: id in self.engine.state.sessions, end=self._end_session
        )

    def _is_known(self, id: int) -> bool:
        return id in self.engine.state.sessions

    def _end_session(self, id: int, *, is_noticed: bool) -> None:
        with self.changed:
            if self._closed:
                return
            self.engine.catch_up()
            if is_noticed:
                self.engine.close_session(id)
            else:
                self.engine.dead_sessions.add(id)
            self.notify()

    def transaction(self, timeout_s: float) -> MemoryTransaction:
        return MemoryTransaction(self, timeout_s)

    def close(self) -> None:
        with self.changed:
            if self.in_transaction:
                raise InvalidStateError("a transaction is open: leave its with block first")
            self._closed = True
            self.changed.notify_all()


class MemoryTransaction(MemoryOperations):
    """A transaction, which holds the store's lock until its end. A rollback restores the state at its begin."""

    def __init__(self, store: MemoryBackend, timeout_s: float) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._thread = 0
        self.deadline = 0.0
        self._is_open = False
        self._is_late = False

    def begin(self) -> None:
        if self._thread:
            raise InvalidStateError("a transaction can be entered only once")
        store = self._store
        self.deadline = time.monotonic() + self._timeout_s
        if not store.changed.acquire(timeout=min(self._timeout_s, threading.TIMEOUT_MAX)):
            raise StoreBusyError(f"another thread has used the store for more than {self._timeout_s:g} s")
        try:
            store.check_usable(writes=True)
            self._before = store.engine.state.copy()
        except BaseException:
            store.changed.release()
            raise
        store.in_transaction = self._is_open = True
        self._thread = threading.get_ident()

    def end(self, *, commit: bool) -> None:
        try:
            if commit:
                self._check()
        finally:
            if threading.get_ident() == self._thread:
                self._finish(commit=commit)

    def __del__(self) -> None:
        if threading.get_ident() == self._thread:
            self._finish(commit=False)

    def _finish(self, *, commit: bool) -> None:
        if self._is_open:
            self._is_open = self._store.in_transaction = False
            if not commit:
                self._store.engine.state = self._before
            self._store.notify()
            self._store.changed.release()

    def _check(self) -> None:
        if threading.get_ident() != self._thread:
            raise InvalidStateError("only the thread that entered a transaction can use it")
        if self._is_open and time.monotonic() > self.deadline:
            self._is_late = True
            self._finish(commit=False)
        if self._is_late:
            raise StoreBusyError(f"held the store for more than {self._timeout_s:g} s, so it was rolled back")
        if not self._is_open:
            raise InvalidStateError("the transaction has ended")

    @contextmanager
    def _engine(self, *, writes: bool = True) -> Iterator[Engine]:  # noqa: ARG002 - reads and writes are alike here
        self._check()
        self._store.engine.catch_up()
        yield self._store.engine

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:  # noqa: ARG002
        self._check()
        raise InvalidStateError("a store in memory has no SQL; use SqliteClaimStore")


class _Done(Generic[T]):
    """A ``LongRead`` that needs no steps, because its result exists already."""

    path = "memory"

    def __init__(self, result: T) -> None:
        self._result = result

    def run(self) -> T:
        return self._result

    def stop(self, *, wait: bool) -> None:
        pass


def _first_available(engine: Engine, worker_id: str, limit: int, tags: Tags, kinds: Kinds) -> list[Task]:
    """Return the first tasks that can be claimed. Tasks whose last attempt failed on this worker come last."""
    engine.sweep()
    tasks = list(islice(engine.available(frozenset(tags), kinds), limit))
    # If a task's claim has expired, its last attempt was a loss, not a failure on a worker.
    return sorted(tasks, key=lambda task: task.expires is None and task.failed_on == worker_id)


def _in_turn(engine: Engine, claims: Sequence[TaskClaim], settle: Callable[[Task, int], None]) -> Settled:
    done: list[TaskClaim] = []
    lost: list[TaskClaim] = []
    for index, claim in enumerate(claims):
        try:
            task = engine.held_by_token(claim)
        except ClaimLostError:
            lost.append(claim)
        else:
            settle(task, index)
            done.append(claim)
    return Settled(done, lost)
