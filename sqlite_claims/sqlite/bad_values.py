"""The search for values that a store never writes, and for wrong counts. Each table is read page by page, and each page
is compared with the related rows of other tables."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import apsw

from .. import validate
from ..errors import BackendError, InvalidArgumentError
from .statements import sql

Execute = Callable[..., apsw.Cursor]
# The number of rows in a page. Reading a page takes a few milliseconds.
_PAGE = 1_000
_COUNTERS_PAGE = 50
# An instance with this number of dependencies or more is not searched for cycles. A hundred calls of ``add_tasks`` can
# add that many dependencies.
_EDGES_MAX = 10_000_000
_SUSPECT = (
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.FullError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
)
# The time limit for the search for the cause of an error, in seconds.
_SEARCH_S = 0.2
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
# For each table: the statement that returns the end of a page, and the statement that checks a page.
_PASSES = (
    ("claims_meta", sql.page_of_meta, sql.check_meta),
    ("claims_sessions", sql.page_of_session, sql.check_session),
    ("claims_lanes", sql.page_of_lane, sql.check_lane),
    ("claims_policies", sql.page_of_policy, sql.check_policy),
    ("claims_pruned", sql.page_of_pruned, sql.check_pruned),
    ("claims_instances", sql.page_of_instance, sql.check_instance),
    ("claims_tasks", sql.page_of_task, sql.check_task),
    ("claims_inputs", sql.page_of_input, sql.check_input),
    ("claims_outputs", sql.page_of_output, sql.check_output),
    ("claims_errors", sql.page_of_error, sql.check_error),
    ("claims_attempts", sql.page_of_attempt, sql.check_attempt),
    ("claims_progress", sql.page_of_progress, sql.check_progress),
    ("claims_checkpoints", sql.page_of_checkpoint, sql.check_checkpoint),
    ("claims_schedules", sql.page_of_schedule, sql.check_schedule),
    ("claims_limits", sql.page_of_limit, sql.check_limit),
    ("claims_partitions", sql.page_of_partition, sql.check_partition),
    ("claims_queues", sql.page_of_queue, sql.check_queue),
    ("claims_heads", sql.page_of_head, sql.check_head),
    ("claims_rated", sql.page_of_rated, sql.check_rated),
    ("claims_options", sql.page_of_options, sql.check_options),
    ("claims_keys", sql.page_of_key, sql.check_key),
    ("claims_dependencies", sql.page_of_dependency, sql.check_dependency),
)


def culprit(execute: Execute, error: BaseException) -> str:
    """Search, for a limited time, for a value that a store never writes and that may have caused an error. Return a
    description of the value, or ``""`` if the search finds no such value."""
    until = time.monotonic() + _SEARCH_S

    def go_on() -> None:
        if time.monotonic() > until:
            raise TimeoutError

    if not isinstance(error, _SUSPECT) or isinstance(error, BackendError):
        return ""
    # SQLite raises the same error if the disk is full and if a table has no unused row id left.
    found = _sequences(execute) if isinstance(error, apsw.FullError) else _values(execute, go_on)
    try:
        return next((finding for finding in found if " came no further: " not in finding), "")
    except (apsw.Error, TimeoutError):
        return ""


def guarded(subject: str, find: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Yield the findings of ``find``. If damage in the file ends the search with an error, yield a finding about that
    error."""
    try:
        yield from find()
    except (apsw.InterruptError, apsw.BusyError, apsw.NoMemError):
        raise
    except (apsw.Error, ValueError, TypeError, ArithmeticError, LookupError) as error:
        yield f"{subject} came no further: {type(error).__name__}: {error}"


def findings(execute: Execute, go_on: Callable[[], None]) -> Iterator[str]:
    """Yield findings about values that a store never writes, and about wrong counts."""
    yield from _values(execute, go_on)
    counters = ("claims_instances", sql.page_of_instance, _COUNTERS_PAGE, sql.check_counters)
    yield from guarded("claims_instances", lambda: _pass(execute, go_on, *counters))
    yield from guarded("claims_dependencies", lambda: _cycles(execute, go_on))


