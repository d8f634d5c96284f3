"""The records that a store takes and returns, and their states. All records are immutable, and do not
access a database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypeVar

from . import validate
from .clock import SYSTEM_CLOCK, Clock
from .errors import InvalidArgumentError

Duration = timedelta | int | float
"""A span of time: a ``timedelta``, or seconds as ``int`` or ``float``."""


class TaskState(StrEnum):
    """The state of a task.

    A task whose claim has expired stays ``CLAIMED`` until the claim is settled or another worker takes the task over.
    """

    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    READY = "ready"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """True if the task is completed, failed or cancelled."""
        return self in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED)


class InstanceState(StrEnum):
    """The state of an instance."""

    IN_PROGRESS = "in_progress"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """True if the instance is completed, failed or cancelled."""
        return self not in (InstanceState.IN_PROGRESS, InstanceState.PAUSED)


@dataclass(frozen=True, slots=True)
class TaskClaim:
    """The exclusive right of a worker to do a task, for a limited time. The claim's token proves this right.

    Attributes:
        instance_id: Name of the instance.
        task_id: Name of the task.
        worker_id: Name of the worker that claimed the task.
        claimed_at: Unix time of the claim by the wall clock, only for display.
        expires_at: Unix time of the expiry by the wall clock, only for display. ``None``: the claim does not expire.
        token: Fencing token, larger than the token of every earlier claim of the task. Pass the token to systems that
            the task changes, so that these systems can refuse requests of workers with older claims.
    """

    instance_id: str
    task_id: str
    worker_id: str
    claimed_at: float
    expires_at: float | None
    token: int
    # Expiry on the awake clock, which stops while the machine sleeps and ignores changes of the wall clock.
    _ends_us: int | None = field(default=None, repr=False, compare=False)
    _clock: Clock = field(default=SYSTEM_CLOCK, repr=False, compare=False)
    # Row id of the task. The row id saves a lookup by name. The store always checks the claim's names and token.
    _row: int = field(default=0, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._ends_us is None and self.expires_at is not None:
            left = round(self.expires_at * 1e6) - self._clock.wall_us()
            object.__setattr__(self, "_ends_us", self._clock.awake_us() + left)

    def is_owned_by(self, worker_id: str) -> bool:
        """Return whether this worker made the claim."""
        return self.worker_id == worker_id

    def is_expired(self) -> bool:
        """Return whether the claim's lease has ended, according to this machine's clock.

        An expired claim may still be valid, and only the store knows whether the claim is valid.
        """
        return self._ends_us is not None and self._clock.awake_us() >= self._ends_us

    def remaining(self) -> float | None:
        """Return the seconds until the lease ends: 0 if the claim has expired, ``None`` if it never expires."""
        if self._ends_us is None:
            return None
        return max(0, self._ends_us - self._clock.awake_us()) / 1e6


@dataclass(frozen=True, slots=True)
class AvailableTask:
    """A task that could be claimed.

    Attributes:
        instance_id: Name of the instance.
        task_id: Name of the task.
        input: The input that the task was added with. If it was added without an input: the output of the task's only
            dependency, or ``b""``.
        workflow_definition_hash: The ``definition_hash`` of the instance.
        kind: Name that selects the handler; ``""`` if the task has no kind.
        priority: 1 (first) to 5 (last).
        tags: The tags of the task, sorted and without duplicates.
        attempt: Number of the task's next attempt. The first attempt has the number 1.
        metadata: The metadata that the task was added with; ``{}`` if it was added without metadata.
        timeout: Seconds that one attempt may run; ``None``: the task has no timeout of its own.
    """

    instance_id: str
    task_id: str
    input: bytes
    workflow_definition_hash: str
    kind: str = ""
    priority: int = 3
    tags: tuple[str, ...] = ()
    attempt: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """A task and the claim that the caller now holds on it."""

    task: AvailableTask
    claim: TaskClaim


T = TypeVar("T")


def _maker(record: type[T]) -> Callable[..., T]:
    """Return a fast constructor of a frozen record. The constructor does not check the fields.


    The usual constructor of a frozen record makes one function call per field, and takes three times as long. The fast
    constructor takes all fields by position. The fast constructor fills an object of a class that has the same slots
    but is not frozen. Then the constructor changes the object's class to the class of the record.
    """

    def freeze(made: Any) -> None:
        made.__class__ = record

    names = [field.name for field in fields(record)]  # type: ignore[arg-type]
    return make_dataclass(record.__name__, names, namespace={"__post_init__": freeze}, slots=True, eq=False, repr=False)


class _NoMetadata(dict[str, str]):
    """The metadata of all tasks without metadata: a ``{}`` that cannot be changed, so that the tasks can share it."""

    def __setitem__(self, key: str, value: str) -> None:
        raise TypeError("the metadata of a task cannot be changed")

    def __reduce__(self) -> tuple[type[dict[str, str]], tuple[()]]:
        return dict, ()

    setdefault = update = __ior__ = __setitem__  # type: ignore[assignment]


NO_METADATA: Mapping[str, str] = _NoMetadata()
make_claim = _maker(TaskClaim)
make_available = _maker(AvailableTask)
make_claimed = _maker(ClaimedTask)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The delays before the retries of a task.

    The delay before retry n is ``initial_delay * multiplier ** (n - 1)`` seconds, at most ``max_delay``. With the
    default values, the first delays are about 1, 2 and 4 seconds.

    Attributes:
        initial_delay: Seconds before the first retry.
        multiplier: Factor by which each delay is longer than the delay before it.
        max_delay: Upper limit of the delay, in seconds.
        jitter: From 0 to 1. Each delay is lengthened or shortened by a random fraction, at most this number.
    """

    initial_delay: float = 1.0
    multiplier: float = 2.0
    max_delay: float = 3600.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        put = object.__setattr__
        for argument in ("initial_delay", "max_delay"):
            put(self, argument, validate.duration_us(f"RetryPolicy.{argument}", getattr(self, argument)) / 1e6)
        put(self, "multiplier", validate.number("RetryPolicy.multiplier", self.multiplier, 0.0, 1e9))
        put(self, "jitter", validate.number("RetryPolicy.jitter", self.jitter, 0.0, 1.0))

    def delay_us(self, failures: int, spread: float) -> int:
        """Return the delay in microseconds between a failure and the retry.

        Args:
            failures: Number of failures so far, including this failure.
            spread: Random number for the jitter, from -1 to 1.
        """
        try:
            delay = self.initial_delay * self.multiplier ** (failures - 1)
        except OverflowError:
            delay = self.max_delay
        return round(min(delay, self.max_delay) * (1 + self.jitter * spread) * 1e6)


