"""Memory in which a worker process shows its tasks, so that its supervisor can read them when it is stuck or dead.

The process and its supervisor share a few pages. Only the process writes, without locks. It writes the start time of a
slot's task last. So a reader that finds the same start time before and after it has read the names has read the names
of that task.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from ..model import TaskClaim
from .context import TaskContext

_TOTALS = struct.Struct("=qqq")  # completed, failed, lost
_START = struct.Struct("=q")  # monotonic nanoseconds; 0: no task
_NAMES = struct.Struct("=qqi")  # token, attempt, length of the names that follow
_HEADER_BYTES = 64
_SLOT_BYTES = 1088  # four numbers and four names of at most 256 bytes


class Totals(NamedTuple):
    """The attempts of a worker process so far."""

    completed: int
    failed: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask:
    """A task that runs in a slot of a worker process since ``started_ns`` by the monotonic clock."""

    slot: int
    started_ns: int
    claim: TaskClaim
    kind: str
    attempt: int

    @property
    def instance_id(self) -> str:
        """The instance of the task."""
        return self.claim.instance_id

    @property
    def task_id(self) -> str:
        """The task's id in its instance."""
        return self.claim.task_id

    @property
    def worker_id(self) -> str:
        """The worker that has claimed the task."""
        return self.claim.worker_id

    def seconds(self) -> float:
        """Return for how long the task has run."""
        return (time.monotonic_ns() - self.started_ns) / 1e9


def make_memory(slots: int) -> int:
    """Return the descriptor of zeroed memory for a scoreboard."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sqlite-claims-scoreboard")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _HEADER_BYTES + slots * _SLOT_BYTES)
    return descriptor


class Scoreboard:
    """The shared memory behind a descriptor, mapped by the process or by its supervisor. Does not close it."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self._slots = slots
        self._map = mmap.mmap(descriptor, _HEADER_BYTES + slots * _SLOT_BYTES)

    # -- for the process

    def task_started(self, slot: int, task: TaskContext) -> None:
        """Record that the slot runs this task from now on."""
        at = _HEADER_BYTES + slot * _SLOT_BYTES
        names = f"{task.instance_id}\0{task.task_id}\0{task.worker_id}\0{task.kind}".encode()
        names_at = at + _START.size
        _START.pack_into(self._map, at, 0)  # the names of another task may still be there
        _NAMES.pack_into(self._map, names_at, task.claim.token, task.attempt, len(names))
        self._map[names_at + _NAMES.size : names_at + _NAMES.size + len(names)] = names
        _START.pack_into(self._map, at, time.monotonic_ns())

    def task_ended(self, slot: int) -> None:
        """Record that the slot runs no task."""
        _START.pack_into(self._map, _HEADER_BYTES + slot * _SLOT_BYTES, 0)

    def set_totals(self, *, completed: int, failed: int, lost: int) -> None:
        """Record the totals so far."""
        _TOTALS.pack_into(self._map, 0, completed, failed, lost)

    # -- for the supervisor

    def totals(self) -> Totals:
        """Return the totals so far."""
        return Totals(*_TOTALS.unpack_from(self._map, 0))

    def started_ns(self, slot: int) -> int:
        """Return when the slot's task started, by the monotonic clock; 0 if it runs none."""
        return int(_START.unpack_from(self._map, _HEADER_BYTES + slot * _SLOT_BYTES)[0])

    def running(self) -> list[RunningTask]:
        """Return the tasks that run. A slot whose content is no task, since the process has overwritten it, is left
        out."""
        tasks = []
        for slot in range(self._slots):
            started_ns = self.started_ns(slot)
            if started_ns:
                names_at = _HEADER_BYTES + slot * _SLOT_BYTES + _START.size
                token, attempt, length = _NAMES.unpack_from(self._map, names_at)
                names = self._map[names_at + _NAMES.size : names_at + _NAMES.size + max(0, length)]
                if self.started_ns(slot) == started_ns:
                    with suppress(ValueError):  # not UTF-8, or not four names
                        instance_id, task_id, worker_id, kind = names.decode().split("\0")
                        claim = TaskClaim(instance_id, task_id, worker_id, 0.0, None, token)
                        tasks.append(
                            RunningTask(slot=slot, started_ns=started_ns, claim=claim, kind=kind, attempt=attempt)
                        )
        return tasks

    def close(self) -> None:
        """Unmap the memory."""
        self._map.close()
