"""The records that a store takes and gives, and their states. Frozen; no record knows a database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from . import validate
from .clock import SYSTEM_CLOCK, Clock
from .errors import InvalidArgumentError

Duration = timedelta | int | float
"""A span of time: a ``timedelta``, or seconds as ``int`` or ``float``."""


class TaskState(StrEnum):
    """Where a task stands. A claim that has expired still shows as ``CLAIMED`` until it is taken over or settled."""

    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    READY = "ready"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class InstanceState(StrEnum):
    """Where an instance stands."""

    IN_PROGRESS = "in_progress"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class TaskClaim:
    """The right of one worker to one task until ``expires_at``, proven by ``token``.

    ``claimed_at`` and ``expires_at`` (``None``: no end) are Unix seconds by the wall clock, for people. ``token``
    is larger than that of every earlier claim of the task: hand it to whatever the task changes outside the store,
    so that a stale worker can be refused there too.
    """

    instance_id: str
    task_id: str
    worker_id: str
    claimed_at: float
    expires_at: float | None
    token: int
    # When it ends on the awake clock, which no clock step moves and which stands still while the machine sleeps.
    _ends_us: int | None = field(default=None, repr=False, compare=False)
    _clock: Clock = field(default=SYSTEM_CLOCK, repr=False, compare=False)
    # Where the store last saw its task: a hint that saves a look-up by name, never believed without one's check.
    _row: int = field(default=0, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._ends_us is None and self.expires_at is not None:
            left = round(self.expires_at * 1e6) - self._clock.wall_us()
            object.__setattr__(self, "_ends_us", self._clock.awake_us() + left)

    def is_owned_by(self, worker_id: str) -> bool:
        """Whether the claim was made under this worker id."""
        return self.worker_id == worker_id

    def is_expired(self) -> bool:
        """Whether its time is over by this machine's lease clock. The store's word is final."""
        return self._ends_us is not None and self._clock.awake_us() >= self._ends_us

    def remaining(self) -> float | None:
        """Seconds left by the lease clock, 0 if expired, ``None`` for a claim without an end."""
        if self._ends_us is None:
            return None
        return max(0, self._ends_us - self._clock.awake_us()) / 1e6


@dataclass(frozen=True, slots=True)
class AvailableTask:
    """A task that could be claimed. ``attempt`` counts from 1; ``kind`` is ``""`` where none was given."""

    instance_id: str
    task_id: str
    input: bytes
    workflow_definition_hash: str
    kind: str = ""
    priority: int = 3
    tags: tuple[str, ...] = ()
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """A task and the claim that the caller now holds on it."""

    task: AvailableTask
    claim: TaskClaim


T = TypeVar("T")


def _maker(record: type[T]) -> Callable[..., T]:
    """Makes frozen records in a third of the time: their own ``__init__`` has to set each field by a call. Takes every
    field, by position, and checks nothing. It fills an object of a twin class that isn't frozen, and makes it one that
    is; Python refuses that where the two don't have the same slots."""

    def freeze(made: Any) -> None:
        made.__class__ = record

    names = [field.name for field in fields(record)]  # type: ignore[arg-type]
    return make_dataclass(record.__name__, names, namespace={"__post_init__": freeze}, slots=True, eq=False, repr=False)


make_claim = _maker(TaskClaim)
make_available = _maker(AvailableTask)
make_claimed = _maker(ClaimedTask)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait before retry n: ``initial_delay * multiplier**(n-1)`` seconds, at most ``max_delay``,
    plus or minus the share ``jitter`` of it (0 to 1), drawn evenly."""

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
        """Microseconds before the retry that follows the ``failures``-th failure.

        ``spread`` is the draw for the jitter, from -1 to 1.
        """
        try:
            delay = self.initial_delay * self.multiplier ** (failures - 1)
        except OverflowError:
            delay = self.max_delay
        return round(min(delay, self.max_delay) * (1 + self.jitter * spread) * 1e6)


DEFAULT_RETRY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to add. Checked when made: bad input is ``InvalidArgumentError``.

    ``priority``: 1 (first) to 5 (last). ``delay``: counted from when its dependencies are met (from the adding,
    where it has none). ``available_at``: an aware ``datetime`` by the wall clock; not both. ``max_attempts`` bounds
    failures, ``max_lost`` lost claims. ``kind`` names the handler. ``tags``: a worker that has tags needs all of
    these. ``input=None``: the output of its one dependency, if it has just one.
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
                raise InvalidArgumentError("delay and available_at exclude each other; give one")
            put(self, "delay", validate.duration_us("delay", self.delay) / 1e6)
        if self.available_at is not None:
            at = self.available_at
            if not isinstance(at, datetime) or at.utcoffset() is None:
                raise InvalidArgumentError(f"available_at must be an aware datetime, not {validate.shown(at)}")
            try:
                put(self, "available_at", at.astimezone(UTC))
            except OverflowError:
                raise InvalidArgumentError(f"available_at is in no year from 1 to 9999: {validate.shown(at)}") from None
        if not isinstance(self.retry, RetryPolicy):
            raise InvalidArgumentError(f"retry must be a RetryPolicy, not {validate.shown(self.retry)}")


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """All that the store knows of one task.

    ``attempts``: claims so far that were not given back, the current one included. ``output``: ``None`` until it is
    completed. ``error``: of the last failure, ``None`` once completed. ``worker_id``: who holds it or held it last
    (``None`` where that claim was given back). ``claim``: ``None`` unless claimed. ``started_at``: when the last
    attempt was claimed. Times are aware, in UTC, by the wall clock.
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


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """All that the store knows of one instance. ``counts`` has every ``TaskState``, also those with none."""

    instance_id: str
    state: InstanceState
    counts: Mapping[TaskState, int]
    definition_hash: str
    reason: str | None
    added_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker session: ``alive`` is the kernel's word; ``claims`` are those bound to it."""

    worker_id: str
    pid: int
    started_at: datetime
    alive: bool
    claims: int


@dataclass(frozen=True, slots=True)
class StoreStats:
    """The store at a glance. ``counts`` has every ``TaskState``. ``live_claims``: claims that have not expired.
    ``oldest_ready_age``: seconds that the longest waiting task which could be claimed now has waited, or ``None``."""

    counts: Mapping[TaskState, int]
    live_claims: int
    oldest_ready_age: float | None