DEFAULT_RETRY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to add. The constructor raises ``InvalidArgumentError`` if an argument is wrong.

    Attributes:
        task_id: Name within the instance, at most 256 bytes.
        input: Bytes for the handler. ``None``: the task gets the output of its only dependency, or ``b""``.
        kind: Name that selects the handler. ``None``: only the handler for all other kinds (``"*"``) gets the task.
        depends_on: Names of tasks of the same instance that must be completed first.
        priority: 1 (first) to 5 (last).
        tags: A worker with tags gets the task only if the worker has all of these tags.
        delay: Seconds (or a ``timedelta``) from the completion of the last dependency until the task is ready. Without
            dependencies, the delay starts when the task is added.
        available_at: Aware ``datetime`` by the wall clock, before which the task is not ready. Cannot be combined with
            ``delay``.
        max_attempts: Number of failed attempts after which the task is ``FAILED``.
        max_lost: Number of lost claims after which the task is ``FAILED``.
        retry: The delay before each retry.
        unique_key: At most one open task of the store has this key. The key is free again when the task ends.
        metadata: Names and values to keep with the task, for example a request id. At most 4 KiB as JSON.
        timeout: Seconds (or a ``timedelta``) that one attempt may run. Workers apply this timeout instead of their
            ``task_timeout``.
        expires_at: Aware ``datetime`` by the wall clock. If no worker has claimed the task by then, the task is
            cancelled with the error ``expired``.
        limit: Name of the limit that the task counts against, or name and partition, as in ``"account:42"``. Each
            partition is counted separately. ``None``: the task counts against no limit.
    """

    task_id: str
    input: bytes | None = None
    kind: str | None = field(default=None, kw_only=True)
    depends_on: Iterable[str] = field(default=(), kw_only=True)
    priority: int = field(default=3, kw_only=True)
    tags: Iterable[str] = field(default=(), kw_only=True)
    delay: Duration | None = field(default=None, kw_only=True)
    available_at: datetime | None = field(default=None, kw_only=True)
    max_attempts: int = field(default=3, kw_only=True)
    max_lost: int = field(default=5, kw_only=True)
    retry: RetryPolicy = field(default=DEFAULT_RETRY, kw_only=True)
    unique_key: str | None = field(default=None, kw_only=True)
    metadata: Mapping[str, str] | None = field(default=None, kw_only=True, hash=False)
    timeout: Duration | None = field(default=None, kw_only=True)
    expires_at: datetime | None = field(default=None, kw_only=True)
    limit: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "task_id", validate.name("task_id", self.task_id))
        if self.input is not None:
            put(self, "input", validate.data("input", self.input))
        if self.kind is not None:
            put(self, "kind", validate.name("kind", self.kind))
            if self.kind == "*":
                raise InvalidArgumentError("kind must not be '*', which is reserved for the default handler")
        if self.depends_on != ():
            put(self, "depends_on", validate.names("depends_on", self.depends_on))
            if self.task_id in self.depends_on:
                raise InvalidArgumentError(f"depends_on of task {self.task_id!r} names the task itself")
        if self.tags != ():
            put(self, "tags", validate.names("tags", self.tags))
        validate.integer("priority", self.priority, 1, 5)
        validate.integer("max_attempts", self.max_attempts, 1, 2**31 - 1)
        validate.integer("max_lost", self.max_lost, 1, 2**31 - 1)
        if self.delay is not None:
            if self.available_at is not None:
                raise InvalidArgumentError("delay and available_at cannot be combined; give only one of them")
            put(self, "delay", validate.duration_us("delay", self.delay) / 1e6)
        if self.available_at is not None:
            put(self, "available_at", validate.moment("available_at", self.available_at))
        if not isinstance(self.retry, RetryPolicy):
            raise InvalidArgumentError(f"retry must be a RetryPolicy, not {validate.shown(self.retry)}")
        if self.limit is not None:
            put(self, "limit", validate.limit_name("limit", self.limit))
        if self.has_rare_options():
            self._check_rare_options()

    def has_rare_options(self) -> bool:
        """Return whether the task has a unique key, metadata, a timeout or an expiry."""
        return not (
            self.unique_key is None and self.metadata is None and self.timeout is None and self.expires_at is None
        )

    def _check_rare_options(self) -> None:
        put = object.__setattr__
        if self.unique_key is not None:
            put(self, "unique_key", validate.name("unique_key", self.unique_key))
        if self.metadata is not None:
            put(self, "metadata", validate.metadata(self.metadata) or None)
        if self.timeout is not None:
            put(self, "timeout", validate.timeout_us("timeout", self.timeout) / 1e6)
        if self.expires_at is not None:
            put(self, "expires_at", validate.moment("expires_at", self.expires_at))


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """All information about one task. Times are aware ``datetime`` objects in UTC, by the wall clock.

    Attributes:
        instance_id: Name of the instance.
        task_id: Name of the task.
        input: The input that the handler gets: the input that the task was added with, the output of the task's only
            dependency, or ``b""``.
        workflow_definition_hash: The ``definition_hash`` of the instance.
        kind: Name that selects the handler; ``""`` if the task has no kind.
        priority: 1 (first) to 5 (last).
        tags: The tags of the task, sorted and without duplicates.
        depends_on: Names of the task's dependencies.
        delay: The delay in seconds that the task was added with, or ``None``.
        available_at: The ``available_at`` that the task was added with, or ``None``.
        max_attempts: Limit of ``failures``.
        max_lost: Limit of ``losses``.
        retry: The retry policy.
        limit: The limit that the task counts against, with the partition; ``None`` if there is none.
        state: The current state.
        attempts: Number of claims that were not released, including the current claim.
        failures: Number of attempts that failed.
        losses: Number of claims that were lost.
        output: The result; ``None`` until the task is completed.
        error: Text of the last failure; ``None`` if no attempt failed, or if the task is completed.
        worker_id: Name of the worker with the current or last claim; ``None`` if the task was never claimed, or if the
            last claim was released.
        claim: The current claim; ``None`` if the task is not claimed.
        added_at: Time at which the task was added.
        started_at: Time of the last claim; ``None`` if the task was never claimed.
        finished_at: Time at which the task was completed, failed or cancelled; ``None`` before that.
        progress: The latest report of progress; ``None`` if nothing was reported.
        checkpoint: The latest checkpoint; ``None`` if there is none, or if the task is completed.
        unique_key: The ``unique_key`` that the task was added with, or ``None``.
        metadata: The metadata that the task was added with; ``{}`` if it was added without metadata.
        timeout: Seconds that one attempt may run; ``None``: the task has no timeout of its own.
        expires_at: The ``expires_at`` that the task was added with, or ``None``.
    """

    instance_id: str
    task_id: str
    input: bytes
    workflow_definition_hash: str
    kind: str
    priority: int
    tags: tuple[str, ...]
    depends_on: tuple[str, ...]
    delay: float | None
    available_at: datetime | None
    max_attempts: int
    max_lost: int
    retry: RetryPolicy
    state: TaskState
    attempts: int
    failures: int
    losses: int
    output: bytes | None
    error: str | None
    worker_id: str | None
    claim: TaskClaim | None
    added_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress | None = None
    checkpoint: bytes | None = None
    limit: str | None = None
    unique_key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    timeout: float | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress that the holders of a task's claims have reported.

    Attributes:
        done: Amount of work that is done, in a unit of the caller; ``None`` if no amount was reported.
        total: Amount of all work, in the same unit; ``None`` if no total was reported.
        note: Text for people; ``None`` if no note was reported.
        reported_at: Time of the latest report, as an aware ``datetime`` in UTC by the wall clock.
    """

    done: float | None
    total: float | None
    note: str | None
    reported_at: datetime


