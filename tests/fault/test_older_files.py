"""Store files that were written with earlier versions of the schema."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SchemaVersionError, SqliteClaimStore, TaskState
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


def test_a_read_only_store_reads_a_file_of_the_previous_version(tmp_path: Path) -> None:
    path = Path(shutil.copy(FIXTURES / "schema-2.db", tmp_path))
    content = path.read_bytes()
    with SqliteClaimStore(path, read_only=True, clock=ManualClock()) as store:
        states = {(task.instance_id, task.task_id): str(task.state) for task in store.list_tasks()}
        # A read-only store does not end claims of a different machine.
        assert states == {**STATES, ("ready", "t0"): "claimed"}
        assert store.get_task("graph", "a").tags == ("gpu",)
        assert store.get_instance("cancelled").reason == "not needed"
        assert store.stats().counts[TaskState.FAILED] == 1
        assert [task.task_id for task in store.find_available_tasks("w", 1, kinds=[""])] == ["b"]
        assert "ready" in store.explain_task("graph", "b")
        assert [info.instance_id for info in store.list_instances()] == ["graph", "ready", "paused", "cancelled"]
        assert [claim.task_id for claim in store.list_claims()] == ["t0"]
        assert list(store.list_workers()) == []
        store.backup(tmp_path / "copy.db")
        with pytest.raises(SchemaVersionError, match="open the file once for writing"):
            store.check()
    assert path.read_bytes() == content
    with SqliteClaimStore(tmp_path / "copy.db", clock=ManualClock()) as store:
        assert store.check() == []


def test_a_read_only_store_does_not_read_a_file_of_version_1(tmp_path: Path) -> None:
    path = Path(shutil.copy(FIXTURES / "schema-1.db", tmp_path))
    with pytest.raises(SchemaVersionError, match="needs an upgrade"):
        SqliteClaimStore(path, read_only=True)


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
