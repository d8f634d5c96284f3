"""What a worker process is doing, where its supervisor can read it even when the process is stuck or dead.

A few pages of memory that the two share. Only the worker writes, without locks: a slot's start time is written last,
so a reader that finds the same one before and after has read one task's slot whole.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass

from ..model import TaskClaim
from .context import TaskContext

_TOTALS = struct.Struct("=qqq")  # completed, failed, lost
_START = struct.Struct("=q")  # monotonic nanoseconds; 0: no task
_NAMES = struct.Struct("=qqi")  # token, attempt, length of the names that follow
_HEADER = 64
_SLOT = 1088  # four numbers and four names of at most 256 bytes


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that runs on a slot since ``started_ns`` by the monotonic clock."""

    slot: int
    started_ns: int
    claim: TaskClaim
    kind: str
    attempt: int

    @property
    def instance_id(self) -> str:
        """Whose task it is."""
        return self.claim.instance_id

    @property
    def task_id(self) -> str:
        """Its name in the instance."""
        return self.claim.task_id

    @property
    def worker_id(self) -> str:
        """The name under which it is claimed."""
        return self.claim.worker_id

    def seconds(self) -> float:
        """How long it has run."""
        return (time.monotonic_ns() - self.started_ns) / 1e9


def make_memory(slots: int) -> int:
    """A descriptor of zeroed memory for a scoreboard."""
    size = _HEADER + slots * _SLOT
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sqlite-claims-scoreboard")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


class Scoreboard:
    """Both sides' view of the memory behind a descriptor, which it does not close."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self._slots = slots
        self._map = mmap.mmap(descriptor, _HEADER + slots * _SLOT)

    def task_started(self, slot: int, task: TaskContext) -> None:
        """The slot runs this task from now on."""
        at = _HEADER + slot * _SLOT
        names = f"{task.instance_id}\0{task.task_id}\0{task.worker_id}\0{task.kind}".encode()
        start = at + _START.size
        _START.pack_into(self._map, at, 0)  # a task that was left to itself may still stand here
        _NAMES.pack_into(self._map, start, task.claim.token, task.attempt, len(names))
        self._map[start + _NAMES.size : start + _NAMES.size + len(names)] = names
        _START.pack_into(self._map, at, time.monotonic_ns())

    def task_ended(self, slot: int) -> None:
        """The slot runs nothing."""
        _START.pack_into(self._map, _HEADER + slot * _SLOT, 0)

    def count(self, completed: int, failed: int, lost: int) -> None:
        """The totals so far."""
        _TOTALS.pack_into(self._map, 0, completed, failed, lost)

    def totals(self) -> tuple[int, int, int]:
        """Completed, failed, lost."""
        completed, failed, lost = _TOTALS.unpack_from(self._map, 0)
        return completed, failed, lost

    def started_ns(self, slot: int) -> int:
        """When the slot's task started, by the monotonic clock; 0 without one."""
        return int(_START.unpack_from(self._map, _HEADER + slot * _SLOT)[0])

    def running(self) -> list[RunningTask]:
        """The tasks that run. A slot in which no task can be read, since the process wrote over it, is left out."""
        found = []
        for slot in range(self._slots):
            started = self.started_ns(slot)
            if started:
                start = _HEADER + slot * _SLOT + _START.size
                token, attempt, length = _NAMES.unpack_from(self._map, start)
                names = self._map[start + _NAMES.size : start + _NAMES.size + max(0, length)]
                if self.started_ns(slot) == started:
                    with suppress(ValueError):  # not UTF-8, or not four names
                        instance_id, task_id, worker_id, kind = names.decode().split("\0")
                        claim = TaskClaim(instance_id, task_id, worker_id, 0.0, None, token)
                        found.append(RunningTask(slot, started, claim, kind, attempt))
        return found

    def close(self) -> None:
        """Let go of the memory."""
        self._map.close()
