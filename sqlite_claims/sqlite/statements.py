"""The named SQL statements of ``sql/*.sql``.

No other Python file contains SQL, except ``maintenance/baseline.py``, which uses a database that is not a store.

A block that starts with ``-- name: some_name`` is a statement. A block that starts with ``-- part: some_name`` is a
piece of text that statements include. ``{some_name}`` in a statement is replaced by the part of that name, or by the
number of that name in ``codes.NUMBERS``. Comments are removed to keep the texts short, because the statement cache
hashes the text of a statement on every call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import rows
from .codes import NUMBERS

if TYPE_CHECKING:
    from .rows import (
        AttemptRow,
        ClaimRow,
        ControlledInstance,
        DueTask,
        EndedInstance,
        FoundTask,
        Head,
        HeldTask,
        InstanceHead,
        InstanceRow,
        KeyBearer,
        LaneRow,
        LimitCounts,
        LimitRow,
        ListedTask,
        LosingTask,
        MovingInstance,
        NamedTask,
        OptionsRow,
        PartitionRule,
        StoredSchedule,
        StoredTask,
        StrayTask,
        SweepState,
        TaskAndInstance,
        TaskPosition,
        TaskRow,
        Totals,
        WorkerRow,
    )

Row = TypeVar("Row", bound=tuple[Any, ...])
_FOLDER = Path(__file__).with_name("sql")
_HEADING = re.compile(r"^-- (name|part): (\w+)\n", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{([\w.]+)\}")
_COMMENT = re.compile(r"--( .*)?$", re.MULTILINE)


class Statement(str, Generic[Row]):
    """The type of a statement that returns rows, for mypy only. At run time, every statement is a plain ``str``."""

    __slots__ = ()


class Statements:
    """The statements. Each statement is one attribute. A statement that is declared as ``str`` returns no rows."""

    # add.sql
    instance_by_name: Statement[InstanceHead]
    add_instance: Statement[tuple[int]]
    newest_task: Statement[tuple[int | None]]
    stored_names: Statement[tuple[str]]
    stored_dependency: Statement[StoredTask]
    key_bearer: Statement[KeyBearer]
    set_key: str
    key_of: Statement[tuple[str]]
    add_policy: Statement[tuple[int]]
    policy_id: Statement[tuple[int]]
    add_task: str
    add_input: str
    add_options: str
    set_expiring: str
    add_dependency: str
    count_added: str

    # check.sql
    page_of_meta: Statement[tuple[int]]
    check_meta: Statement[tuple[int, bytes, bytes | None]]
    page_of_session: Statement[tuple[int]]
    check_session: Statement[tuple[int, bytes, bytes | None]]
    page_of_schedule: Statement[tuple[int]]
    check_schedule: Statement[tuple[int, bytes, bytes | None]]
    page_of_lane: Statement[tuple[int]]
    check_lane: Statement[tuple[int, bytes, bytes, bytes]]
    page_of_policy: Statement[tuple[int]]
    check_policy: Statement[tuple[int, bytes]]
    page_of_pruned: Statement[tuple[int]]
    check_pruned: Statement[tuple[int, bytes]]
    page_of_instance: Statement[tuple[int]]
    check_instance: Statement[tuple[int, bytes, bytes | None, bytes | None, bytes | None, bytes | None]]
    check_counters: Statement[tuple[int, bytes]]
    page_of_task: Statement[tuple[int]]
    check_task: Statement[tuple[int, bytes, bytes | None, bytes | None, bytes | None]]
    page_of_input: Statement[tuple[int]]
    check_input: Statement[tuple[int, bytes]]
    page_of_output: Statement[tuple[int]]
    check_output: Statement[tuple[int, bytes]]
    page_of_error: Statement[tuple[int]]
    check_error: Statement[tuple[int, bytes, bytes]]
    page_of_attempt: Statement[tuple[int]]
    check_attempt: Statement[tuple[int, bytes, bytes, bytes]]
    page_of_progress: Statement[tuple[int]]
    check_progress: Statement[tuple[int, bytes, bytes | None]]
    page_of_checkpoint: Statement[tuple[int]]
    check_checkpoint: Statement[tuple[int, bytes]]
    page_of_limit: Statement[tuple[int]]
    check_limit: Statement[tuple[int, bytes, bytes]]
    page_of_partition: Statement[tuple[int]]
    check_partition: Statement[tuple[int, bytes, bytes]]
    page_of_queue: Statement[tuple[int]]
    check_queue: Statement[tuple[int, bytes]]
    page_of_head: Statement[tuple[int]]
    check_head: Statement[tuple[int, bytes]]
    page_of_rated: Statement[tuple[int]]
    check_rated: Statement[tuple[int, bytes]]
    page_of_options: Statement[tuple[int]]
    check_options: Statement[tuple[int, bytes, bytes | None, bytes | None]]
    page_of_key: Statement[tuple[None]]
    check_key: Statement[tuple[int, bytes]]
    page_of_dependency: Statement[tuple[int]]
    check_dependency: Statement[tuple[int, bytes]]
    cycle_candidates: Statement[tuple[int]]
    blocked_edges: Statement[tuple[int, int]]
    check_sequence: Statement[tuple[str, bytes]]
    objects: Statement[tuple[str, str, str, str]]
    tables_that_refer: Statement[tuple[str, str]]

    # claim.sql
    lanes: Statement[LaneRow]
    lanes_with_rows: Statement[tuple[int]]
    queue: Statement[tuple[int, int]]
    add_lane: Statement[tuple[int]]
    drop_lanes: str
    drop_own_lanes: str
    task_by_name: Statement[NamedTask]
    tasks_found: Statement[FoundTask]
    task_found: Statement[FoundTask]
    next_position: Statement[tuple[int | None]]
    next_due: Statement[tuple[int | None]]
    claim_one: str
    claim_many: str
    release: str
    set_expiry: str
    claims_by_row: Statement[HeldTask]
    claim_by_row: Statement[HeldTask]
    claim_by_name: Statement[HeldTask]

    # control.sql
    instance_to_control: Statement[ControlledInstance]
    set_instance_state: str
    cancel_instance: str
    seal_instance: str
    instance_in_motion: Statement[MovingInstance]
    resumed_in_motion: Statement[tuple[int, int]]
    strays: Statement[StrayTask]
    positions: Statement[TaskPosition]
    end_of_step: Statement[tuple[str]]
    move_in: str
    move_out: str
    move_to_cancelled: str
    moved_to: str

    # limits.sql
    partition_id: Statement[tuple[int]]
    add_partition: Statement[tuple[int]]
    set_limited: str
    is_limited: Statement[tuple[int]]
    queue_id: Statement[tuple[int]]
    add_queue: Statement[tuple[int]]
    partition_name: Statement[tuple[str]]
    partition_rule: Statement[PartitionRule]
    count_running: Statement[tuple[int]]
    next_expiry: Statement[tuple[int | None]]
    expired_of_partition: Statement[tuple[int, int]]
    lease_of: Statement[tuple[int | None]]
    wanted_heads: Statement[Head]
    stored_heads: Statement[Head]
    set_head: str
    drop_head: str
    set_check_at: str
    heads_page: Statement[tuple[int, int]]
    next_head: Statement[tuple[int | None]]
    partitions_to_check: Statement[tuple[int]]
    rated_claims: Statement[tuple[int, int]]
    add_rated: str
    drop_rated: str
    drop_rated_of_rule: str
    check_partitions_of_rule: str
    check_all_partitions: str
    check_partitions_of_instance: str
    limited_lanes_of_step: Statement[tuple[int]]
    limited_lanes_unblocked: Statement[tuple[int]]
    longest_waiting_head: Statement[tuple[int | None]]
    longest_waiting_in: Statement[tuple[int | None]]
    limited_due_lanes: Statement[tuple[int, int]]
    set_limit: str
    drop_limit: Statement[tuple[int]]
    limits: Statement[LimitRow]
    limit_counts: Statement[LimitCounts]
    limited_due: Statement[tuple[int]]

    # meta.sql
    synchronous_normal: str
    synchronous_full: str
    locking_mode_exclusive: str
    begin_exclusive: str
    begin_read: str
    begin_write: str
    commit: str
    rollback: str
    savepoint: str
    savepoint_release: str
    savepoint_rollback: str
    data_version: Statement[tuple[int]]
    named_like_ours: Statement[tuple[str, str]]
    triggers: Statement[tuple[str, str]]
    temporary_of_our_names: Statement[tuple[str]]
    lowered_sequences: Statement[tuple[str]]
    schema_version: Statement[tuple[int]]
    statistics_tables: Statement[tuple[str]]
    statistics: Statement[tuple[int]]
    drop_statistics: str
    drop_samples: str
    set_schema_version: str
    create_meta: str
    meta_timeline: Statement[tuple[str, int, int, int, int, int]]
    lanes_version: Statement[tuple[int]]
    meta_token_floor: Statement[tuple[int]]
    set_seen: str
    set_sleep: str
    set_timeline: str
    set_aging: str
    raise_token_floor: str
    mark_copy: str
    lanes_changed: str
    own_lanes_changed: str
    count_moving: str
    due_offset: Statement[tuple[int]]
    set_due_offset: str
    prolong_leases: str
    end_all_claims: str
    end_all_sessions: str

    # prune.sql
    ended_before: Statement[EndedInstance]
    newest_token: Statement[tuple[int]]
    still_ended: Statement[tuple[int]]
    drop_instance: str
    add_pruned: str
    pruned: Statement[tuple[int]]
    drop_pruned: str
    pruned_tasks: Statement[tuple[int]]
    drop_tasks: str
    drop_inputs: str
    drop_outputs: str
    drop_errors: str
    drop_attempts: str
    drop_checkpoints: str
    drop_all_progress: str
    drop_keys: str
    drop_options: str
    drop_dependencies: str
    shared_lanes: Statement[tuple[int]]
    policies: Statement[tuple[int]]
    newest_task_and_instance: Statement[tuple[int, int]]
    instance_of: Statement[tuple[int]]
    references: Statement[tuple[int, int, int]]
    drop_policies: str
    queues: Statement[tuple[int]]
    lanes_of_queues: Statement[tuple[int]]
    drop_queues: str
    drop_heads: str
    drop_old_rated: str
    drop_partitions: str
    has_anything: Statement[tuple[int]]
    page_count: Statement[tuple[int]]
    freelist_count: Statement[tuple[int]]
    incremental_vacuum: str
    integrity_check: Statement[tuple[str]]

    # read.sql
    task: Statement[TaskRow]
    task_by_row: Statement[TaskRow]
    ended_among: Statement[tuple[int, int]]
    existing_among: Statement[tuple[int, int]]
    moving: Statement[tuple[int]]
    options: Statement[OptionsRow]
    dependencies: Statement[tuple[str, int]]
    instance: Statement[InstanceRow]
    instances_page: Statement[InstanceRow]
    instance_claims: Statement[tuple[int]]
    scheduled_among_own: Statement[tuple[int]]
    scheduled_of_instance: Statement[tuple[int]]
    waiting: Statement[tuple[int, int | None]]
    waiting_in_motion: Statement[tuple[int, int | None]]
    longest_due: Statement[tuple[int | None]]
    totals: Statement[Totals]
    totals_of_instance: Statement[Totals]
    claim_counts: Statement[tuple[int, int]]
    claims: Statement[tuple[int]]
    claims_page: Statement[ClaimRow]
    task_rows_page: Statement[ListedTask]
    task_rows: Statement[ListedTask]
    task_rows_of_instance_page: Statement[ListedTask]
    scheduled_rows: Statement[tuple[int]]
    rows_with_error: Statement[tuple[int]]
    cancelled_in_motion: Statement[tuple[int]]
    workers: Statement[WorkerRow]

    # scan.sql
    scan_head: Statement[tuple[int, int, int]]
    scan_range: Statement[tuple[int, int, int]]
    scan_instance_state: Statement[tuple[int]]

    # schedules.sql
    schedule_by_name: Statement[StoredSchedule]
    schedules: Statement[StoredSchedule]
    due_schedules: Statement[StoredSchedule]
    late_schedules: Statement[tuple[str, int]]
    tick_offset: Statement[tuple[int | None]]
    put_schedule: str
    move_schedule: str
    pause_schedule: str
    remove_schedule: str
    set_next_tick: str
    count_ticks_from: str

    # settle.sql
    complete_plain: str
    set_progress: str
    set_checkpoint: str
    mark_checkpoint: str
    drop_checkpoint: str
    drop_progress: str
    count_completed: str
    complete_many: str
    store_output: str
    store_error: str
    drop_error: str
    policy: Statement[tuple[float, float, float, float]]
    retry_later: str
    fail: str
    add_attempt: str
    add_lost_attempts: str
    drop_oldest_attempt: str
    attempts: Statement[AttemptRow]
    record_loss: str
    count_ended: str
    open_tasks: Statement[tuple[int, int, int]]
    end_instance: str
    count_unblocked: Statement[tuple[int, int]]
    unblock: str
    cancel: str
    cancel_dependents: str
    task_and_instance: Statement[TaskAndInstance]
    retry: str
    restorable: Statement[tuple[int]]
    restore_dependent: str
    reopen_instance: str

    # sweep.sql
    sweep_state: Statement[SweepState]
    has_expired_tasks: Statement[tuple[int]]
    expired_tasks: Statement[tuple[int]]
    expired_among: Statement[tuple[int]]
    not_expiring: str
    expiring_again: str
    nothing_expires: str
    expired_last_claims: Statement[tuple[int]]
    expired_last_claims_in_motion: Statement[tuple[int]]
    due_tasks: Statement[DueTask]
    set_position: str
    task_of_loss: Statement[LosingTask]
    sessions: Statement[tuple[int, int]]
    newest_session: Statement[tuple[int]]
    session_pid: Statement[tuple[int]]
    session_claims: Statement[tuple[int]]
    session_of: Statement[tuple[int | None]]
    add_session: Statement[tuple[int]]
    drop_session: str

    def __init__(self) -> None:
        texts, parts = _blocks()

        def replacement(placeholder: re.Match[str]) -> str:
            name = placeholder[1]
            return str(NUMBERS[name]) if name in NUMBERS else _PLACEHOLDER.sub(replacement, parts[name])

        for name, text in texts.items():
            setattr(self, name, _PLACEHOLDER.sub(replacement, text))

    def all(self) -> dict[str, str]:
        """Return all statements, with their names as keys."""
        return dict(self.__dict__)


def _row_class(name: str) -> Any:
    """Return the class of a statement's rows; ``None`` if the rows are plain tuples, or if there are no rows."""
    declared: str = Statements.__annotations__[name]
    row = getattr(rows, declared.removeprefix("Statement[").removesuffix("]"), None)
    return row if hasattr(row, "_fields") else None


