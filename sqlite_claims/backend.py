"""The interface between the public methods (``front``) and an engine: each operation by name, with checked arguments.

An engine implements each operation as one transaction, if it can as one statement or one function on a server. It
decides by what is stored, and returns records. It checks no arguments: ``front`` has done so, for all engines.
Neighbouring arguments of one type are keyword-only, and the name of each duration ends in its unit.
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
"""A worker's tags, sorted, each once."""
Kinds = frozenset[str] | None
"""The kinds that a worker handles; ``None``: all."""
Steps = Iterable[None]
"""What remains to be done after an operation has taken effect, in short transactions: one for each ``None``. They raise
no error: the next search for work, or prune, does what they could not."""


class WriterBackend(Protocol):
    """The operations that a store and a transaction have in common."""

    @property
    def session_type(self) -> type[WorkerSession]:
        """The class of the sessions that ``open_session`` returns."""

    def wall_us(self) -> int:
        """Return the wall clock's time, by which ``front`` refuses durations that reach past the last date."""

    def check_usable(self, *, writes: bool) -> None:
        """Raise what an operation would raise here whatever its arguments: the store is closed, say. ``writes``: what
        an operation that writes would raise."""

    def claim_task(
        self, *, instance_id: str, task_id: str, worker_id: str, ttl_us: int | None, session_id: int | None
    ) -> TaskClaim | None: ...

    def claim_available_tasks(
        self, *, worker_id: str, limit: int, ttl_us: int | None, tags: Tags, kinds: Kinds, session_id: int | None
    ) -> list[ClaimedTask]: ...

    def release_task_claim(self, *, instance_id: str, task_id: str, worker_id: str) -> None: ...

    def extend_task_claim(self, *, instance_id: str, task_id: str, worker_id: str, additional_us: int) -> bool:
        """Return ``False``, and change nothing, if the expiry would be past the last date (``WALL_US_MAX``)."""

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
    """A transaction over several operations. Once it can't go on, each operation raises the reason."""

    @property
    def deadline(self) -> float:
        """When the transaction has to have ended, by ``time.monotonic``."""

    def begin(self) -> None:
        """Wait for the writer, and begin."""

    def end(self, *, commit: bool) -> None:
        """Commit or roll back. Raise if it was to be committed and could not be."""

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run the caller's own SQL, and undo it alone if it raises."""


class LongRead(Protocol[T_co]):
    """A read of the whole store that other operations don't wait for."""

    @property
    def path(self) -> str:
        """The store's file, which names the thread that reads."""

    def run(self) -> T_co:
        """Read, in the thread that calls."""

    def stop(self, *, wait: bool) -> None:
        """End the read, from any thread: ``run`` raises."""


class Backend(WriterBackend, Protocol[S_co]):
    """An engine, as a store uses it. Safe to share between threads."""

    # -- finding work

    def find_available_tasks(self, *, worker_id: str, limit: int, tags: Tags, kinds: Kinds) -> list[AvailableTask]: ...

    def any_available(self, *, tags: Tags, kinds: Kinds) -> bool:
        """Return whether a worker with these tags and kinds could claim a task now."""

    # -- waiting: read the number, look, and wait for another number if there was nothing

    def ready_number(self) -> int:
        """Return a number that changes whenever tasks may have become claimable."""

    def wait_ready(self, number: int, *, tags: Tags, kinds: Kinds, timeout_s: float) -> None:
        """Wait until the number is another, or time alone may have made a task claimable; at most ``timeout_s``. May
        return earlier."""

    def commit_number(self) -> int:
        """Return a number that changes with each commit."""

    def wait_commit(self, number: int, *, timeout_s: float) -> None:
        """Wait until the number is another; at most ``timeout_s``. May return earlier."""

    # -- reading. A list comes by pages. Each is one read, made when the page is asked for; what no page can give (the
    # -- store is closed, the instance doesn't exist) is raised by the call itself.

    def explain_task(self, *, instance_id: str, task_id: str) -> str: ...

    def list_instances(self, *, states: Collection[InstanceState] | None) -> Iterator[list[InstanceInfo]]: ...

    def list_tasks(
        self, *, instance_id: str | None, states: Collection[TaskState] | None, kinds: Kinds
    ) -> Iterator[list[TaskInfo]]: ...

    def list_claims(self, *, worker_id: str | None) -> Iterator[list[TaskClaim]]: ...

    def list_workers(self) -> Iterator[list[WorkerInfo]]: ...

    def stats(self) -> StoreStats: ...

    def aging_us(self) -> int | None:
        """Return how much waiting is worth one priority level; ``None``: no aging."""

    # -- the store as a whole

    def open_session(self, worker_id: str) -> S_co: ...

    def transaction(self, timeout_s: float) -> TransactionBackend:
        """Return a transaction that has not begun. It may wait for the writer, and hold it, for ``timeout_s``."""

    def prune(self, *, older_than_us: int, limit: int) -> tuple[int, Steps]:
        """Remove ended instances. Return how many, and the steps that remove their tasks."""

    def backup(self, path: str) -> LongRead[None]: ...

    def check(self) -> LongRead[list[str]]: ...

    def close(self) -> None: ...
