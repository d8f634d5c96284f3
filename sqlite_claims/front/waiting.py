"""The public methods that wait."""

from __future__ import annotations

import time
from collections.abc import Collection

from .. import validate
from ..interface.waiting import StoreWaiting
from ..model import Duration, InstanceInfo
from .base import StoreFront

# Shortest and longest interval between two reads of an instance in a call that waits for the instance. The interval is
# short while workers commit often, and long while nothing is committed.
_POLL_S_MIN, _POLL_S_MAX = 0.002, 0.5


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

    def wait_for_instance(self, instance_id: str, timeout: Duration) -> InstanceInfo | None:
        backend = self._backend
        instance_id = validate.name("instance_id", instance_id)
        deadline = time.monotonic() + validate.duration_us("timeout", timeout) / 1e6
        while True:
            number = backend.commit_number()
            info = backend.get_instance(instance_id)
            if info.state.has_ended:
                return info
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return None
            backend.wait_commit(number, timeout_s=min(remaining_s, _POLL_S_MAX))
            # Busy workers commit very often. Without this sleep, every commit would cause a read.
            time.sleep(min(_POLL_S_MIN, remaining_s))