def _blocks() -> tuple[dict[str, str], dict[str, str]]:
    """Return two dictionaries with names as keys: the texts of the statements, and the texts of the parts."""
    blocks: dict[str, dict[str, str]] = {"name": {}, "part": {}}
    for entry in sorted(_FOLDER.iterdir(), key=lambda entry: entry.name):
        if not entry.name.endswith(".sql") or entry.name[0].isdigit():
            continue
        pieces = _HEADING.split(entry.read_text("utf-8"))
        for kind, name, body in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
            if name in blocks[kind]:
                raise ValueError(f"{entry.name}: the {kind} {name} is there twice")
            blocks[kind][name] = " ".join(_COMMENT.sub("", body).split()).rstrip(";")
    return blocks["name"], blocks["part"]


sql = Statements()
ROW_MAKERS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    text: partial(tuple.__new__, row) for name, text in sql.all().items() if (row := _row_class(name))
}
"""A dictionary with statements as keys. Each value is the function that converts a plain tuple to the row class of the
statement. The rows of all other statements are plain tuples."""


def migrations() -> list[tuple[int, str]]:
    """Return the schema versions in ascending order, each with the script that migrates a file to that version."""
    scripts = [entry for entry in _FOLDER.iterdir() if entry.name[0].isdigit()]
    return sorted((int(entry.name.split("_")[0]), entry.read_text("utf-8")) for entry in scripts)
