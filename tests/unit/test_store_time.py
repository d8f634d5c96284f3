"""Store time after a rollback, a sleep, a reboot and a copy of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sqlite_claims import NewTask, NotFoundError, SqliteClaimStore, TaskState
from sqlite_claims.testing import ManualClock

Open = Callable[..., SqliteClaimStore]


@pytest.fixture
def open_store(tmp_path: Path, clock: ManualClock) -> Iterator[Open]:
    """Open stores on one file, and close all of them at the end."""
    stores = []

    def open_store(name: str = "jobs.db") -> SqliteClaimStore:
        store = SqliteClaimStore(tmp_path / name, durability="process", clock=clock)
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


def fail_to_write(store: SqliteClaimStore) -> None:
    """Make a write that is rolled back."""
    with pytest.raises(NotFoundError):
        store.release_task_claim("nothing", "of-that-name", "worker")


def test_leases_are_prolonged_for_a_sleep_even_where_the_first_write_after_it_is_rolled_back(
    open_store: Open, clock: ManualClock
) -> None:
    store = open_store()
    store.add_instance("i", [NewTask("t")])
    assert store.claim_task("i", "t", "sleeper", 60)
    clock.sleep(3600)
    fail_to_write(store)
    assert store.claim_task("i", "t", "other", 60) is None
    clock.advance(61)
    assert store.claim_task("i", "t", "other", 60) is not None


def test_leases_are_prolonged_once_where_several_stores_notice_a_sleep(open_store: Open, clock: ManualClock) -> None:
    first, second = open_store(), open_store()
    first.add_instance("i", [NewTask("t"), NewTask("u")])
    assert first.claim_task("i", "t", "sleeper", 60)
    clock.sleep(3600)
    first.claim_task("i", "u", "other", 1)
    second.release_task_claim("i", "u", "other")
    clock.advance(59)
    assert second.claim_task("i", "t", "other", 60) is None
    clock.advance(1)
    assert second.claim_task("i", "t", "other", 60) is not None


def test_a_store_that_has_not_written_since_a_sleep_tells_claims_by_what_another_has_granted(
    open_store: Open, clock: ManualClock, tmp_path: Path
) -> None:
    writer, idle = open_store(), open_store()
    writer.add_instance("i", [NewTask("before"), NewTask("after")])
    before = writer.claim_task("i", "before", "worker", 60)
    assert before is not None
    with SqliteClaimStore(tmp_path / "jobs.db", read_only=True, clock=clock) as reader:
        clock.sleep(8 * 3600)
        after = writer.claim_task("i", "after", "worker", 30)
        assert after is not None
        for store in (idle, reader):
            told = {claim.task_id: claim for claim in store.list_claims()}
            assert (told["before"].remaining(), told["after"].remaining()) == (60, 30)
            assert "for 30 s more" in store.explain_task("i", "after")
        clock.advance(30)
        for store in (idle, reader):
            assert {claim.task_id: claim.is_expired() for claim in store.list_claims()} == {
                "before": before.is_expired(),
                "after": after.is_expired(),
            }
            claim = store.get_task("i", "after").claim
            assert claim is not None
            assert claim.is_expired()
            assert "the claim has expired" in store.explain_task("i", "after")
        clock.sleep(3600)  # leases have not yet been prolonged by the time asleep
        for store in (idle, reader):
            claim = store.get_task("i", "before").claim
            assert claim is not None
            assert claim.remaining() == 30


def test_a_sleep_within_a_transaction_that_is_rolled_back_is_still_granted_later(
    open_store: Open, clock: ManualClock
) -> None:
    store = open_store()
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    assert store.claim_task("i", "t", "sleeper", 60)
    clock.sleep(3600)
    tx = store.transaction(1e6).__enter__()
    tx.claim_task("i", "u", "other", 60)
    tx.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert store.claim_task("i", "t", "other", 60) is None


def test_store_time_never_goes_back_over_a_reboot_whatever_was_rolled_back_before(
    open_store: Open, clock: ManualClock
) -> None:
    store = open_store()
    for number in range(10):
        # In each round, the write that records the store time is rolled back. The next write comes within a second and
        # is committed.
        clock.advance(1.5)
        fail_to_write(store)
        clock.advance(0.5)
        store.add_instance(f"i{number}", [NewTask("t")])
    store.close()
    clock.reboot()
    store = open_store()
    assert [task.state for task in store.list_tasks()] == [TaskState.READY] * 10


def test_store_time_goes_on_after_a_reboot_and_delays_with_it(open_store: Open, clock: ManualClock) -> None:
    store = open_store()
    store.add_instance("i", [NewTask("t", delay=100)])
    clock.advance(90)
    store.add_instance("j")
    store.close()
    clock.reboot()
    store = open_store()
    assert store.get_task("i", "t").state is TaskState.SCHEDULED
    clock.advance(10)
    assert store.get_task("i", "t").state is TaskState.READY


def test_a_boot_clock_that_runs_backwards_is_a_reboot_where_the_platform_names_no_boots(
    open_store: Open, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "boot_id", lambda: "linux")
    store = open_store()
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "worker", None)
    assert claim is not None
    store.close()
    clock.reboot()
    store = open_store()
    again = store.claim_task("i", "t", "worker", None)
    assert again is not None
    assert again.token > claim.token


def test_a_copy_put_to_work_ends_claims_and_gives_larger_tokens_than_the_original_will(
    open_store: Open, clock: ManualClock, tmp_path: Path
) -> None:
    store = open_store()
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "worker", None)
    assert claim is not None
    store.backup(tmp_path / "copy.db")
    store.release_task(claim)
    tokens = []
    for _ in range(3):
        store.close()
        clock.reboot()
        store = open_store()
        claimed = store.claim_task("i", "t", "worker", None)
        assert claimed is not None
        tokens.append(claimed.token)
    copy = open_store("copy.db")
    assert list(copy.list_claims()) == []
    restored = copy.claim_task("i", "t", "worker", None)
    assert restored is not None
    assert restored.token > max(tokens)
    copy.close()
    copy = open_store("copy.db")
    assert [claim.token for claim in copy.list_claims()] == [restored.token]


def test_no_claim_outlives_a_reboot_and_none_costs_a_loss(open_store: Open, clock: ManualClock) -> None:
    store = open_store()
    store.add_instance("i", [NewTask("t", max_lost=1), NewTask("u"), NewTask("v")])
    store.add_instance("paused", [NewTask("t")])
    for name in ("t", "u"):
        assert store.claim_task("i", name, "worker", None)
    assert store.claim_task("paused", "t", "worker", 5)
    store.pause_instance("paused")
    store.close()
    clock.reboot()
    store = open_store()
    assert list(store.list_claims()) == []
    assert {(task.losses, task.attempts, task.state) for task in store.list_tasks()} == {
        (0, 1, TaskState.READY),
        (0, 0, TaskState.READY),
    }
    assert store.check() == []
