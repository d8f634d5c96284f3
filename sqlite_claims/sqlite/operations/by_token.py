"""The operations on claims that check the claim's token. Each operation runs in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from ...backend import Failure, ProgressReport
from ...interface import Handover, Settled
from ...model import TaskClaim
from ..database import Database
from ..lanes import Kinds, Tags
from ..rows import HELD_LANE, ID, NEXT_TICK, HeldTask
from ..statements import sql
from . import claiming, settling, sweep


def renew(db: Database, claim: TaskClaim, *, ttl_us: int | None) -> TaskClaim:
    """Set the claim's expiry to now + ``ttl_us``."""
    return claiming.renew(db, claim, claiming.require_held(db, claim), ttl_us=ttl_us)


def complete(db: Database, claim: TaskClaim, output: bytes) -> None:
    """Complete the claim's task."""
    if not (claim._row and settling.complete_plain(db, claim, output)):
        settling.complete(db, [claiming.require_held(db, claim)], [output])


def report_progress(db: Database, claim: TaskClaim, report: ProgressReport) -> None:
    """Store a report of progress, and a checkpoint."""
    id = claiming.require_held(db, claim)[ID]
    done, total, note, checkpoint = report
    if report[:3] != (None, None, None):
        db.execute(sql.set_progress, (id, done, total, note, db.time.wall))
    if checkpoint is not None:
        db.execute(sql.set_checkpoint, (id, checkpoint))
        db.execute(sql.mark_checkpoint, (id,))


def fail(db: Database, claim: TaskClaim, failure: Failure) -> None:
    """Record a failure of the task, which ends the claim."""
    settling.fail(db, claiming.require_held(db, claim), failure)


def release(db: Database, claim: TaskClaim, *, delay_us: int | None) -> None:
    """Release the claim's task."""
    task = claiming.require_held(db, claim)
    claiming.release(db, task[ID], task[HELD_LANE], delay_us=delay_us)


def renew_many(db: Database, claims: Sequence[TaskClaim], *, ttl_us: int | None) -> Settled:
    """Renew each claim that is still held."""
    tasks = claiming.held_tasks(db, claims)
    done = [claiming.renew(db, claim, task, ttl_us=ttl_us) for claim, task in zip(claims, tasks, strict=True) if task]
    return Settled(done, [claim for claim, task in zip(claims, tasks, strict=True) if not task])


def complete_many(db: Database, results: Sequence[tuple[TaskClaim, bytes]]) -> Settled:
    """Complete the task of each claim that is still held."""
    held, done, lost = _split_held(db, [claim for claim, _ in results])
    if held:
        settling.complete(db, [task for _, task in held], [results[index][1] for index, _ in held])
    return Settled(done, lost)


def complete_and_claim(
    db: Database,
    results: Sequence[tuple[TaskClaim, bytes]],
    *,
    worker_id: str,
    limit: int,
    ttl_us: int | None,
    tags: Tags,
    kinds: Kinds,
    session_id: int | None,
    limited: int,
    may_add_ticks: bool,
) -> Handover | None:
    """Complete the task of each claim that is still held, and then find and claim tasks. ``None``: nothing was done,
    because the caller must add due ticks first."""
    next_tick = sweep.sweep_state(db)[NEXT_TICK]
    if next_tick is not None and may_add_ticks and sweep.ticks_are_due(db, next_tick):
        return None
    done, lost = complete_many(db, results)
    while True:
        claimed = claiming.claim_available(
            db,
            worker_id=worker_id,
            limit=limit,
            ttl_us=ttl_us,
            tags=tags,
            kinds=kinds,
            session_id=session_id,
            limited=limited,
            may_add_ticks=False,
        )
        if claimed is not None:
            return Handover(done, lost, claimed)


def fail_many(db: Database, failures: Sequence[tuple[TaskClaim, Failure]]) -> Settled:
    """Record a failure of each claim that is still held."""
    held, done, lost = _split_held(db, [claim for claim, _ in failures])
    for index, task in held:
        settling.fail(db, task, failures[index][1])
    return Settled(done, lost)


def release_many(db: Database, claims: Sequence[TaskClaim]) -> Settled:
    """Release the task of each claim that is still held."""
    held, done, lost = _split_held(db, claims)
    for _, task in held:
        claiming.release(db, task[ID], task[HELD_LANE], delay_us=None)
    return Settled(done, lost)


def _split_held(
    db: Database, claims: Sequence[TaskClaim]
) -> tuple[list[tuple[int, HeldTask]], list[TaskClaim], list[TaskClaim]]:
    """Return three lists: the held tasks, each with the index of its claim; the held claims; the lost claims.

    If a claim is listed twice, the second entry counts as lost.
    """
    held: list[tuple[int, HeldTask]] = []
    done, lost, ids = [], [], set()
    for index, (claim, task) in enumerate(zip(claims, claiming.held_tasks(db, claims), strict=True)):
        if task is None or task[ID] in ids:
            lost.append(claim)
        else:
            ids.add(task[ID])
            held.append((index, task))
            done.append(claim)
    return held, done, lost
