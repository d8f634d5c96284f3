"""Makes tasks of lines, a step at a time, so that commands run while lines are still being read."""

from __future__ import annotations

import contextlib
import selectors
from hashlib import blake2b

from ...errors import InvalidStateError
from ...model import NewTask, RetryPolicy, TaskState
from ...store import SqliteClaimStore
from .lines import Counts, LineSource, parse_task_name, task_name
from .plan import Plan

_LINES_PER_STEP = 300
# How often a line is tried is each run's choice, not the stored task's: the next run may choose otherwise.
_ATTEMPTS_MAX = 2**31 - 1
# A lost claim is a killed run, which says little against the line.
_LOST_MAX = 100
_RETRY = RetryPolicy(initial_delay=1.0, multiplier=2.0, max_delay=60.0)


class Feeder:
    """Adds the source's lines to the plan's instance; those that failed in an earlier run start over."""

    def __init__(self, store: SqliteClaimStore, plan: Plan, source: LineSource) -> None:
        self._store = store
        self._plan = plan
        self._source = source
        self._seen = Counts()
        self._failed_before: Counts | None = None
        self._new: list[NewTask] = []
        self._again: list[str] = []
        self._watched = -1
        self._ready = False
        self._present = 0  # lines of the input that were tasks already, without those that failed
        self._completed_before = self._open_before = 0

    def prepare(self) -> None:
        """Look up what failed before. Raises ``NotFoundError`` where there is no such instance."""
        instance_id = self._plan.instance_id
        counts = self._store.get_instance(instance_id).counts
        self._completed_before = counts[TaskState.COMPLETED]
        self._open_before = sum(counts.values()) - self._completed_before - counts[TaskState.FAILED]
        if not counts[TaskState.FAILED]:
            return
        self._failed_before = Counts()
        for task in self._store.list_tasks(instance_id, states=[TaskState.FAILED]):
            self._failed_before.add(_key(task.task_id))

    @property
    def is_done(self) -> bool:
        """Whether every line is a task."""
        return self._source.at_end and not self._new and not self._again

    @property
    def has_work(self) -> bool:
        """Whether a step would do something now."""
        return bool(self._ready or self._source.holds_lines or self._new or self._again)

    @property
    def done_before(self) -> int:
        """How many lines of the input an earlier run has done, if what that left open is of this input, too; else
        rather too few: the lines themselves are not looked up, since there may be millions."""
        return max(0, min(self._completed_before, self._present - self._open_before))

    def has_given(self, task_id: str) -> bool:
        """Whether the task is one of the lines so far."""
        named = parse_task_name(task_id)
        return named is not None and self._seen.get(named[0]) >= named[1]

    def watch(self, selector: selectors.BaseSelector) -> None:
        """See that ``selector`` waits for what the source reads now. Files can't be waited for: they are ready."""
        current = self._source.fileno()
        if current == self._watched:
            return
        if self._watched >= 0:
            selector.unregister(self._watched)
        self._watched = -1
        if current >= 0:
            try:
                selector.register(current, selectors.EVENT_READ)
                self._watched = current
            except PermissionError:
                self._ready = True

    def note_ready(self) -> None:
        """The selector says that the source can be read."""
        self._ready = True

    def step(self) -> bool:
        """Add some lines; whether there were any. What could not be added (the store raises) stays for the next."""
        if not self._new and not self._again:
            self._take()
        if not self._new and not self._again:
            return False
        if self._new:
            added = self._store.add_tasks(self._plan.instance_id, self._new, if_exists="skip")
            self._present += len(self._new) - added - len(self._again)
            self._new.clear()
        if self._again:
            with self._store.transaction(timeout=10.0) as tx:
                for name in self._again:
                    with contextlib.suppress(InvalidStateError):  # another run was quicker
                        tx.retry_task(self._plan.instance_id, name)
            self._again.clear()
        return True

    def _take(self) -> None:
        if not self._ready and not self._source.holds_lines:
            return
        lines = self._source.take(_LINES_PER_STEP)
        self._ready = self._watched < 0 and self._source.fileno() >= 0
        for line in lines:
            name = task_name(line.digest, self._seen.add(line.digest))
            if self._failed_before is not None and self._failed_before.get(_key(name)):
                self._again.append(name)
            self._new.append(
                NewTask(
                    name,
                    line.data,
                    kind=self._plan.kind,
                    max_attempts=_ATTEMPTS_MAX,
                    max_lost=_LOST_MAX,
                    retry=_RETRY,
                )
            )


def _key(task_id: str) -> bytes:
    return blake2b(task_id.encode(), digest_size=8).digest()
