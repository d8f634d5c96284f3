"""Reads the state of the instance that ``map`` works on at intervals, and shows the progress."""

from __future__ import annotations

import contextlib
import time

from ...errors import BackendError
from ...model import InstanceInfo, InstanceState, TaskState
from ...sqlite.store import SqliteClaimStore
from ..text import plural
from .progress import ProgressDisplay, ProgressState

POLL_S = 0.15
# The interval between two reads of the counts is this many times as long as one read.
_INTERVAL_PER_READ = 20
_EXPLAIN_INTERVAL_S = 5.0
_OPEN = (TaskState.BLOCKED, TaskState.SCHEDULED, TaskState.READY, TaskState.CLAIMED)


class InstanceMonitor:
    """A monitor that reads an instance at intervals and shows the progress. Other processes may change the instance."""

    def __init__(self, store: SqliteClaimStore, instance_id: str, display: ProgressDisplay) -> None:
        self._store = store
        self._instance_id = instance_id
        self._display = display
        self._info: InstanceInfo | None = None
        self._next_read = 0.0
        self.next_show = time.monotonic() + display.interval_s
        self._next_explanation = 0.0
        self._explanation = ""

    def read_soon(self) -> None:
        """Make the next ``poll`` read the instance, because the instance's counts have changed."""
        self._next_read = 0.0

    def poll(self) -> InstanceInfo | None:
        """Read and return the instance if the interval has passed. Otherwise return ``None``."""
        began = time.monotonic()
        if began < self._next_read:
            return None
        self._info = self._store.get_instance(self._instance_id)
        self._next_read = began + max(POLL_S, _INTERVAL_PER_READ * (time.monotonic() - began))
        return self._info

    @property
    def may_have_scheduled(self) -> bool:
        """True unless the latest read, with no later ``read_soon``, has found no scheduled task."""
        return self._info is None or not self._next_read or self._info.counts[TaskState.SCHEDULED] > 0

    @property
    def has_ended(self) -> bool:
        """True if no task was open when the instance was last read."""
        return self._info is not None and not has_open_tasks(self._info)

    def show(self, *, running: int, ended_here: int, reading: bool) -> None:
        """Show the progress if the interval of the display has passed.

        Args:
            running: Number of jobs of this run that are running.
            ended_here: Number of jobs of this run that have ended.
            reading: True if the input may contain more lines.
        """
        now = time.monotonic()
        if self._info is None or now < self.next_show:
            return
        self.next_show = now + self._display.interval_s
        counts = self._info.counts
        note = ""
        if self._info.state is InstanceState.PAUSED:
            note = "paused"
        elif not running and counts[TaskState.CLAIMED]:
            note = (
                f"waiting for {plural(counts[TaskState.CLAIMED], 'task')} of other processes{self._explain_claimed()}"
            )
        elif not running and counts[TaskState.SCHEDULED]:
            note = f"waiting to retry {plural(counts[TaskState.SCHEDULED], 'task')}"
        self._display.show(
            ProgressState(
                total=sum(counts.values()),
                completed=counts[TaskState.COMPLETED],
                failed=counts[TaskState.FAILED],
                running=running,
                ended_here=ended_here,
                reading=reading,
                note=note,
            )
        )

    def _explain_claimed(self) -> str:
        """Return an explanation of one task that another process has claimed. The explanation is updated every few
        seconds."""
        now = time.monotonic()
        if now >= self._next_explanation:
            self._next_explanation = now + _EXPLAIN_INTERVAL_S
            self._explanation = ""
            with contextlib.suppress(BackendError):
                for task in self._store.list_tasks(self._instance_id, states=[TaskState.CLAIMED], limit=1):
                    self._explanation = f": {self._store.explain_task(task.instance_id, task.task_id)}"
        return self._explanation


def has_open_tasks(info: InstanceInfo) -> bool:
    """Return whether any task of the instance has not ended."""
    return any(info.counts[state] for state in _OPEN)
