"""The methods that a store and a transaction share: arguments checked, then one operation of the engine.

What differs between the two is how the engine is reached, ``_engine``: with the lock, or within the transaction.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from .. import validate
from ..errors import ClaimLostError, InvalidArgumentError
from ..interface import ClaimWriter, IfExists, Settled
from ..model import ClaimedTask, Duration, InstanceInfo, NewTask, TaskClaim, TaskInfo
from . import reading
from .engine import Engine
from .records import Task

if TYPE_CHECKING:
    from .store import InMemorySession

T = TypeVar("T")


class MemoryWriter(ClaimWriter):
    @abstractmethod
    def _engine(self, *, writes: bool = True) -> AbstractContextManager[Engine]:
        """The engine, its clocks read, for one operation."""

    def claim_task(
        self,
        instance_id: str,
        task_id: str,
        worker_id: str,
        ttl: Duration | None,
        *,
        session: InMemorySession | None = None,
    ) -> TaskClaim | None:
        instance_id, task_id = validate.name("instance_id", instance_id), validate.name("task_id", task_id)
        worker_id = validate.name("worker_id", worker_id)
        with self._engine() as engine:
            ttl_us, bound_to = span("ttl", ttl, engine), session_id(engine, session)
            engine.look_at(engine.task(instance_id, task_id))
            task = engine.task(instance_id, task_id)
            if not engine.can_be_claimed(task):
                return None
            return reading.claim_of(engine, engine.claim(task, worker_id, ttl_us, bound_to))

    def claim_available_tasks(
        self,
        worker_id: str,
        limit: int = 1,
        ttl: Duration | None = 30.0,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
        session: InMemorySession | None = None,
    ) -> list[ClaimedTask]:
        worker_id, limit = validate.name("worker_id", worker_id), validate.limit(limit)
        wanted_tags, wanted_kinds = worker_tags(tags), validate.kinds(kinds)
        with self._engine() as engine:
            ttl_us, bound_to = span("ttl", ttl, engine), session_id(engine, session)
            claimed = []
            for found in first_available(engine, worker_id, limit, wanted_tags, wanted_kinds):
                task = engine.claim(found, worker_id, ttl_us, bound_to)
                available = reading.available_task(engine, task, task.attempts)
                claimed.append(ClaimedTask(available, reading.claim_of(engine, task)))
            return claimed

    def release_task_claim(self, instance_id: str, task_id: str, worker_id: str) -> None:
        instance_id, task_id = validate.name("instance_id", instance_id), validate.name("task_id", task_id)
        worker_id = validate.name("worker_id", worker_id)
        with self._engine() as engine:
            engine.release(engine.held_by_name(instance_id, task_id, worker_id), None)

    def extend_task_claim(self, instance_id: str, task_id: str, worker_id: str, additional_duration: Duration) -> None:
        instance_id, task_id = validate.name("instance_id", instance_id), validate.name("task_id", task_id)
        worker_id = validate.name("worker_id", worker_id)
        with self._engine() as engine:
            validate.duration_us("additional_duration", additional_duration, wall_us=engine.wall)
            task = engine.held_by_name(instance_id, task_id, worker_id)
            expires_wall = task.expires_wall or 0
            by = validate.duration_us("additional_duration", additional_duration, wall_us=expires_wall)
            engine.extend(task, by)

    def renew_task_claim(self, claim: TaskClaim, ttl: Duration | None) -> TaskClaim:
        check_claim("claim", claim)
        with self._engine() as engine:
            ttl_us = span("ttl", ttl, engine)
            return reading.claim_of(engine, engine.renew(engine.held_by_token(claim), ttl_us))

    def complete_task(self, claim: TaskClaim, output: bytes = b"") -> None:
        check_claim("claim", claim)
        output = validate.data("output", output)
        with self._engine() as engine:
            engine.complete(engine.held_by_token(claim), output)

    def fail_task(self, claim: TaskClaim, error: str, *, retry: bool = True, retry_in: Duration | None = None) -> None:
        check_claim("claim", claim)
        error = validate.text("error", error)
        if not isinstance(retry, bool):
            raise InvalidArgumentError(f"retry must be a bool, not {validate.shown(retry)}")
        with self._engine() as engine:
            retry_in_us = span("retry_in", retry_in, engine)
            engine.fail(engine.held_by_token(claim), error, retry, retry_in_us)

    def release_task(self, claim: TaskClaim, *, delay: Duration | None = None) -> None:
        check_claim("claim", claim)
        with self._engine() as engine:
            delay_us = span("delay", delay, engine)
            engine.release(engine.held_by_token(claim), delay_us)

    def renew_task_claims(self, claims: Iterable[TaskClaim], ttl: Duration | None) -> Settled:
        batch = [check_claim("claims", claim) for claim in listed("claims", claims)]
        with self._engine() as engine:
            ttl_us = span("ttl", ttl, engine)
            done: list[TaskClaim] = []
            _, lost = in_turn(
                engine, batch, lambda task, _: done.append(reading.claim_of(engine, engine.renew(task, ttl_us)))
            )
            return done, lost

    def complete_tasks(self, results: Iterable[tuple[TaskClaim, bytes]]) -> Settled:
        batch = [
            paired("results", item, lambda output: validate.data("output in results", output))
            for item in listed("results", results)
        ]
        with self._engine() as engine:
            return in_turn(engine, [claim for claim, _ in batch], lambda task, at: engine.complete(task, batch[at][1]))

    def fail_tasks(self, failures: Iterable[tuple[TaskClaim, str]]) -> Settled:
        batch = [
            paired("failures", item, lambda error: validate.text("error in failures", error))
            for item in listed("failures", failures)
        ]
        with self._engine() as engine:
            return in_turn(
                engine, [claim for claim, _ in batch], lambda task, at: engine.fail(task, batch[at][1], True, None)
            )

    def release_tasks(self, claims: Iterable[TaskClaim]) -> Settled:
        batch = [check_claim("claims", claim) for claim in listed("claims", claims)]
        with self._engine() as engine:
            return in_turn(engine, batch, lambda task, _: engine.release(task, None))

    def add_instance(
        self,
        instance_id: str,
        tasks: Iterable[NewTask] = (),
        *,
        definition_hash: str = "",
        if_exists: IfExists = "error",
    ) -> bool:
        instance_id = validate.name("instance_id", instance_id)
        specs = new_tasks(tasks)
        definition_hash = validate.name("definition_hash", definition_hash, empty=True)
        skip = skips(if_exists)
        with self._engine() as engine:
            return engine.add_instance(instance_id, specs, definition_hash, skip)

    def add_tasks(self, instance_id: str, tasks: Iterable[NewTask], *, if_exists: IfExists = "error") -> int:
        instance_id = validate.name("instance_id", instance_id)
        specs = new_tasks(tasks)
        skip = skips(if_exists)
        with self._engine() as engine:
            return engine.add_tasks(instance_id, specs, skip)

    def pause_instance(self, instance_id: str) -> None:
        instance_id = validate.name("instance_id", instance_id)
        with self._engine() as engine:
            engine.pause(instance_id)

    def resume_instance(self, instance_id: str) -> None:
        instance_id = validate.name("instance_id", instance_id)
        with self._engine() as engine:
            engine.resume(instance_id)

    def cancel_instance(self, instance_id: str, reason: str | None = None) -> None:
        instance_id = validate.name("instance_id", instance_id)
        reason = None if reason is None else validate.text("reason", reason)
        with self._engine() as engine:
            engine.cancel(instance_id, reason)

    def retry_task(self, instance_id: str, task_id: str) -> None:
        instance_id, task_id = validate.name("instance_id", instance_id), validate.name("task_id", task_id)
        with self._engine() as engine:
            engine.retry(instance_id, task_id)

    def set_aging_interval(self, interval: Duration | None) -> None:
        aging = None if interval is None else validate.duration_us("interval", interval)
        if aging == 0:
            raise InvalidArgumentError(f"interval must be more than 0, or None, not {validate.shown(interval)}")
        with self._engine() as engine:
            engine.state.aging = aging

    def get_task(self, instance_id: str, task_id: str) -> TaskInfo:
        instance_id, task_id = validate.name("instance_id", instance_id), validate.name("task_id", task_id)
        with self._engine(writes=False) as engine:
            return reading.task_info(engine, engine.task(instance_id, task_id))

    def get_instance(self, instance_id: str) -> InstanceInfo:
        instance_id = validate.name("instance_id", instance_id)
        with self._engine(writes=False) as engine:
            return reading.instance_info(engine, instance_id)


def first_available(
    engine: Engine, worker_id: str, limit: int, tags: frozenset[str], kinds: frozenset[str] | None
) -> list[Task]:
    """The first so many; those whose last attempt failed on this worker behind the others."""
    if limit == 0 or kinds == frozenset():
        return []
    engine.look()
    tasks = list(islice(engine.available(tags, kinds), limit))
    # The last attempt of a task whose claim has expired was lost: it failed on nobody.
    return sorted(tasks, key=lambda task: task.expires is None and task.failed_on == worker_id)


def in_turn(engine: Engine, claims: list[TaskClaim], settle: Callable[[Task, int], None]) -> Settled:
    done: list[TaskClaim] = []
    lost: list[TaskClaim] = []
    for at, claim in enumerate(claims):
        try:
            task = engine.held_by_token(claim)
        except ClaimLostError:
            lost.append(claim)
        else:
            settle(task, at)
            done.append(claim)
    return done, lost


def span(argument: str, value: Duration | None, engine: Engine) -> int | None:
    return None if value is None else validate.duration_us(argument, value, wall_us=engine.wall)


def worker_tags(tags: Collection[str] | None) -> frozenset[str]:
    return frozenset() if tags is None else frozenset(validate.names("tags", tags))


def session_id(engine: Engine, session: InMemorySession | None) -> int | None:
    if session is None:
        return None
    if not isinstance(getattr(session, "id", None), int):
        raise InvalidArgumentError(f"session must be one that open_session made, not {validate.shown(session)}")
    if session.id in engine.dead_sessions or session.id not in engine.state.sessions:
        raise InvalidArgumentError(f"session of worker {session.worker_id!r} is over")
    return session.id


def check_claim(argument: str, claim: object) -> TaskClaim:
    if not isinstance(claim, TaskClaim) or not isinstance(claim.token, int):
        raise InvalidArgumentError(f"{argument}: {validate.shown(claim)} is not a TaskClaim")
    validate.name(f"{argument}: instance_id", claim.instance_id)
    validate.name(f"{argument}: task_id", claim.task_id)
    return claim


def listed(argument: str, items: Iterable[T]) -> list[T]:
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise InvalidArgumentError(f"{argument} must be a collection, not {validate.shown(items)}")
    return list(items)


def paired(argument: str, item: object, check: Callable[[object], T]) -> tuple[TaskClaim, T]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise InvalidArgumentError(f"{argument}: {validate.shown(item)} is not a pair")
    return check_claim(argument, item[0]), check(item[1])


def skips(if_exists: object) -> bool:
    if if_exists not in ("error", "skip"):
        raise InvalidArgumentError(f"if_exists must be 'error' or 'skip', not {validate.shown(if_exists)}")
    return if_exists == "skip"


def new_tasks(tasks: Iterable[NewTask]) -> list[NewTask]:
    """What can be told of the tasks of one call without the store."""
    specs = list(islice(listed_lazily(tasks), validate.TASKS_PER_CALL_MAX + 1))
    if len(specs) > validate.TASKS_PER_CALL_MAX:
        raise InvalidArgumentError(f"tasks: more than {validate.TASKS_PER_CALL_MAX:,} in one call")
    named: dict[str, NewTask] = {}
    for spec in specs:
        if not isinstance(spec, NewTask):
            raise InvalidArgumentError(f"tasks: {validate.shown(spec)} is not a NewTask")
        if spec.task_id in named:
            raise InvalidArgumentError(f"tasks: {spec.task_id!r} appears twice")
        named[spec.task_id] = spec
    try:
        TopologicalSorter({spec.task_id: spec.depends_on for spec in specs}).prepare()
    except CycleError as error:
        raise InvalidArgumentError(f"tasks: depends_on goes in a circle: {' -> '.join(error.args[1])}") from None
    return specs


def listed_lazily(tasks: Iterable[NewTask]) -> Iterable[NewTask]:
    if isinstance(tasks, (str, bytes)) or not isinstance(tasks, Iterable):
        raise InvalidArgumentError(f"tasks must be a collection of NewTask, not {validate.shown(tasks)}")
    return tasks
