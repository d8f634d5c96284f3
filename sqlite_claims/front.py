"""The public methods of all stores: check the arguments, then call the engine's operation of the same name.

Each method is defined only once, in this module. ``Writer`` has the methods that a store and its transactions share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from . import arguments, validate
from .backend import Backend, LongRead, S, Steps, TransactionBackend, WriterBackend
from .errors import InvalidArgumentError
from .graph import check_graph
from .interface import ClaimWriter, IfExists, Settled, TaskClaimStore, Transaction, WorkerSession
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

T = TypeVar("T")
# A hundred years, in microseconds. Only a duration of more than a hundred years can end after 9999, the last year of a
# Python date.
_LONG_US = 100 * 365 * 86_400 * 1_000_000
# Longest pause after a step of a long operation. Up to this limit, the pause is as long as the step, so that other
# processes can write.
_PAUSE_S_MAX = 0.02
# Shortest and longest interval between two reads of an instance in a call that waits for the instance. The interval is
# short while workers commit often, and long while nothing is committed.
_POLL_S_MIN, _POLL_S_MAX = 0.002, 0.5


class Paged(Iterator[T], Generic[T]):
    """An iterator over records. Each page of records is read when the iteration reaches the page. The
    attribute ``pages`` iterates over whole pages."""

    def __init__(self, pages: Iterator[list[T]]) -> None:
        self.pages = pages
        self._records = chain.from_iterable(pages)

    def __next__(self) -> T:
        return next(self._records)


class Writer(ClaimWriter):
    """The methods that a store and its transactions share."""

    _backend: WriterBackend

    def _duration_us(self, argument: str, value: Duration) -> int:
        us = validate.duration_us(argument, value)
        return us if us < _LONG_US else validate.duration_us(argument, value, wall_us=self._backend.wall_us())

    def _session_id(self, session: WorkerSession) -> int:
        if not isinstance(session, self._backend.session_type):
            raise InvalidArgumentError(f"session must come from open_session(), not {validate.shown(session)}")
        if not session.is_open:
            raise InvalidArgumentError("session is closed")
        return session.id

    # -- claims, by the names of tasks and workers

    def claim_task(
        self,
        instance_id: str,
        task_id: str,
        worker_id: str,
        ttl: Duration | None,
        *,
        session: WorkerSession | None = None,
    ) -> TaskClaim | None:
        return self._backend.claim_task(
            instance_id=validate.name("instance_id", instance_id),
            task_id=validate.name("task_id", task_id),
            worker_id=validate.name("worker_id", worker_id),
            ttl_us=None if ttl is None else self._duration_us("ttl", ttl),
            session_id=None if session is None else self._session_id(session),
        )

    def release_task_claim(self, instance_id: str, task_id: str, worker_id: str) -> None:
        self._backend.release_task_claim(
            instance_id=validate.name("instance_id", instance_id),
            task_id=validate.name("task_id", task_id),
            worker_id=validate.name("worker_id", worker_id),
        )

    def extend_task_claim(self, instance_id: str, task_id: str, worker_id: str, additional_duration: Duration) -> None:
        if not self._backend.extend_task_claim(
            instance_id=validate.name("instance_id", instance_id),
            task_id=validate.name("task_id", task_id),
            worker_id=validate.name("worker_id", worker_id),
            additional_us=self._duration_us("additional_duration", additional_duration),
        ):
            raise InvalidArgumentError(
                f"additional_duration reaches past the year 9999: {validate.shown(additional_duration)}"
            )

    def claim_available_tasks(
        self,
        worker_id: str,
        limit: int = 1,
        ttl: Duration | None = 30.0,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
        session: WorkerSession | None = None,
    ) -> list[ClaimedTask]:
        worker_id = validate.name("worker_id", worker_id)
        limit = validate.limit(limit)
        ttl_us = None if ttl is None else self._duration_us("ttl", ttl)
        worker_tags = () if tags is None else validate.names("tags", tags)
        worker_kinds = validate.kinds(kinds)
        session_id = None if session is None else self._session_id(session)
        if limit == 0 or (worker_kinds is not None and not worker_kinds):
            self._backend.check_usable(writes=True)
            return []
        return self._backend.claim_available_tasks(
            worker_id=worker_id,
            limit=limit,
            ttl_us=ttl_us,
            tags=worker_tags,
            kinds=worker_kinds,
            session_id=session_id,
        )

    # -- claims, by their tokens

    def renew_task_claim(self, claim: TaskClaim, ttl: Duration | None) -> TaskClaim:
        return self._backend.renew_task_claim(
            arguments.claim("claim", claim), ttl_us=None if ttl is None else self._duration_us("ttl", ttl)
        )

    def complete_task(self, claim: TaskClaim, output: bytes = b"") -> None:
        self._backend.complete_task(arguments.claim("claim", claim), validate.data("output", output))

    def fail_task(self, claim: TaskClaim, error: str, *, retry: bool = True, retry_in: Duration | None = None) -> None:
        self._backend.fail_task(
            arguments.claim("claim", claim),
            error=validate.text("error", error),
            retry=validate.boolean("retry", retry),
            retry_in_us=None if retry_in is None else self._duration_us("retry_in", retry_in),
        )

    def release_task(self, claim: TaskClaim, *, delay: Duration | None = None) -> None:
        self._backend.release_task(
            arguments.claim("claim", claim), delay_us=None if delay is None else self._duration_us("delay", delay)
        )

    def renew_task_claims(self, claims: Iterable[TaskClaim], ttl: Duration | None) -> Settled:
        return self._backend.renew_task_claims(
            arguments.claims(claims), ttl_us=None if ttl is None else self._duration_us("ttl", ttl)
        )

    def complete_tasks(self, results: Iterable[tuple[TaskClaim, bytes]]) -> Settled:
        return self._backend.complete_tasks(arguments.pairs("results", "output", results, validate.data))

    def fail_tasks(self, failures: Iterable[tuple[TaskClaim, str]]) -> Settled:
        return self._backend.fail_tasks(arguments.pairs("failures", "error", failures, validate.text))

    def release_tasks(self, claims: Iterable[TaskClaim]) -> Settled:
        return self._backend.release_tasks(arguments.claims(claims))

    # -- adding

    def add_instance(
        self,
        instance_id: str,
        tasks: Iterable[NewTask] = (),
        *,
        definition_hash: str = "",
        if_exists: IfExists = "error",
    ) -> bool:
        instance_id = validate.name("instance_id", instance_id)
        new_tasks = arguments.tasks(tasks)
        check_graph(new_tasks, is_whole=True)
        return self._backend.add_instance(
            instance_id,
            new_tasks,
            definition_hash=validate.name("definition_hash", definition_hash, empty=True),
            skip_existing=arguments.skips_existing(if_exists),
        )

    def add_tasks(self, instance_id: str, tasks: Iterable[NewTask], *, if_exists: IfExists = "error") -> int:
        instance_id = validate.name("instance_id", instance_id)
        new_tasks = arguments.tasks(tasks)
        check_graph(new_tasks, is_whole=False)
        return self._backend.add_tasks(instance_id, new_tasks, skip_existing=arguments.skips_existing(if_exists))

    # -- controls

    def pause_instance(self, instance_id: str) -> None:
        _take(self._backend.pause_instance(validate.name("instance_id", instance_id)))

    def resume_instance(self, instance_id: str) -> None:
        _take(self._backend.resume_instance(validate.name("instance_id", instance_id)))

    def cancel_instance(self, instance_id: str, reason: str | None = None) -> None:
        text = None if reason is None else validate.text("reason", reason)
        _take(self._backend.cancel_instance(validate.name("instance_id", instance_id), reason=text))

    def retry_task(self, instance_id: str, task_id: str) -> None:
        self._backend.retry_task(
            instance_id=validate.name("instance_id", instance_id), task_id=validate.name("task_id", task_id)
        )

    def set_aging_interval(self, interval: Duration | None) -> None:
        aging_us = None if interval is None else validate.duration_us("interval", interval)
        if aging_us == 0:
            raise InvalidArgumentError("interval must be more than 0 s, or None for no aging")
        self._backend.set_aging_interval(aging_us)

    # -- reading

    def get_task(self, instance_id: str, task_id: str) -> TaskInfo:
        return self._backend.get_task(
            instance_id=validate.name("instance_id", instance_id), task_id=validate.name("task_id", task_id)
        )

    def get_instance(self, instance_id: str) -> InstanceInfo:
        return self._backend.get_instance(validate.name("instance_id", instance_id))


class OpenTransaction(Writer, Transaction):
    """A transaction that lasts as long as its ``with`` block. Only the thread that entered the block may use it."""

    _backend: TransactionBackend

    def __init__(self, backend: TransactionBackend) -> None:
        self._backend = backend

    def __enter__(self) -> Self:
        self._backend.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._backend.end(commit=kind is None)

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        if not isinstance(sql, str):
            raise InvalidArgumentError(f"sql must be a str, not {type(sql).__name__}")
        return self._backend.execute(sql, params)


class Store(Writer, TaskClaimStore, Generic[S]):
    """The methods of a store on any engine."""

    _backend: Backend[S]

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
        worker_tags = () if tags is None else validate.names("tags", tags)
        worker_kinds = validate.kinds(kinds)
        if limit == 0 or (worker_kinds is not None and not worker_kinds):
            self._backend.check_usable(writes=False)
            return []
        return self._backend.find_available_tasks(
            worker_id=worker_id, limit=limit, tags=worker_tags, kinds=worker_kinds
        )

    def wait_for_tasks(
        self, timeout: Duration, *, tags: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> bool:
        backend = self._backend
        worker_tags = () if tags is None else validate.names("tags", tags)
        worker_kinds = validate.kinds(kinds)
        deadline = time.monotonic() + validate.duration_us("timeout", timeout) / 1e6
        while True:
            number = backend.ready_number()
            if backend.any_available(tags=worker_tags, kinds=worker_kinds):
                return True
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return False
            backend.wait_ready(number, tags=worker_tags, kinds=worker_kinds, timeout_s=remaining_s)

    def open_session(self, worker_id: str) -> S:
        return self._backend.open_session(validate.name("worker_id", worker_id))

    # -- reading

    def explain_task(self, instance_id: str, task_id: str) -> str:
        return self._backend.explain_task(
            instance_id=validate.name("instance_id", instance_id), task_id=validate.name("task_id", task_id)
        )

    def wait_for_instance(self, instance_id: str, timeout: Duration) -> InstanceInfo | None:
        backend = self._backend
        instance_id = validate.name("instance_id", instance_id)
        deadline = time.monotonic() + validate.duration_us("timeout", timeout) / 1e6
        while True:
            number = backend.commit_number()
            info = backend.get_instance(instance_id)
            if info.state.has_ended:
                return info
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return None
            backend.wait_commit(number, timeout_s=min(remaining_s, _POLL_S_MAX))
            # Busy workers commit very often. Without this sleep, every commit would cause a read.
            time.sleep(min(_POLL_S_MIN, remaining_s))

    def list_instances(
        self, *, states: Collection[InstanceState] | None = None, limit: int | None = None
    ) -> Iterator[InstanceInfo]:
        number = _number(limit)
        return _first(number, self._backend.list_instances(states=validate.states("states", states, InstanceState)))

    def list_tasks(
        self,
        instance_id: str | None = None,
        *,
        states: Collection[TaskState] | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[TaskInfo]:
        number = _number(limit)
        pages = self._backend.list_tasks(
            instance_id=None if instance_id is None else validate.name("instance_id", instance_id),
            states=validate.states("states", states, TaskState),
            kinds=validate.kinds(kinds),
        )
        return _first(number, pages)

    def list_claims(self, worker_id: str | None = None) -> Iterator[TaskClaim]:
        name = None if worker_id is None else validate.name("worker_id", worker_id)
        return Paged(self._backend.list_claims(worker_id=name))

    def list_workers(self) -> Iterator[WorkerInfo]:
        return Paged(self._backend.list_workers())

    def stats(self) -> StoreStats:
        return self._backend.stats()

    # -- the store as a whole

    def transaction(self, timeout: Duration = 5.0) -> OpenTransaction:
        return OpenTransaction(self._backend.transaction(validate.duration_us("timeout", timeout) / 1e6))

    @property
    def aging_interval(self) -> float | None:
        aging_us = self._backend.aging_us()
        return None if aging_us is None else aging_us / 1e6

    def prune(self, older_than: Duration, *, limit: int = 1000) -> int:
        pruned, steps = self._backend.prune(
            older_than_us=validate.duration_us("older_than", older_than), limit=validate.limit(limit)
        )
        _take(steps)
        return pruned

    def backup(self, path: str | os.PathLike[str]) -> None:
        self._backup(path).run()

    def _backup(self, path: str | os.PathLike[str]) -> LongRead[None]:
        return self._backend.backup(validate.store_path(path))

    def check(self) -> list[str]:
        return self._check().run()

    def _check(self) -> LongRead[list[str]]:
        return self._backend.check()

    def close(self) -> None:
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _take(steps: Steps) -> None:
    """Run the steps of a long operation, with pauses in which other processes can write."""
    began = time.monotonic()
    for _ in steps:
        time.sleep(min(time.monotonic() - began, _PAUSE_S_MAX))
        began = time.monotonic()


def _number(limit: int | None) -> int:
    return validate.LIMIT_MAX if limit is None else validate.limit(limit)


def _first(number: int, pages: Iterator[list[T]]) -> Paged[T]:
    """Return an iterator over the first ``number`` records. The pages after these records are not read."""

    def cut() -> Iterator[list[T]]:
        remaining = number
        while remaining and (page := next(pages, None)) is not None:
            yield page[:remaining]
            remaining -= min(remaining, len(page))

    return Paged(cut())
