"""The histories that CI plays find each of these planted faults."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims.sqlite.limits import Limits
from sqlite_claims.sqlite.operations import claiming, settling, sweep
from sqlite_claims.sqlite.statements import sql
from sqlite_claims.sqlite.store_time import StoreTime

from ..tiers import first_is_fast
from . import history

_SEEDS = 80
Plant = Callable[[pytest.MonkeyPatch], None]


def tokens_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    """Plant this fault: a holder whose claim was taken over can still settle the task."""
    verify = claiming.verify

    def careless(db: Any, claim: Any, task: Any) -> Any:
        same = task is not None and task[1:3] == (claim.instance_id, claim.task_id)
        return task if same else verify(db, claim, task)

    patch.setattr(claiming, "verify", careless)


def sleep_is_not_granted(patch: pytest.MonkeyPatch) -> None:
    """Plant this fault: the time of a lease also passes while the machine sleeps."""
    patch.setattr(StoreTime, "_take", lambda self: setattr(self, "now", self.clock.boot_us() + self._anchor))


def dead_workers_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """Plant this fault: the claims of a dead worker last until their leases end."""
    patch.setattr(sweep, "dead_sessions", lambda _db: [])


def pruning_forgets_tokens(patch: pytest.MonkeyPatch) -> None:
    """Plant this fault: if a task is added under the name of a pruned task, its tokens start again at the smallest
    token."""
    patch.setattr(sql, "raise_token_floor", "SELECT ?")


def an_end_is_counted_in_a_transaction_of_its_own(patch: pytest.MonkeyPatch) -> None:
    """Plant this fault: a task ends in one transaction and is counted as ended in the next. If the process is killed
    between the two, the ended task stays counted as open."""
    count_ended = settling.count_ended

    def late(db: Any, *args: Any, **kwargs: Any) -> Any:
        db.execute("COMMIT")
        db.execute("BEGIN IMMEDIATE")
        return count_ended(db, *args, **kwargs)

    patch.setattr(settling, "count_ended", late)


def failures_free_no_slot(patch: pytest.MonkeyPatch) -> None:
    """Plant this fault: the slot of a limit stays taken when an attempt fails."""
    touch = Limits.touch

    def careless(limits: Limits, db: Any, column: int) -> None:
        if sys._getframe(1).f_code.co_name != "fail":
            touch(limits, db, column)

    patch.setattr(Limits, "touch", careless)


def a_transaction_keeps_what_it_should_undo(patch: pytest.MonkeyPatch) -> None:
    """Plant this fault: if a call within a transaction raises an error, the partial changes of the call are not rolled
    back."""
    patch.setattr(sql, "savepoint_rollback", "SELECT 1")


PLANTED: list[Plant] = [
    tokens_are_not_compared,
    sleep_is_not_granted,
    dead_workers_are_not_noticed,
    pruning_forgets_tokens,
    an_end_is_counted_in_a_transaction_of_its_own,
    failures_free_no_slot,
    a_transaction_keeps_what_it_should_undo,
]


@pytest.mark.parametrize("plant", first_is_fast(PLANTED))
def test_the_simulation_finds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    calls = 0
    for seed in range(_SEEDS):
        outcome = history.play(seed, history.draw(seed))
        calls += outcome.calls
        if outcome.kind:
            print(f"{plant.__name__}: found after {seed + 1} histories, {calls:,} calls")
            return
    pytest.fail(f"{plant.__doc__} Not found in {calls:,} calls")
