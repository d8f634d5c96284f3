"""The scoreboard: shared memory in which a worker process records its running tasks. The supervisor can read the
recorded tasks even when the process hangs or is dead.

The process and its supervisor share a few pages. Only the process writes to the pages, and no lock is taken. To
record a task, the process writes the names and then the start time. The supervisor reads the start time, then the
names, then the start time again. If the two start times are equal, the names belong to the task with this start time.
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
_START = struct.Struct("=q")  # start time in monotonic nanoseconds; 0: no task
_NAMES = struct.Struct("=qqdi")  # token, attempt, timeout in seconds or 0, number of bytes of the names that follow
_HEADER_BYTES = 64
_SLOT_BYTES = 1088  # five numbers and four names of at most 256 bytes


class Totals(NamedTuple):
    """The numbers of attempts that a worker process has completed, failed and lost so far."""

    completed: int
    failed: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask:
    """A task that a slot of a worker process is running.

    ``started_ns`` is the start time on the monotonic clock. ``timeout_s`` is the task's own timeout, or ``None``.
    """

    slot: int
    started_ns: int
    claim: TaskClaim
    kind: str
    attempt: int
    timeout_s: float | None

    @property
    def instance_id(self) -> str:
        """The id of the task's instance."""
        return self.claim.instance_id

    @property
    def task_id(self) -> str:
        """The id of the task within its instance."""
        return self.claim.task_id

    @property
    def worker_id(self) -> str:
        """The id of the worker that has claimed the task."""
        return self.claim.worker_id

    def seconds(self) -> float:
        """Return the seconds for which the task has run."""
        return (time.monotonic_ns() - self.started_ns) / 1e9


def make_memory(slots: int) -> int:
    """Create zeroed memory for a scoreboard, and return its file descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sqlite-claims-scoreboard")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _HEADER_BYTES + slots * _SLOT_BYTES)
    return descriptor


class Scoreboard:
    """The shared memory behind a file descriptor. The worker process and its supervisor each map this memory. The
    object does not close the descriptor."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self._slots = slots
        self._map = mmap.mmap(descriptor, _HEADER_BYTES + slots * _SLOT_BYTES)

    # -- called by the worker process

    def task_started(self, slot: int, task: TaskContext) -> None:
        """Record that the slot has started to run this task."""
        at = _HEADER_BYTES + slot * _SLOT_BYTES
        names = f"{task.instance_id}\0{task.task_id}\0{task.worker_id}\0{task.kind}".encode()
        names_at = at + _START.size
        _START.pack_into(self._map, at, 0)  # a start time of 0 marks the slot as empty while the names are replaced
        _NAMES.pack_into(self._map, names_at, task.claim.token, task.attempt, task.timeout or 0.0, len(names))
        self._map[names_at + _NAMES.size : names_at + _NAMES.size + len(names)] = names
        _START.pack_into(self._map, at, time.monotonic_ns())

    def task_ended(self, slot: int) -> None:
        """Record that the slot runs no task."""
        _START.pack_into(self._map, _HEADER_BYTES + slot * _SLOT_BYTES, 0)

    def set_totals(self, *, completed: int, failed: int, lost: int) -> None:
        """Record the total numbers of attempts so far."""
        _TOTALS.pack_into(self._map, 0, completed, failed, lost)

    # -- called by the supervisor

    def totals(self) -> Totals:
        """Return the total numbers of attempts so far."""
        return Totals(*_TOTALS.unpack_from(self._map, 0))

    def started_ns(self, slot: int) -> int:
        """Return the start time of the slot's task in nanoseconds on the monotonic clock, or 0 if the slot runs no
        task."""
        return int(_START.unpack_from(self._map, _HEADER_BYTES + slot * _SLOT_BYTES)[0])

    def running(self) -> list[RunningTask]:
        """Return the running tasks. A slot is left out if its memory contains no valid task, for example because the
        process has overwritten the memory."""
        tasks = []
        for slot in range(self._slots):
            started_ns = self.started_ns(slot)
            if started_ns:
                names_at = _HEADER_BYTES + slot * _SLOT_BYTES + _START.size
                token, attempt, timeout_s, length = _NAMES.unpack_from(self._map, names_at)
                names = self._map[names_at + _NAMES.size : names_at + _NAMES.size + max(0, length)]
                if self.started_ns(slot) == started_ns:
                    with suppress(ValueError):  # the bytes are not UTF-8, or do not contain four names
                        instance_id, task_id, worker_id, kind = names.decode().split("\0")
                        claim = TaskClaim(instance_id, task_id, worker_id, 0.0, None, token)
                        tasks.append(
                            RunningTask(
                                slot=slot,
                                started_ns=started_ns,
                                claim=claim,
                                kind=kind,
                                attempt=attempt,
                                timeout_s=timeout_s or None,
                            )
                        )
        return tasks

    def close(self) -> None:
        """Unmap the memory."""
        self._map.close()
