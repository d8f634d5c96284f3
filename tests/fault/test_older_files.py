"""Store files that were written with earlier versions of the schema."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore
from sqlite_claims.testing import ManualClock

FIXTURES = Path(__file__).parent.parent / "fixtures"
STATES = {
    ("graph", "a"): "completed",
    ("graph", "b"): "ready",
    ("graph", "c"): "blocked",
    ("ready", "t0"): "ready",  # the task was claimed on a different machine, so its claim has ended
    ("ready", "t1"): "ready",
    ("ready", "t2"): "ready",
    ("ready", "t3"): "ready",
    ("ready", "t4"): "ready",
    ("ready", "t5"): "failed",
    ("paused", "p"): "ready",
    ("paused", "q"): "ready",
    ("cancelled", "x"): "cancelled",
}


@pytest.fixture(params=[path.name for path in sorted(FIXTURES.glob("schema-*.db"))])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(FIXTURES / request.param, tmp_path))


def test_tasks_of_an_older_file_are_kept_and_go_on(old: Path) -> None:
    with SqliteClaimStore(old, clock=ManualClock()) as store:
        assert store.check() == []
        states = {(task.instance_id, task.task_id): str(task.state) for task in store.list_tasks()}
        assert states == STATES
        assert store.get_instance("cancelled").reason == "not needed"
        assert store.get_task("graph", "a").tags == ("gpu",)
        assert store.get_task("graph", "b").input == b"output"
        (found, *_) = store.find_available_tasks("w", 1, kinds=[""])
        assert (found.task_id, found.input, found.workflow_definition_hash) == ("b", b"output", "graph/v1")
        store.resume_instance("paused")
        while claimed := store.claim_available_tasks("w", 5):
            store.complete_tasks([(one.claim, b"") for one in claimed])
        assert [str(info.state) for info in store.list_instances()] == ["completed", "failed", "completed", "cancelled"]
        store.add_instance("large", [NewTask(f"t{number}", kind="load", tags=["gpu"]) for number in range(5000)])
        assert store.check() == []