class TaskRef(NamedTuple):
    """The names that refer to a task. ``*ref`` passes both names to a method."""

    instance_id: str
    task_id: str


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """A limit, and the tasks that count against the limit, over all its partitions.

    Attributes:
        name: Name of the limit.
        concurrency: Number of tasks of one partition that may be claimed at the same time; ``None``: no bound.
        rate: Number of claims of one partition that may start within a period, and the length of the period in
            seconds; ``None``: no bound.
        running: Number of tasks with a live claim.
        waiting: Number of ready tasks.
        partitions: Number of partitions with tasks that are waiting or claimed.
    """

    name: str
    concurrency: int | None
    rate: tuple[int, float] | None
    running: int
    waiting: int
    partitions: int


@dataclass(frozen=True, slots=True)
class AttemptInfo:
    """An attempt that ended without completion.

    Attributes:
        attempt: Number of the attempt. The first attempt has the number 1.
        worker_id: Name of the worker that had claimed the task.
        started_at: Time of the claim, as an aware ``datetime`` in UTC by the wall clock.
        ended_at: Time at which the failure or the loss was recorded.
        outcome: ``"failed"``, ``"timed out"``, or ``"lost"`` (the claim was lost, for example because the worker died).
        error: Text of the failure, or the cause of the loss.
        detail: The bytes that were passed to ``fail_task``; ``b""`` for a lost claim.
    """

    attempt: int
    worker_id: str
    started_at: datetime
    ended_at: datetime
    outcome: Literal["failed", "lost", "timed out"]
    error: str
    detail: bytes


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """All information about one instance. Times are aware ``datetime`` objects in UTC, by the wall clock.

    Attributes:
        instance_id: Name of the instance.
        state: The current state.
        counts: Number of tasks in each ``TaskState``, including states without tasks.
        definition_hash: The text that was passed to ``add_instance``.
        reason: The text that was passed to ``cancel_instance``, or ``None``.
        added_at: Time at which the instance was added.
        finished_at: Time at which the instance ended; ``None`` before that.
        sealed: True if ``cancel_instance`` was called, so that no more tasks can be added.
    """

    instance_id: str
    state: InstanceState
    counts: Mapping[TaskState, int]
    definition_hash: str
    reason: str | None
    added_at: datetime
    finished_at: datetime | None
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker session.

    Attributes:
        worker_id: Name of the worker.
        pid: Process id of the worker, as seen in the worker's own PID namespace.
        started_at: Time at which the session was opened, in UTC.
        alive: True if the process still holds the session's lock.
        claims: Number of claims that belong to the session.
    """

    worker_id: str
    pid: int
    started_at: datetime
    alive: bool
    claims: int


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Counts and ages of a whole store.

    Attributes:
        counts: Number of tasks in each ``TaskState``, including states without tasks.
        live_claims: Number of claims that have not expired.
        oldest_ready_age: Seconds for which the oldest claimable task has waited; ``None`` if no task can be claimed.
    """

    counts: Mapping[TaskState, int]
    live_claims: int
    oldest_ready_age: float | None
