"""The operations that control, read and remove instances."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ...backend import Steps
from ...model import InstanceInfo, InstanceState
from ..error_translation import log_after_commit
from ..operations import control, pruning, reading, sessions, unused_lanes
from ..sessions.owned_locks import InstanceFeed
from .base import SqliteOperations, SqliteStoreOperations


class SqliteSharedInstances(SqliteOperations):
    """The operations of ``SharedInstancesBackend``."""

    def pause_instance(self, instance_id: str) -> Steps:
        self._write(control.pause, True, instance_id)
        return ()

    def resume_instance(self, instance_id: str) -> Steps:
        self._write(control.resume, True, instance_id)
        return ()

    def cancel_instance(self, instance_id: str, *, reason: str | None) -> Steps:
        self._write(control.cancel, True, instance_id, reason)
        return ()

    def get_instance(self, instance_id: str) -> InstanceInfo:
        return self._read(reading.get_instance, instance_id)


class SqliteStoreInstances(SqliteSharedInstances, SqliteStoreOperations):
    """The operations of ``SharedInstancesBackend`` and ``StoreInstancesBackend``."""

    def pause_instance(self, instance_id: str) -> Steps:
        self._with_reserve(lambda: self._write(control.pause, True, instance_id))
        return self._moves()

    def resume_instance(self, instance_id: str) -> Steps:
        self._with_reserve(lambda: self._write(control.resume, True, instance_id))
        return self._moves()

    def cancel_instance(self, instance_id: str, *, reason: str | None) -> Steps:
        self._with_reserve(lambda: self._write(control.cancel, True, instance_id, reason))
        return self._moves()

    def _moves(self) -> Iterator[None]:
        """Update, step by step, the rows of the tasks of instances that were paused, resumed or cancelled."""
        return self._steps(control.move_step)

    def list_instances(self, *, states: Collection[InstanceState] | None) -> Iterator[list[InstanceInfo]]:
        return self._pages(lambda after: self._read(reading.instances_page, after, states))

    def prune(self, *, older_than_us: int, limit: int) -> tuple[int, Steps]:
        before = self.wall_us() - older_than_us
        self._db.refuse_writes()
        # A process may have been killed while it cancelled an instance. The rows of such an instance must be updated
        # before the instance is pruned, because the number of moving instances is counted, and because a search must
        # not find the instance's tasks.
        for _ in self._moves():
            pass
        pruned = 0
        for instance in self._read(pruning.candidates, before_wall=before, limit=limit):
            try:
                token = self._read(pruning.newest_token, instance.id)
                # This transaction need not survive a power cut, because the instance can then be pruned again.
                pruned += self._with_reserve(
                    lambda: self._write(
                        pruning.prune_instance,
                        False,
                        instance.id,  # noqa: B023 - called before the loop continues
                        finished_wall=instance.finished_wall,  # noqa: B023
                        token=token,  # noqa: B023
                    )
                )
            except Exception as error:
                if not pruned:
                    raise
                why = "some instances were pruned; the next prune will remove the others"
                log_after_commit(self._db.path, why, error)
                break
        return pruned, self._prune_steps(before, pruned)

    def _prune_steps(self, before: int, pruned: int) -> Iterator[None]:
        yield from self._steps(pruning.remove_step)
        if pruned:
            yield from self._remove_unused(before)
            yield from self._steps(pruning.shrink_step)
            self._db.checkpoint()

    def _remove_unused(self, before: int) -> Iterator[None]:
        """Remove lanes and policies that no task uses any more. Do nothing if there are more instances to prune."""
        try:
            if self._read(pruning.candidates, before_wall=before, limit=1):
                return
            if (unused := self._read(unused_lanes.begin)) is None:
                return
            while self._read(unused_lanes.pass_step, unused):
                pass
        except Exception as error:  # noqa: BLE001 - the next prune removes these rows
            log_after_commit(self._db.path, "pruned; the next prune will remove unused lanes and policies", error)
            return
        yield from self._steps(lambda db: unused_lanes.remove_step(db, unused))

    def feed_instance(self, instance_id: str) -> InstanceFeed:
        """Prevent ``prune`` from removing an instance until the feed is closed or this process ends."""
        return sessions.feed_instance(self._db, instance_id)
