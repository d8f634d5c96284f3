"""``CheckpointingRunner`` in a program that is killed: stored results are not computed again, and the next run does not
wait for the end of a lease."""

from __future__ import annotations

import signal

from sqlite_claims import NewTask

from .pool_runs import Pools, pools

__all__ = ["pools"]


def test_a_run_that_is_killed_goes_on_with_the_task_that_it_was_at(pools: Pools) -> None:
    pools.store.add_instance(
        "i",
        [
            NewTask("0", b"0", kind="witnessed"),
            NewTask("1", kind="hold", depends_on=["0"]),
            NewTask("2", b"0", kind="witnessed", depends_on=["1"]),
        ],
    )
    first = pools.start("runner")
    pools.hear()
    saved = pools.task("0").output
    assert saved is not None
    first.send_signal(signal.SIGKILL)
    second = pools.start("runner")
    pools.hear()
    pools.open_gate()
    assert pools.finish(second) == (0, "completed")
    assert [task for _, task, _ in pools.starts()] == ["0", "2"]
    assert pools.task("0").output == saved
    assert [(task.attempts, task.losses) for task in pools.store.list_tasks("i")] == [(1, 0), (2, 1), (1, 0)]
