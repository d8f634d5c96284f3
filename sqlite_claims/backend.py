"""The interface between the public methods (``front``) and an engine. Each operation is one method.

An engine implements each operation as one transaction. If possible, the transaction is a single statement, or a single
function on a server. An engine reads the stored state and returns records. An engine does not check arguments, because
``front`` checks the arguments for all engines. Neighbouring arguments of the same type are keyword-only. The name of
each duration ends with the unit of the duration.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from .interface import Settled, WorkerSession
from .model import (
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

S = TypeVar("S", bound=WorkerSession)
S_co = TypeVar("S_co", bound=WorkerSession, covariant=True)
T_co = TypeVar("T_co", covariant=True)

Tags = tuple[str, ...]
"""The tags of a worker, sorted and without duplicates."""
Kinds = frozenset[str] | None
"""The kinds that a worker handles. ``None``: all kinds."""
Steps = Iterable[None]
"""The work that remains after an operation has taken effect. Each item is one short transaction. The transactions raise
no errors. If a transaction fails, the next search for work, or the next prune, does the remaining work."""


class WriterBackend(Protocol):
    """The operations that a store and a transaction have in common."""

    @property
    def session_type(self) -> type[WorkerSession]:
        """The class of the sessions that ``open_session`` returns."""

    def wall_us(self) -> int:
        """Return the time of the wall clock, which ``front`` uses to refuse durations that end after the last date."""

    def check_usable(self, *, writes: bool) -> None:
        """Raise an error if the store cannot be used, for example because the store is closed.

        ``writes``: also raise an error if the store can be read but not written.
        """

    def claim_task(
        self, *, instance_id: str, task_id: str, worker_id: str, ttl_us: int | None, session_id: int | None
    ) -> TaskClaim | None: ...

    def claim_available_tasks(
        self, *, worker_id: str, limit: int, ttl_us: int | None, tags: Tags, kinds: Kinds, session_id: int | None
    ) -> list[ClaimedTask]: ...

    def release_task_claim(self, *, instance_id: str, task_id: str, worker_id: str) -> None: ...

    def extend_task_claim(self, *, instance_id: str, task_id: str, worker_id: str, additional_us: int) -> bool:
        """Return ``False``, and change nothing, if the new expiry would be after the last date (``WALL_US_MAX``)."""

    def renew_task_claim(self, claim: TaskClaim, *, ttl_us: int | None) -> TaskClaim: ...

    def complete_task(self, claim: TaskClaim, output: bytes) -> None: ...

    def fail_task(self, claim: TaskClaim, *, error: str, retry: bool, retry_in_us: int | None) -> None: ...

    def release_task(self, claim: TaskClaim, *, delay_us: int | None) -> None: ...

    def renew_task_claims(self, claims: Sequence[TaskClaim], *, ttl_us: int | None) -> Settled: ...

    def complete_tasks(self, results: Sequence[tuple[TaskClaim, bytes]]) -> Settled: ...

    def fail_tasks(self, failures: Sequence[tuple[TaskClaim, str]]) -> Settled: ...

    def release_tasks(self, claims: Sequence[TaskClaim]) -> Settled: ...

    def add_instance(
        self, instance_id: str, tasks: Sequence[NewTask], *, definition_hash: str, skip_existing: bool
    ) -> bool: ...

    def add_tasks(self, instance_id: str, tasks: Sequence[NewTask], *, skip_existing: bool) -> int: ...

    def pause_instance(self, instance_id: str) -> Steps: ...

    def resume_instance(self, instance_id: str) -> Steps: ...

    def cancel_instance(self, instance_id: str, *, reason: str | None) -> Steps: ...

    def retry_task(self, *, instance_id: str, task_id: str) -> None: ...

    def set_aging_interval(self, aging_us: int | None) -> None: ...

    def get_task(self, *, instance_id: str, task_id: str) -> TaskInfo: ...

    def get_instance(self, instance_id: str) -> InstanceInfo: ...


class TransactionBackend(WriterBackend, Protocol):
    """A transaction of several operations. After the transaction has failed, each operation raises the error
    that made the transaction fail."""

    @property
    def deadline(self) -> float:
        """The latest time at which the transaction may end, on the clock ``time.monotonic``."""

    def begin(self) -> None:
        """Wait until the writer is free, and begin the transaction."""

    def end(self, *, commit: bool) -> None:
        """Commit or roll back the transaction. If the commit fails, raise an error."""

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run the caller's own SQL. If the SQL raises an error, undo only the changes of this SQL."""


class LongRead(Protocol[T_co]):
    """A read of the whole store. Other operations do not wait for this read."""

    @property
    def path(self) -> str:
        """The path of the store's file, which is part of the reading thread's name."""

    def run(self) -> T_co:
        """Read the store in the calling thread."""

    def stop(self, *, wait: bool) -> None:
        """End the read. Any thread may call this method. After the call, ``run`` raises an error."""


class Backend(WriterBackend, Protocol[S_co]):
    """The operations of an engine that a store uses. Several threads may share one engine."""

    # -- finding work

    def find_available_tasks(self, *, worker_id: str, limit: int, tags: Tags, kinds: Kinds) -> list[AvailableTask]: ...

    def any_available(self, *, tags: Tags, kinds: Kinds) -> bool:
        """Return whether a worker with these tags and kinds could claim a task now."""

    # -- waiting. A caller reads the number and then checks the state. If the check finds nothing, the caller waits
    # -- until the number has changed.

    def ready_number(self) -> int:
        """Return a number that changes whenever tasks may have become claimable."""

    def wait_ready(self, number: int, *, tags: Tags, kinds: Kinds, timeout_s: float) -> None:
        """Wait until the number has changed, a task may have become due, or a claim may have expired.

        Wait at most ``timeout_s`` seconds. The call may return before any of these events.
        """

    def commit_number(self) -> int:
        """Return a number that changes with each commit."""

    def wait_commit(self, number: int, *, timeout_s: float) -> None:
        """Wait until the number has changed, but at most ``timeout_s`` seconds. The call may return too early."""

    # -- reading. Lists are returned in pages. Each page is read from the file when the caller requests the page. If the
    # -- store is closed or the instance does not exist, the call that returns the list raises the error.

    def explain_task(self, *, instance_id: str, task_id: str) -> str: ...

    def list_instances(self, *, states: Collection[InstanceState] | None) -> Iterator[list[InstanceInfo]]: ...

    def list_tasks(
        self, *, instance_id: str | None, states: Collection[TaskState] | None, kinds: Kinds
    ) -> Iterator[list[TaskInfo]]: ...

    def list_claims(self, *, worker_id: str | None) -> Iterator[list[TaskClaim]]: ...

    def list_workers(self) -> Iterator[list[WorkerInfo]]: ...

    def stats(self) -> StoreStats: ...

    def aging_us(self) -> int | None:
        """Return the microseconds of waiting that count as one priority level. ``None``: no aging."""

    # -- the store as a whole

    def open_session(self, worker_id: str) -> S_co: ...

    def transaction(self, timeout_s: float) -> TransactionBackend:
        """Return a transaction that has not begun. In total, it may wait for and hold the writer for
        ``timeout_s`` seconds."""

    def prune(self, *, older_than_us: int, limit: int) -> tuple[int, Steps]:
        """Remove ended instances. Return the number of removed instances, and the steps that remove their tasks."""

    def backup(self, path: str) -> LongRead[None]: ...

    def check(self) -> LongRead[list[str]]: ...

    def close(self) -> None: ...
