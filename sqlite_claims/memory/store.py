"""The store: one lock around the engine, transactions by snapshot, waiting by condition."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from .. import validate
from ..clock import SYSTEM_CLOCK, Clock
from ..errors import InvalidArgumentError, InvalidStateError, StoreBusyError, StoreClosedError
from ..interface import TaskClaimStore, Transaction
from ..model import (
    AvailableTask,
    Duration,
    InstanceInfo,
    InstanceState,
    StoreStats,
    TaskClaim,
    TaskInfo,
    TaskState,
    WorkerInfo,
)
from . import reading
from .engine import Engine
from .writer import MemoryWriter, first_available, listed, worker_tags

T = TypeVar("T")
K = TypeVar("K")
E = TypeVar("E", TaskState, InstanceState)
# How long an operation waits for another thread's transaction, as the file store's default does.
_BUSY_TIMEOUT = 10.0
# Waiting threads look again this often: a clock that a test moves rings no bell.
_LOOK_AGAIN = 0.02


class InMemorySession:
    """A worker's life, as a store in memory knows it. Leaving its ``with`` block closes it."""

    def __init__(self, store: InMemoryClaimStore, id: int, worker_id: str) -> None:
        self._store = store
        self._is_over = False
        self.id = id
        self.worker_id = worker_id

    def close(self) -> None:
        """End the session. May be called twice. Claims still bound to it are lost: settle or release them first."""
        self._end(seen=True)

    def kill(self) -> None:
        """For tests: the worker dies. Its claims are lost when somebody next looks for work, and so finds out."""
        self._end(seen=False)

    def _end(self, *, seen: bool) -> None:
        if not self._is_over:
            self._is_over = True
            self._store._end_session(self.id, seen=seen)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class InMemoryClaimStore(MemoryWriter, TaskClaimStore):
    """A claim store in this process's memory, for tests of programs that use one: nothing is kept, no other process
    sees it. It means the same as ``SqliteClaimStore``, except that ``backup`` and a transaction's ``execute`` are
    ``InvalidStateError``. ``clock``: where it takes its time from (``sqlite_claims.testing.ManualClock`` stands still).
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._inner = Engine(clock)
        self._changed = threading.Condition(threading.RLock())
        self._tx: _MemoryTransaction | None = None
        self._closed = False

    @contextmanager
    def _engine(self, *, writes: bool = True) -> Iterator[Engine]:
        if not self._changed.acquire(timeout=_BUSY_TIMEOUT):
            raise StoreBusyError(f"Another thread's transaction has kept the store for more than {_BUSY_TIMEOUT:g} s")
        try:
            if self._closed:
                raise StoreClosedError("The store is closed")
            # Whoever gets the lock while a transaction is open is the thread that opened it.
            if writes and self._tx is not None:
                raise InvalidStateError("This thread has a transaction open: write by its methods until it has ended")
            self._inner.catch_up()
            yield self._inner
            if writes:
                self._changed.notify_all()
        finally:
            self._changed.release()

    def find_available_tasks(
        self,
        worker_id: str,
        limit: int,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
    ) -> list[AvailableTask]:
        worker_id, limit = validate.name("worker_id", worker_id), validate.limit(limit)
        wanted_tags, wanted_kinds = worker_tags(tags), validate.kinds(kinds)
        with self._engine(writes=False) as engine:
            found = first_available(engine, worker_id, limit, wanted_tags, wanted_kinds)
            return [reading.available_task(engine, task, task.attempts + 1) for task in found]

    def explain_task(self, instance_id: str, task_id: str) -> str:
        instance_id, task_id = validate.name("instance_id", instance_id), validate.name("task_id", task_id)
        with self._engine(writes=False) as engine:
            return reading.explanation(engine, engine.task(instance_id, task_id))

    # -- waiting

    def wait_for_instance(self, instance_id: str, timeout: Duration) -> InstanceInfo | None:
        instance_id = validate.name("instance_id", instance_id)

        def ended(engine: Engine) -> InstanceInfo | None:
            return reading.instance_info(engine, instance_id) if engine.instance(instance_id).has_ended else None

        return self._wait_for(ended, timeout)

    def wait_for_tasks(
        self, timeout: Duration, *, tags: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> bool:
        wanted_tags, wanted_kinds = worker_tags(tags), validate.kinds(kinds)

        def offered(engine: Engine) -> bool | None:
            engine.look()
            return any(True for _ in engine.available(wanted_tags, wanted_kinds)) or None

        return self._wait_for(offered, timeout) is not None

    def _wait_for(self, found: Callable[[Engine], T | None], timeout: Duration) -> T | None:
        until = time.monotonic() + validate.duration_us("timeout", timeout) / 1e6
        while True:
            with self._engine(writes=False) as engine:
                if (result := found(engine)) is not None:
                    return result
                left = until - time.monotonic()
                if left <= 0:
                    return None
                if self._tx is None:
                    self._changed.wait(min(left, _LOOK_AGAIN))
                else:  # to wait by the condition would let others in, in the midst of the transaction
                    time.sleep(min(left, _LOOK_AGAIN))

    # -- lists and figures

    def list_instances(
        self, *, states: Collection[InstanceState] | None = None, limit: int | None = None
    ) -> Iterator[InstanceInfo]:
        wanted = _wanted(InstanceState, states)
        with self._engine(writes=False) as engine:
            names = list(engine.state.instances)

        def show(engine: Engine, name: str) -> InstanceInfo | None:
            instance = engine.state.instances.get(name)
            shown = instance is not None and (wanted is None or instance.state in wanted)
            return reading.instance_info(engine, name) if shown else None

        return self._each(names, show, limit)

    def list_tasks(
        self,
        instance_id: str | None = None,
        *,
        states: Collection[TaskState] | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[TaskInfo]:
        instance_id = None if instance_id is None else validate.name("instance_id", instance_id)
        wanted, wanted_kinds = _wanted(TaskState, states), validate.kinds(kinds)
        with self._engine(writes=False) as engine:
            if instance_id is None:
                keys = list(engine.state.tasks)
            else:
                engine.instance(instance_id)
                keys = sorted((instance_id, name) for name in engine.state.members[instance_id])

        def show(engine: Engine, key: tuple[str, str]) -> TaskInfo | None:
            task = engine.state.tasks.get(key)
            if task is None or not (wanted is None or reading.state_of(engine, task) in wanted):
                return None
            shown = wanted_kinds is None or (task.spec.kind or "") in wanted_kinds
            return reading.task_info(engine, task) if shown else None

        return self._each(keys, show, limit)

    def list_claims(self, worker_id: str | None = None) -> Iterator[TaskClaim]:
        worker_id = None if worker_id is None else validate.name("worker_id", worker_id)
        with self._engine(writes=False) as engine:
            keys = list(engine.state.held)

        def show(engine: Engine, key: tuple[str, str]) -> TaskClaim | None:
            task = engine.state.tasks.get(key)
            held = task is not None and task.state is TaskState.CLAIMED and worker_id in (None, task.worker_id)
            return reading.claim_of(engine, task) if held and task is not None else None

        return self._each(keys, show, None)

    def list_workers(self) -> Iterator[WorkerInfo]:
        with self._engine(writes=False) as engine:
            ids = list(engine.state.sessions)

        def show(engine: Engine, id: int) -> WorkerInfo | None:
            session = engine.state.sessions.get(id)
            return None if session is None else reading.worker_info(engine, session)

        return self._each(ids, show, None)

    def _each(self, keys: list[K], show: Callable[[Engine, K], T | None], limit: int | None) -> Iterator[T]:
        left = len(keys) if limit is None else validate.limit(limit)

        def shown() -> Iterator[T]:
            number = left
            for key in keys:
                if number == 0:
                    return
                with self._engine(writes=False) as engine:
                    record = show(engine, key)
                if record is not None:
                    number -= 1
                    yield record

        return shown()

    def stats(self) -> StoreStats:
        with self._engine(writes=False) as engine:
            return reading.stats(engine)

    @property
    def aging_interval(self) -> float | None:
        with self._engine(writes=False) as engine:
            return None if engine.state.aging is None else engine.state.aging / 1e6

    # -- upkeep

    def prune(self, older_than: Duration, *, limit: int = 1000) -> int:
        older_than_us, limit = validate.duration_us("older_than", older_than), validate.limit(limit)
        with self._engine() as engine:
            return engine.prune(older_than_us, limit)

    def backup(self, path: str) -> None:  # noqa: ARG002 - the interface's
        with self._engine(writes=False):
            raise InvalidStateError("A store in memory has no file to make a copy of")

    def check(self) -> list[str]:
        with self._engine(writes=False) as engine:
            return engine.state.damage()

    # -- sessions, transactions, the end

    def open_session(self, worker_id: str) -> InMemorySession:
        """A session for ``worker_id``: claims made with ``session=`` end with it, whatever their time."""
        worker_id = validate.name("worker_id", worker_id)
        with self._engine() as engine:
            return InMemorySession(self, engine.open_session(worker_id).id, worker_id)

    def _end_session(self, id: int, *, seen: bool) -> None:
        with self._changed:
            if self._closed:
                return
            self._inner.catch_up()
            if seen:
                self._inner.close_session(id)
            else:
                self._inner.dead_sessions.add(id)
            self._changed.notify_all()

    def transaction(self, timeout: Duration = 5.0) -> AbstractContextManager[Transaction]:
        return self._transaction(validate.duration_us("timeout", timeout) / 1e6)

    @contextmanager
    def _transaction(self, timeout: float) -> Iterator[Transaction]:
        until = time.monotonic() + timeout
        if not self._changed.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            raise StoreBusyError(f"Another thread has kept the store for more than {timeout:g} s")
        try:
            with self._engine() as engine:
                tx = self._tx = _MemoryTransaction(self, engine, until)
        except BaseException:
            self._changed.release()
            raise
        try:
            yield tx
            tx.commit()
        except BaseException:
            tx.roll_back()
            raise

    def _end_transaction(self) -> None:
        self._tx = None
        self._changed.notify_all()
        self._changed.release()

    def close(self) -> None:
        with self._changed:
            if self._tx is not None:
                raise InvalidStateError("A transaction is open: leave its with block first")
            self._closed = True
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _MemoryTransaction(MemoryWriter, Transaction):
    """Holds the store's lock from its making to its end. What it does is undone by putting the old state back."""

    def __init__(self, store: InMemoryClaimStore, engine: Engine, until: float) -> None:
        self._store = store
        self._inner = engine
        self._until = until
        self._thread = threading.get_ident()
        self._before = engine.state.copy()
        self._is_open = True
        self._is_late = False

    @contextmanager
    def _engine(self, *, writes: bool = True) -> Iterator[Engine]:  # noqa: ARG002 - reads and writes are alike here
        self._check()
        self._inner.catch_up()
        yield self._inner

    def execute(
        self,
        sql: str,  # noqa: ARG002 - the interface's
        params: Sequence[Any] | dict[str, Any] = (),  # noqa: ARG002 - the interface's
    ) -> list[tuple[Any, ...]]:
        self._check()
        raise InvalidStateError("A store in memory has no SQL; use SqliteClaimStore")

    def commit(self) -> None:
        self._check()
        self._is_open = False
        self._store._end_transaction()

    def roll_back(self) -> None:
        if self._is_open:
            self._is_open = False
            self._inner.state = self._before
            self._store._end_transaction()

    def _check(self) -> None:
        if threading.get_ident() != self._thread:
            raise InvalidStateError("A transaction belongs to the thread that opened it")
        if self._is_open and time.monotonic() > self._until:
            self._is_late = True
            self.roll_back()
        if self._is_late:
            raise StoreBusyError("The transaction took longer than its timeout: it was rolled back")
        if not self._is_open:
            raise InvalidStateError("The transaction has ended")


def _wanted(kind: type[E], states: Collection[E] | None) -> frozenset[E] | None:
    if states is None:
        return None
    try:
        return frozenset(kind(state) for state in listed("states", states))
    except ValueError:
        raise InvalidArgumentError(f"states must be {kind.__name__}s, not {validate.shown(states)}") from None
