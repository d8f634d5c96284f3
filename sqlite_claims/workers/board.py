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

from ..model import TaskClaim

_TOTALS = struct.Struct("=qqq")  # completed, failed, lost
_START = struct.Struct("=q")  # monotonic nanoseconds; 0: no task
_NAMES = struct.Struct("=qi")  # token, length of the names that follow
_HEADER = 64
_SLOT = 1024  # two numbers and three names of at most 256 bytes


def make_memory(lanes: int) -> int:
    """A descriptor of zeroed memory for a board."""
    size = _HEADER + lanes * _SLOT
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sqlite-claims-board")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


class Board:
    """Both sides' view of the memory behind a descriptor, which it does not close."""

    def __init__(self, descriptor: int, lanes: int) -> None:
        self._lanes = lanes
        self._map = mmap.mmap(descriptor, _HEADER + lanes * _SLOT)

    def task_started(self, lane: int, claim: TaskClaim) -> None:
        """The lane runs this task from now on."""
        at = _HEADER + lane * _SLOT
        names = f"{claim.instance_id}\0{claim.task_id}\0{claim.worker_id}".encode()
        start = at + _START.size
        _NAMES.pack_into(self._map, start, claim.token, len(names))
        self._map[start + _NAMES.size : start + _NAMES.size + len(names)] = names
        _START.pack_into(self._map, at, time.monotonic_ns())

    def task_ended(self, lane: int) -> None:
        """The lane runs nothing."""
        _START.pack_into(self._map, _HEADER + lane * _SLOT, 0)

    def count(self, completed: int, failed: int, lost: int) -> None:
        """The totals so far."""
        _TOTALS.pack_into(self._map, 0, completed, failed, lost)

    def totals(self) -> tuple[int, int, int]:
        """Completed, failed, lost."""
        completed, failed, lost = _TOTALS.unpack_from(self._map, 0)
        return completed, failed, lost

    def started_ns(self, lane: int) -> int:
        """When the lane's task started, by the monotonic clock; 0 without one."""
        return int(_START.unpack_from(self._map, _HEADER + lane * _SLOT)[0])

    def running(self) -> list[tuple[int, int, TaskClaim]]:
        """Lane, start (monotonic nanoseconds) and claim of each task that runs."""
        found = []
        for lane in range(self._lanes):
            started = self.started_ns(lane)
            if started:
                start = _HEADER + lane * _SLOT + _START.size
                token, length = _NAMES.unpack_from(self._map, start)
                names = self._map[start + _NAMES.size : start + _NAMES.size + length]
                if self.started_ns(lane) == started:
                    instance_id, task_id, worker_id = names.decode().split("\0")
                    found.append((lane, started, TaskClaim(instance_id, task_id, worker_id, 0.0, None, token)))
        return found

    def close(self) -> None:
        """Let go of the memory."""
        self._map.close()