def _values(execute: Execute, go_on: Callable[[], None]) -> Iterator[str]:
    for table, page, statement in _PASSES:
        yield from guarded(table, lambda: _pass(execute, go_on, table, page, _PAGE, statement))  # noqa: B023 - called at once
    yield from guarded("sqlite_sequence", lambda: _sequences(execute))


def _pass(
    execute: Execute, go_on: Callable[[], None], table: str, page: str, size: int, statement: str
) -> Iterator[str]:
    for low, high in _pages(execute, page, size):
        go_on()
        yield from _in_rows(table, execute(statement, (low, high)))


def _sequences(execute: Execute) -> Iterator[str]:
    yield from _in_rows("sqlite_sequence", execute(sql.check_sequence))


def _pages(execute: Execute, page: str, size: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last key of each page of a table."""
    low = _LOWEST
    while True:
        rows: list[tuple[Any, ...]] = execute(page, (low, size - 1)).fetchall()
        high = int(rows[0][0]) if rows and rows[0][0] is not None else _HIGHEST
        yield low, high
        if high >= _HIGHEST:
            return
        low = high + 1


def _in_rows(table: str, cursor: apsw.Cursor) -> Iterator[str]:
    """Yield the findings in the rows of a statement whose name starts with ``check_``. A row consists of a key, the
    findings of the SQL, and texts that Python code has to check."""
    rows: list[tuple[Any, ...]] = []
    columns: list[list[str]] = []
    for row in cursor:
        columns = columns or [str(column[0]).split(": ") for column in cursor.description[2:]]
        rows.append(row)
    for key, found, *texts in rows:
        for line in filter(None, found.decode("utf-8", "backslashreplace").split("\n")):
            yield f"{table} row {key}: {line}"
        for (column, sort), raw in zip(columns, texts, strict=True):
            if raw is not None and not _is_written(sort, raw):
                yield f"{table} row {key}: {column} is {validate.shown(raw)}"


def _is_written(sort: str, raw: bytes) -> bool:
    """Return whether a store could have written this text. (The SQL has already checked the length of the text.)"""
    try:
        text = raw.decode()
        if sort == "tags":
            return _are_tags(text)
        if sort == "metadata":
            return _is_metadata(text)
        if sort != "text":
            validate.name("", text, empty=True)
        return not (sort == "kind" and text == "*")
    except (InvalidArgumentError, UnicodeDecodeError):
        return False


def _are_tags(text: str) -> bool:
    try:
        tags = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(tags, list) and text == json.dumps(validate.names("", tags), separators=(",", ":"))


def _is_metadata(text: str) -> bool:
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(metadata, dict) and bool(metadata) and text == validate.metadata_json(validate.metadata(metadata))


def _cycles(execute: Execute, go_on: Callable[[], None]) -> Iterator[str]:
    """Yield findings about tasks that wait for each other in a cycle. Each cycle contains a task that waits for a task
    that was added later."""
    done: set[int] = set()
    for bounds in _pages(execute, sql.page_of_dependency, _PAGE):
        go_on()
        candidates: list[tuple[Any, ...]] = execute(sql.cycle_candidates, bounds).fetchall()
        for (instance,) in candidates:
            if instance in done:
                continue
            done.add(instance)
            edges: list[tuple[Any, ...]] = execute(sql.blocked_edges, (instance, _EDGES_MAX)).fetchall()
            if len(edges) < _EDGES_MAX and (waiting := _never_free(edges)):
                yield (
                    f"claims_dependencies: in the instance of row {instance}, {len(waiting)} tasks wait for each "
                    f"other, among them row {min(waiting)} of claims_tasks"
                )


def _never_free(edges: list[tuple[Any, ...]]) -> set[int]:
    """Return the tasks that can never become ready, because the tasks belong to a cycle of dependencies, or wait for
    such a cycle."""
    waits = Counter(task for task, _ in edges)
    dependents = defaultdict(list)
    for task, needed in edges:
        dependents[needed].append(task)
    free = deque(needed for needed in dependents if needed not in waits)
    while free:
        for task in dependents[free.popleft()]:
            waits[task] -= 1
            if not waits[task]:
                del waits[task]
                free.append(task)
    return set(waits)
