"""The public methods that wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from .. import arguments, validate
from ..interface.waiting import StoreWaiting
from ..model import Duration, InstanceInfo, TaskInfo
from .base import StoreFront

T = TypeVar("T")
# Shortest and longest interval between two reads in a call that waits for an instance or for tasks. The interval is
# short while workers commit often, and long while nothing is committed.
_POLL_S_MIN, _POLL_S_MAX = 0.002, 0.5
# With more tasks than this, a read takes so long that the shortest interval is longer.
_FEW, _GATHER_S = 100, 0.05


class StoreWaitingFront(StoreFront, StoreWaiting):
    """The methods of ``StoreWaiting``."""

    def wait_for_tasks(
        self, timeout: Duration, *, tags: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> bool:
        backend = self._backend
        worker_tags = () if tags is None else validate.names("tags", tags)
        worker_kinds = validate.kinds(kinds)
        deadline = time.monotonic() + validate.duration_us("timeout", timeout) / 1e6
        while True:
            number = backend.ready_number()
            if backend.any_available(tags=worker_tags, kinds=worker_kinds):
                return True
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return False
            backend.wait_ready(number, tags=worker_tags, kinds=worker_kinds, timeout_s=remaining_s)

    def wait_for_task(self, instance_id: str, task_id: str, timeout: Duration) -> TaskInfo | None:
        instance_id, task_id = validate.name("instance_id", instance_id), validate.name("task_id", task_id)

        def poll() -> TaskInfo | None:
            info = self._backend.get_task(instance_id=instance_id, task_id=task_id)
            return info if info.state.has_ended else None

        return self._wait(poll, timeout)

    def wait_for_any(self, refs: Iterable[tuple[str, str]], timeout: Duration) -> list[TaskInfo]:
        checked = arguments.refs(refs)
        timeout_s = validate.duration_us("timeout", timeout) / 1e6
        watch = self._backend.watch_tasks(checked)
        pause_s = _POLL_S_MIN if watch.size <= _FEW else _GATHER_S

        def poll() -> list[TaskInfo] | None:
            ended = watch.poll()
            return ended if ended or not watch.size else None

        return self._wait(poll, timeout_s, pause_s) or []

    def wait_for_instance(self, instance_id: str, timeout: Duration) -> InstanceInfo | None:
        instance_id = validate.name("instance_id", instance_id)

        def poll() -> InstanceInfo | None:
            info = self._backend.get_instance(instance_id)
            return info if info.state.has_ended else None

        return self._wait(poll, timeout)

    def _wait(self, poll: Callable[[], T | None], timeout: Duration, pause_s: float = _POLL_S_MIN) -> T | None:
        """Poll after each commit until the result is not ``None``, or until the timeout. Return the result."""
        backend = self._backend
        deadline = time.monotonic() + validate.duration_us("timeout", timeout) / 1e6
        while True:
            number = backend.commit_number()
            backend.expire_tasks()
            found = poll()
            remaining_s = deadline - time.monotonic()
            if found is not None or remaining_s <= 0:
                return found
            backend.wait_commit(number, timeout_s=min(remaining_s, _POLL_S_MAX))
            # Busy workers commit very often. Without this sleep, every commit would cause a read.
            time.sleep(min(pause_s, remaining_s))
