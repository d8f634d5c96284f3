"""Log records of a pool's supervisor about the attempts in its processes."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

import pytest

from sqlite_claims.workers import WorkerPool

from .pool_runs import Pools, pools

__all__ = ["pools"]

TASKS = "sqlite_claims.tasks"


def records_of(caplog: pytest.LogCaptureFixture, *levels: int) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == TASKS and record.levelno in levels]


def named(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in ("instance_id", "task_id", "kind", "attempt")}


def test_a_task_whose_process_died_is_logged_as_lost_with_how_it_died(
    pools: Pools, caplog: pytest.LogCaptureFixture
) -> None:
    pools.add("hold")
    with WorkerPool(pools.path, "pool_handlers:registry", processes=1).spawn(until_idle=True) as handle:
        _, pid = pools.hear()
        os.kill(pid, signal.SIGKILL)
        pools.hear()
        pools.open_gate()
        handle.join()
    (record,) = records_of(caplog, logging.WARNING, logging.ERROR)
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"task '0' of instance 'i' lost: worker process {pid} died: SIGKILL"
    assert named(record) == {"instance_id": "i", "task_id": "0", "kind": "hold", "attempt": 1}
    assert vars(record)["worker_id"]
    assert vars(record)["seconds"] > 0


@pytest.mark.slow
def test_the_last_loss_that_a_task_may_have_is_logged_as_its_failure_too(
    pools: Pools, caplog: pytest.LogCaptureFixture
) -> None:
    pools.add("leave at once", max_lost=1)
    WorkerPool(pools.path, "pool_handlers:registry", processes=1).run(until_idle=True)
    lost, failed = records_of(caplog, logging.WARNING, logging.ERROR)
    assert lost.levelno == logging.WARNING
    assert lost.getMessage().endswith("died: exit status 3")
    assert failed.levelno == logging.ERROR
    assert "failed permanently: lost 1 claims; max_lost is 1; worker process" in failed.getMessage()
    assert pools.task().error is not None
    assert failed.getMessage().endswith(pools.task().error or "")


@pytest.mark.slow
def test_a_task_that_a_pool_killed_for_time_is_logged_as_a_failure(
    pools: Pools, caplog: pytest.LogCaptureFixture
) -> None:
    pools.add("seize", max_attempts=1)
    WorkerPool(pools.path, "pool_handlers:registry", processes=1, task_timeout=0.5).run(until_idle=True)
    (record,) = records_of(caplog, logging.WARNING, logging.ERROR)
    assert record.getMessage() == (
        "task '0' of instance 'i' failed permanently, 1 of 1 attempts: timed out after 0.5 s"
    )
    assert record.levelno == logging.ERROR
    assert named(record) == {"instance_id": "i", "task_id": "0", "kind": "seize", "attempt": 1}
    assert vars(record)["seconds"] >= 0.5
