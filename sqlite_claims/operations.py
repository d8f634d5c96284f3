"""The writing methods: arguments checked, then one operation of ``sqlite`` each. A store runs it in a transaction of
its own, ``transaction()`` in the one that is open."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

from . import validate
from .errors import InvalidArgumentError
from .interface import ClaimWriter, IfExists, Settled
from .model import ClaimedTask, Duration, InstanceInfo, NewTask, TaskClaim, TaskInfo
from .sqlite.database import Database
from .sqlite.lanes import Kinds, Tags
from .sqlite.operations import adding, claiming, control, pruning, reading, settling
from .sqlite.rows import HeldTask
from .sqlite.sessions.session_file import WorkerSession

P = ParamSpec("P")
T = TypeVar("T")
# Only a longer span can reach past the last date there is: a hundred years.
_LONG_US = 100 * 365 * 86_400 * 1_000_000


class Operations(ClaimWriter):
    """What a store and its transactions have in common."""

    _db: Database

    def _run(self, operation: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation in a transaction."""
        raise NotImplementedError

    def _run_durably(self, operation: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation in a transaction that must survive a power cut once this returns."""
        raise NotImplementedError

    def _read(self, operation: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads, on one snapshot."""
        raise NotImplementedError

    def _wall(self) -> int:
        return self._db.time.clock.wall_us()

    def _ttl(self, ttl: Duration | None) -> int | None:
        if ttl is None:
            return None
        us = validate.duration_us("ttl", ttl)
        return us if us < _LONG_US else validate.duration_us("ttl", ttl, wall_us=self._wall())

    # -- the trait

    def claim_task(
        self,
        instance_id: str,
        task_id: str,
        worker_id: str,
        ttl: Duration | None,
        *,
        session: WorkerSession | None = None,
    ) -> TaskClaim | None:
        return self._run(
            claiming.claim_task,
            validate.name("instance_id", instance_id),
            validate.name("task_id", task_id),
            validate.name("worker_id", worker_id),
            self._ttl(ttl),
            _session(session),
        )

    def release_task_claim(self, instance_id: str, task_id: str, worker_id: str) -> None:
        self._run(
            claiming.release_by_worker,
            validate.name("instance_id", instance_id),
            validate.name("task_id", task_id),
            validate.name("worker_id", worker_id),
        )

    def extend_task_claim(self, instance_id: str, task_id: str, worker_id: str, additional_duration: Duration) -> None:
        additional = validate.duration_us("additional_duration", additional_duration, wall_us=self._wall())
        if not self._run(
            claiming.extend_by_worker,
            validate.name("instance_id", instance_id),
            validate.name("task_id", task_id),
            validate.name("worker_id", worker_id),
            additional,
            validate.WALL_US_MAX,
        ):
            raise InvalidArgumentError(
                f"additional_duration reaches past the year 9999: {validate.shown(additional_duration)}"
            )

    # -- by token

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
        ttl_us = self._ttl(ttl)
        wanted = () if tags is None else validate.names("tags", tags)
        handled = validate.kinds(kinds)
        bound = _session(session)
        if limit == 0 or (handled is not None and not handled):
            return self._claim_none()
        return self._claim_available(worker_id, limit, ttl_us, wanted, handled, bound)

    def _claim_none(self) -> list[ClaimedTask]:
        return self._read(nothing)

    def _claim_available(
        self, worker_id: str, limit: int, ttl_us: int | None, tags: Tags, kinds: Kinds, session: int | None
    ) -> list[ClaimedTask]:
        while (claimed := self._run(claiming.claim_available, worker_id, limit, ttl_us, tags, kinds, session)) is None:
            pass
        return claimed

    def renew_task_claim(self, claim: TaskClaim, ttl: Duration | None) -> TaskClaim:
        return self._run(_renew, _claim("claim", claim), self._ttl(ttl))

    def complete_task(self, claim: TaskClaim, output: bytes = b"") -> None:
        self._run_durably(_complete, _claim("claim", claim), validate.data("output", output))

    def fail_task(self, claim: TaskClaim, error: str, *, retry: bool = True, retry_in: Duration | None = None) -> None:
        delay = None if retry_in is None else validate.duration_us("retry_in", retry_in, wall_us=self._wall())
        if not isinstance(retry, bool):
            raise InvalidArgumentError(f"retry must be a bool, not {validate.shown(retry)}")
        self._run_durably(_fail, _claim("claim", claim), validate.text("error", error), retry, delay)

    def release_task(self, claim: TaskClaim, *, delay: Duration | None = None) -> None:
        delay_us = None if delay is None else validate.duration_us("delay", delay, wall_us=self._wall())
        self._run(_release, _claim("claim", claim), delay_us)

    def renew_task_claims(self, claims: Iterable[TaskClaim], ttl: Duration | None) -> Settled:
        return self._run(_renew_many, _claims(claims), self._ttl(ttl))

    def complete_tasks(self, results: Iterable[tuple[TaskClaim, bytes]]) -> Settled:
        pairs = _pairs("results", "output", results, validate.data)
        return self._run_durably(_complete_many, pairs)

    def fail_tasks(self, failures: Iterable[tuple[TaskClaim, str]]) -> Settled:
        pairs = _pairs("failures", "error", failures, validate.text)
        return self._run_durably(_fail_many, pairs)

    def release_tasks(self, claims: Iterable[TaskClaim]) -> Settled:
        return self._run(_release_many, _claims(claims))

    # -- adding

    def add_instance(
        self,
        instance_id: str,
        tasks: Iterable[NewTask] = (),
        *,
        definition_hash: str = "",
        if_exists: IfExists = "error",
    ) -> bool:
        return self._run_durably(
            adding.add_instance,
            validate.name("instance_id", instance_id),
            _tasks(tasks),
            validate.name("definition_hash", definition_hash, empty=True),
            _skip(if_exists),
        )

    def add_tasks(self, instance_id: str, tasks: Iterable[NewTask], *, if_exists: IfExists = "error") -> int:
        return self._run_durably(
            adding.add_tasks,
            validate.name("instance_id", instance_id),
            _tasks(tasks),
            _skip(if_exists),
        )

    # -- signals

    def pause_instance(self, instance_id: str) -> None:
        self._signal(control.pause, validate.name("instance_id", instance_id))

    def resume_instance(self, instance_id: str) -> None:
        self._signal(control.resume, validate.name("instance_id", instance_id))

    def cancel_instance(self, instance_id: str, reason: str | None = None) -> None:
        text = None if reason is None else validate.text("reason", reason)
        self._signal(control.cancel, validate.name("instance_id", instance_id), text)

    def _signal(self, operation: Callable[Concatenate[Database, P], bool], *args: P.args, **kwargs: P.kwargs) -> None:
        self._run_durably(operation, *args, **kwargs)

    def retry_task(self, instance_id: str, task_id: str) -> None:
        self._run_durably(
            settling.retry_task,
            validate.name("instance_id", instance_id),
            validate.name("task_id", task_id),
        )

    # -- the file

    def set_aging_interval(self, interval: Duration | None) -> None:
        aging = None if interval is None else validate.duration_us("interval", interval)
        if aging == 0:
            raise InvalidArgumentError("interval must be more than 0 s, or None for no aging")
        self._run_durably(pruning.set_aging, aging)

    # -- reading

    def get_task(self, instance_id: str, task_id: str) -> TaskInfo:
        return self._read(
            reading.get_task, validate.name("instance_id", instance_id), validate.name("task_id", task_id)
        )

    def get_instance(self, instance_id: str) -> InstanceInfo:
        return self._read(reading.get_instance, validate.name("instance_id", instance_id))


# -- operations on claims: one transaction each


def nothing(_: Database) -> list[Any]:
    """What there is to find for who wants none, in a store that is open."""
    return []


def _renew(db: Database, claim: TaskClaim, ttl: int | None) -> TaskClaim:
    return claiming.renew(db, claim, ttl, claiming.require_held(db, claim))


def _complete(db: Database, claim: TaskClaim, output: bytes) -> None:
    if not (claim._row and settling.complete_plain(db, claim, output)):
        settling.complete(db, [claiming.require_held(db, claim)], [output])


def _fail(db: Database, claim: TaskClaim, error: str, retry: bool, retry_in: int | None) -> None:
    settling.fail(db, claiming.require_held(db, claim), error, retry, retry_in)


def _release(db: Database, claim: TaskClaim, delay: int | None) -> None:
    claiming.release(db, claiming.require_held(db, claim).id, delay)


def _renew_many(db: Database, claims: list[TaskClaim], ttl: int | None) -> Settled:
    tasks = claiming.held_tasks(db, claims)
    done = [claiming.renew(db, claim, ttl, task) for claim, task in zip(claims, tasks, strict=True) if task]
    return done, [claim for claim, task in zip(claims, tasks, strict=True) if not task]


def _split_held(
    db: Database, claims: list[TaskClaim]
) -> tuple[list[tuple[int, HeldTask]], list[TaskClaim], list[TaskClaim]]:
    """Return the held tasks with the indices of their claims, the held claims, and the lost ones.

    A claim that is there again counts as lost.
    """
    held: list[tuple[int, HeldTask]] = []
    done, lost, ids = [], [], set()
    for index, (claim, task) in enumerate(zip(claims, claiming.held_tasks(db, claims), strict=True)):
        if task is None or task.id in ids:
            lost.append(claim)
        else:
            ids.add(task.id)
            held.append((index, task))
            done.append(claim)
    return held, done, lost


def _complete_many(db: Database, pairs: list[tuple[TaskClaim, bytes]]) -> Settled:
    held, done, lost = _split_held(db, [claim for claim, _ in pairs])
    if held:
        settling.complete(db, [task for _, task in held], [pairs[index][1] for index, _ in held])
    return done, lost


def _fail_many(db: Database, pairs: list[tuple[TaskClaim, str]]) -> Settled:
    held, done, lost = _split_held(db, [claim for claim, _ in pairs])
    for index, task in held:
        settling.fail(db, task, pairs[index][1], True, None)
    return done, lost


def _release_many(db: Database, claims: list[TaskClaim]) -> Settled:
    held, done, lost = _split_held(db, claims)
    for _, task in held:
        claiming.release(db, task.id, None)
    return done, lost


# -- arguments


def _session(session: WorkerSession | None) -> int | None:
    if session is None:
        return None
    if not isinstance(session, WorkerSession):
        raise InvalidArgumentError(f"session must come from open_session(), not {validate.shown(session)}")
    if session.fileno() < 0:
        raise InvalidArgumentError("session is closed")
    return session.id


def _claim(argument: str, claim: object) -> TaskClaim:
    if not isinstance(claim, TaskClaim):
        raise InvalidArgumentError(f"{argument} must be a TaskClaim, not {validate.shown(claim)}")
    return claim


def _claims(claims: Iterable[TaskClaim]) -> list[TaskClaim]:
    if not isinstance(claims, Iterable):
        raise InvalidArgumentError(f"claims must be a collection of TaskClaim, not {validate.shown(claims)}")
    return [_claim("each of claims", claim) for claim in claims]


def _pairs(
    argument: str, part: str, pairs: Iterable[tuple[TaskClaim, Any]], check: Callable[[str, object], T]
) -> list[tuple[TaskClaim, T]]:
    if not isinstance(pairs, Iterable):
        raise InvalidArgumentError(
            f"{argument} must be pairs of a TaskClaim and its {part}, not {validate.shown(pairs)}"
        )
    checked = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InvalidArgumentError(
                f"each of {argument} must be a pair of a TaskClaim and its {part}, not {validate.shown(pair)}"
            )
        checked.append((_claim(f"each of {argument}", pair[0]), check(f"{part} of each of {argument}", pair[1])))
    return checked


def _tasks(tasks: Iterable[NewTask]) -> list[NewTask]:
    if isinstance(tasks, (str, bytes)) or not isinstance(tasks, Iterable):
        raise InvalidArgumentError(f"tasks must be a collection of NewTask, not {validate.shown(tasks)}")
    listed = []
    for task in tasks:
        if not isinstance(task, NewTask):
            raise InvalidArgumentError(f"each of tasks must be a NewTask, not {validate.shown(task)}")
        listed.append(task)
        if len(listed) > validate.TASKS_PER_CALL_MAX:
            raise InvalidArgumentError(
                f"tasks has more than {validate.TASKS_PER_CALL_MAX:,}; add them in several calls"
            )
    return listed


def _skip(if_exists: str) -> bool:
    if if_exists not in ("error", "skip"):
        raise InvalidArgumentError(f"if_exists must be 'error' or 'skip', not {validate.shown(if_exists)}")
    return if_exists == "skip"
