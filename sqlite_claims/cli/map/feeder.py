"""Adds lines as tasks in small steps, so that commands can run while lines are still being read."""

from __future__ import annotations

import contextlib
import selectors
from hashlib import blake2b

from ...errors import InvalidStateError
from ...model import NewTask, RetryPolicy, TaskState
from ...sqlite.store import SqliteClaimStore
from .lines import Counts, LineSource, parse_task_name, task_name
from .numbers import TaskNumbers
from .ordering import Order
from .plan import Plan

_LINES_PER_STEP = 300
# Each run of map chooses its own number of retries, so the stored task has no limit.
_MAX_ATTEMPTS = 2**31 - 1
# The limit of lost claims is high. A claim is lost whenever a run of map is killed, and the line is rarely the reason.
_MAX_LOST = 100
_RETRY = RetryPolicy(initial_delay=1.0, multiplier=2.0, max_delay=60.0)


class Feeder:
    """The feeder adds the lines of the source to the plan's instance, and retries lines that failed in earlier runs."""

    def __init__(
        self,
        store: SqliteClaimStore,
        plan: Plan,
        source: LineSource,
        numbers: TaskNumbers | None = None,
        order: Order | None = None,
    ) -> None:
        self._store = store
        self._plan = plan
        self._source = source
        self._numbers = numbers
        self._order = order
        self._occurrences = Counts()
        self._failed_before: Counts | None = None
        self._to_add: list[NewTask] = []
        self._to_retry: list[str] = []
        self._watched_descriptor = -1
        self._is_readable = False
        self._present = 0  # number of this input's lines that were stored before this run, without failed tasks
        self._completed_before = self._open_before = 0

    def prepare(self) -> None:
        """Read the names of the tasks that failed in earlier runs. Raises ``NotFoundError`` if the instance does not
        exist."""
        instance_id = self._plan.instance_id
        counts = self._store.get_instance(instance_id).counts
        self._completed_before = counts[TaskState.COMPLETED]
        self._open_before = sum(counts.values()) - self._completed_before - counts[TaskState.FAILED]
        if self._numbers is not None:
            for number, task in self._numbers.read():
                if self._order is not None and not task.state.has_ended:
                    self._order.expect(number)
                    if task.attempts:
                        self._order.out_of_turn.append(task.task_id)
        if not counts[TaskState.FAILED]:
            return
        self._failed_before = Counts()
        for task in self._store.list_tasks(instance_id, states=[TaskState.FAILED]):
            self._failed_before.add(_name_digest(task.task_id))

    @property
    def is_done(self) -> bool:
        """True if every line of the input has been added as a task."""
        return self._source.at_end and not self._to_add and not self._to_retry

    @property
    def has_work(self) -> bool:
        """True if ``step`` has something to do now."""
        return bool(self._is_readable or self._source.holds_lines or self._to_add or self._to_retry)

    @property
    def done_before(self) -> int:
        """Number of lines of this input that earlier runs have completed.

        The number is exact if all tasks that were open at the start of this run are lines of this input. Otherwise the
        number may be too low. The store is not searched for each line, because there may be millions of
        lines.
        """
        return max(0, min(self._completed_before, self._present - self._open_before))

    def includes(self, task_id: str) -> bool:
        """Return whether the task belongs to a line that has been read so far."""
        parsed = parse_task_name(task_id)
        return parsed is not None and self._occurrences.get(parsed.digest) >= parsed.ordinal

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Register the input's current descriptor with the selector.

        A regular file cannot be registered, but is always readable.
        """
        current = self._source.fileno()
        if current == self._watched_descriptor:
            return
        if self._watched_descriptor >= 0:
            selector.unregister(self._watched_descriptor)
        self._watched_descriptor = -1
        if current >= 0:
            try:
                selector.register(current, selectors.EVENT_READ)
                self._watched_descriptor = current
            except PermissionError:
                self._is_readable = True

    def note_readable(self) -> None:
        """Record that the selector has reported the source as readable."""
        self._is_readable = True

    def step(self) -> bool:
        """Add some lines as tasks, and return whether there were lines to add.

        If the store raises an error, the next step tries the remaining lines again.
        """
        if not self._to_add and not self._to_retry:
            self._read()
        if not self._to_add and not self._to_retry:
            return False
        if self._to_add:
            added = self._add()
            self._present += len(self._to_add) - added - len(self._to_retry)
            self._to_add.clear()
        if self._to_retry:
            with self._store.transaction(timeout=10.0) as tx:
                for name in self._to_retry:
                    with contextlib.suppress(InvalidStateError):  # a different run has retried the task
                        tx.retry_task(self._plan.instance_id, name)
            if self._order is not None and self._numbers is not None:
                for name in self._to_retry:
                    self._order.expect(self._numbers.find(name))
                self._order.out_of_turn.extend(self._to_retry)
            self._to_retry.clear()
        return True

    def _add(self) -> int:
        """Add the tasks, and return how many of them were new."""
        if self._numbers is None:
            return self._store.add_tasks(self._plan.instance_id, self._to_add, if_exists="skip")
        with self._store.transaction(timeout=10.0) as tx:
            count_before = sum(tx.get_instance(self._plan.instance_id).counts.values())
            added = tx.add_tasks(self._plan.instance_id, self._to_add, if_exists="skip")
        names = [task.task_id for task in self._to_add]
        new = self._numbers.note_added(names, count_before=count_before, added=added)
        if self._order is not None:
            for number in new:
                self._order.expect(number)
        return added

    def _read(self) -> None:
        if not self._is_readable and not self._source.holds_lines:
            return
        lines = self._source.take(_LINES_PER_STEP)
        self._is_readable = self._watched_descriptor < 0 and self._source.fileno() >= 0
        for line in lines:
            self._plan.template.check_line(line.data)
        for line in lines:
            name = task_name(line.digest, self._occurrences.add(line.digest))
            if self._failed_before is not None and self._failed_before.get(_name_digest(name)):
                self._to_retry.append(name)
            self._to_add.append(
                NewTask(
                    name,
                    line.data,
                    kind=self._plan.kind,
                    tags=self._plan.task_tags,
                    limit=self._plan.limit,
                    max_attempts=_MAX_ATTEMPTS,
                    max_lost=_MAX_LOST,
                    retry=_RETRY,
                )
            )


def _name_digest(task_id: str) -> bytes:
    return blake2b(task_id.encode(), digest_size=8).digest()
