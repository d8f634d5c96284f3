"""``check``: the contents and number of its findings. A running check blocks no other caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite_claims import (
    AsyncSqliteClaimStore,
    InvalidArgumentError,
    NewTask,
    SqliteClaimStore,
    StoreCorruptError,
    StoreFullError,
)
from sqlite_claims.sqlite import bad_values
from sqlite_claims.sqlite.maintenance import checking

from ..process.children import Start
from .test_alien_schema import ENDLESS_VIEW, change


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.add_instance("i", [NewTask("a", tags=["x"]), NewTask("b", depends_on=["a"]), NewTask("c")])
        yield store


DEEP_TAGS = "UPDATE claims_lanes SET tags = replace(hex(zeroblob(90000)), '0', '[') WHERE id = 1"
SCHEDULE = "INSERT INTO claims_schedules VALUES (1, 's', '{}', '{}', NULL, 0, '', 5, NULL, 5, 1)"
LIMITED = (
    "INSERT INTO claims_partitions (name) VALUES ('a')",
    "INSERT INTO claims_lanes (kind, tags, traits) VALUES ('', '[]', 2)",
    "INSERT INTO claims_queues (partition, lane) VALUES (1, (SELECT max(id) FROM claims_lanes))",
    "UPDATE claims_tasks SET lane = 2147483648 WHERE id = 1",
    (
        "INSERT INTO claims_heads SELECT t.lane, priority, next_at, max(l.id) FROM claims_tasks t, claims_lanes l"
        " WHERE t.id = 1"
    ),
    "UPDATE claims_meta SET limited = 1",
)
"""Statements that give the first task a limit."""
FOUND = {
    "claims_meta row 1: aging_interval is '-5'": ["UPDATE claims_meta SET aging_interval = -5"],
    "claims_meta row 1: moving is '3', which is not the number": ["UPDATE claims_meta SET moving = 3"],
    "claims_sessions row -5: id is out of bounds": ["INSERT INTO claims_sessions VALUES (-5, 'w', 1, 0)"],
    "claims_sessions row 1: pid is '0'": ["INSERT INTO claims_sessions VALUES (1, 'w', 0, 0)"],
    "claims_sessions row 1: worker is b'": ["INSERT INTO claims_sessions VALUES (1, CAST(x'ff' AS TEXT), 7, 0)"],
    "claims_lanes row 1: tags is b'[[1],{}]'": ["UPDATE claims_lanes SET tags = '[[1],{}]' WHERE id = 1"],
    "claims_lanes row 1: tags is b'[[[[": [DEEP_TAGS],
    'claims_lanes row 1: tags is b\'["y","x"]\'': ['UPDATE claims_lanes SET tags = \'["y","x"]\' WHERE id = 1'],
    "claims_lanes row 1: kind is b'*'": ["UPDATE claims_lanes SET kind = '*' WHERE id = 1"],
    "claims_policies row 1: jitter is 'Inf'": ["UPDATE claims_policies SET jitter = 9e999"],
    "claims_pruned row 1: the instance was not pruned": ["INSERT INTO claims_pruned VALUES (1)"],
    "claims_instances row 1: state is '9'": ["UPDATE claims_instances SET state = 9"],
    "claims_instances row 1: its counters (total is '4'": ["UPDATE claims_instances SET total = 4"],
    "claims_tasks row 1: priority is '7'": ["UPDATE claims_tasks SET priority = 7 WHERE id = 1"],
    "claims_tasks row 2: state is '77'": ["UPDATE claims_tasks SET state = 77 WHERE id = 2"],
    "claims_tasks row 3: lane is '77': there is none such": ["UPDATE claims_tasks SET lane = 77 WHERE id = 3"],
    "claims_tasks row 3: lane is '-9223372036854775808'": ["UPDATE claims_tasks SET lane = -1 << 63 WHERE id = 3"],
    "claims_tasks row 1: name is b'\\xff\\x00": ["UPDATE claims_tasks SET name = CAST(x'ff0061' AS TEXT) WHERE id = 1"],
    "claims_tasks row 1: next_at is '5'": ["UPDATE claims_tasks SET next_at = 5 WHERE id = 1"],
    "claims_tasks row 2: open_deps is '9'": ["UPDATE claims_tasks SET open_deps = 9 WHERE id = 2"],
    "claims_outputs row 1: its task is not completed": ["INSERT INTO claims_outputs VALUES (1, x'00')"],
    "claims_errors row 8: belongs to no task": ["INSERT INTO claims_errors VALUES (8, '')"],
    "claims_dependencies row 1: depends_on is '1', the task itself": ["INSERT INTO claims_dependencies VALUES (1, 1)"],
    "claims_dependencies: in the instance of row 1, 2 tasks wait for each other, among them row 1 of claims_tasks": [
        "INSERT INTO claims_dependencies VALUES (1, 2)",
        "UPDATE claims_tasks SET state = 0, next_at = NULL, open_deps = 1 WHERE id = 1",
        "UPDATE claims_instances SET blocked = 2",
    ],
    "claims_meta row 1: next_tick is '5', which is not the next tick": ["UPDATE claims_meta SET next_tick = 5"],
    "claims_schedules row 1: timing is 'x'": [SCHEDULE, "UPDATE claims_schedules SET timing = 'x'"],
    "claims_schedules row 1: timing is '{}'": [SCHEDULE],
    "claims_schedules row 1: task is '{}'": [SCHEDULE],
    "claims_schedules row 1: paused is '1', and next_wall '5'": [SCHEDULE],
    "claims_limits row 1: there is no bound": ["INSERT INTO claims_limits VALUES (1, 'a', NULL, NULL, NULL)"],
    "claims_limits row 1: name is 'a:b'": ["INSERT INTO claims_limits VALUES (1, 'a:b', 1, NULL, NULL)"],
    "claims_limits row 1: concurrency is '10001'": ["INSERT INTO claims_limits VALUES (1, 'a', 10001, NULL, NULL)"],
    "claims_partitions row 1: a first task has no head": [*LIMITED, "DELETE FROM claims_heads"],
    "claims_partitions row 1: limited in claims_meta is 0": [*LIMITED, "UPDATE claims_meta SET limited = 0"],
    "claims_queues row 2147483648: partition is '7'": [*LIMITED, "UPDATE claims_queues SET partition = 7"],
    "claims_queues row 2147483648: lane is '7'": [*LIMITED, "UPDATE claims_queues SET lane = 7"],
    "claims_heads row 2147483648: next_at is": [*LIMITED, "UPDATE claims_heads SET next_at = next_at + 1"],
    "claims_heads row 2147483648: priority is '9'": [*LIMITED, "UPDATE claims_heads SET priority = 9"],
    "claims_rated row 7: there is no such partition": ["INSERT INTO claims_rated VALUES (7, 1, 1)"],
    "claims_rated row 7: number is '0'": ["INSERT INTO claims_rated VALUES (7, 1, 0)"],
    "sqlite_sequence row claims_lanes: seq is '0', below": ["UPDATE sqlite_sequence SET seq = 0"],
    "trigger 't' on claims_tasks does not belong to the store": [
        "CREATE TRIGGER t AFTER UPDATE ON claims_tasks BEGIN SELECT 1; END"
    ],
    "index 'own' on claims_tasks does not belong to the store": ["CREATE INDEX own ON claims_tasks (length(name))"],
    "index claims_task_due is missing": ["DROP INDEX claims_task_due"],
    "view claims_tasks_v differs from the one that the store creates": [
        "DROP VIEW claims_tasks_v",
        "CREATE VIEW claims_tasks_v AS SELECT 1",
    ],
    "table claims_tasks differs from the one that the store creates": [
        "ALTER TABLE claims_tasks ADD COLUMN own INTEGER"
    ],
    "table own: a foreign key refers to claims_tasks": ["CREATE TABLE own (t REFERENCES claims_tasks (id))"],
    "table claims_sessions is missing": ["DROP TABLE claims_sessions", ENDLESS_VIEW],
}


@pytest.mark.parametrize("finding", FOUND)
def test_table_row_and_value_are_named(store: SqliteClaimStore, finding: str) -> None:
    with SqliteClaimStore(store.path, read_only=True) as reader:
        change(store.path, *FOUND[finding])
        found = reader.check()
    assert [one for one in found if one.startswith(finding)], found


def test_after_a_thousand_findings_it_says_that_there_are_more(store: SqliteClaimStore) -> None:
    store.add_instance("j", [NewTask(f"t{number}") for number in range(1_200)])
    change(store.path, "UPDATE claims_tasks SET priority = 9")
    found = store.check()
    assert len(found) == checking.FINDINGS_MAX + 1
    assert found[-1] == "there are more findings: these are the first 1,000"


def test_other_threads_write_meanwhile_and_nothing_keeps_the_wal_from_starting_over(
    store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = bad_values.findings
    pages: list[Any] = []

    def findings(execute: Any, go_on: Callable[[], None]) -> Iterator[str]:
        def between() -> None:
            thread = threading.Thread(target=lambda: store.add_instance(f"new{len(pages)}", [NewTask("t")]))
            thread.start()
            thread.join()
            pages.append(store._db.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE))
            go_on()

        return find(execute, between)

    monkeypatch.setattr(bad_values, "findings", findings)
    assert store.check() == []
    assert len(pages) > 10
    assert set(pages) == {(0, 0)}


def test_within_a_transaction_it_tells_of_what_is_committed(store: SqliteClaimStore) -> None:
    with store.transaction() as tx:
        tx.add_instance("j", [NewTask("t")])
        assert store.check() == []
        [work] = tx.claim_available_tasks("w", kinds=[""], tags=["x"])[-1:]
        tx.complete_task(work.claim)
    assert store.check() == []


BLAMED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "claims_meta row 1: aging must be from 1": (
        "UPDATE claims_meta SET aging_interval = -5",
        lambda store: store.claim_available_tasks("w"),
    ),
    "claims_meta row 1: anchor is": (
        "UPDATE claims_meta SET anchor = 9223372036854775807",
        lambda store: store.claim_available_tasks("w"),
    ),
    "claims_lanes row 1: tags is": (
        DEEP_TAGS,
        lambda store: store.find_available_tasks("w", 1),
    ),
    "claims_policies row 1: ": (
        "UPDATE claims_policies SET max_delay = 9e999",
        lambda store: store.get_task("i", "a"),
    ),
    "claims_policies row 1: no": (
        "UPDATE claims_policies SET max_delay = 9e999",
        lambda store: store.fail_task(store.claim_task("i", "a", "w", 0), "no"),
    ),
    "claims_tasks row 1: token is": (
        "UPDATE claims_tasks SET token = 9223372036854775807 WHERE id = 1",
        lambda store: store.claim_available_tasks("w", 5),
    ),
    "claims_tasks row 3: name is": (
        "UPDATE claims_tasks SET name = CAST(x'ff' AS TEXT) WHERE id = 3",
        lambda store: store.claim_available_tasks("w", 5),
    ),
    "claims_tasks row 3: lane is '77'": (
        "UPDATE claims_tasks SET lane = 77",
        lambda store: list(store.list_tasks())[2],
    ),
    "claims_tasks row 1: state is '77'": (
        "UPDATE claims_tasks SET state = 77 WHERE id = 1",
        lambda store: store.get_task("i", "a"),
    ),
    "claims_tasks row 1: added_wall is": (
        "UPDATE claims_tasks SET added_wall = 9223372036854775807 WHERE id = 1",
        lambda store: store.get_task("i", "a"),
    ),
    "claims_instances row 1: state is '-1'": (
        "UPDATE claims_instances SET state = -1",
        lambda store: store.get_instance("i"),
    ),
    "sqlite_sequence row claims_sessions: seq is": (
        "INSERT INTO sqlite_sequence VALUES ('claims_sessions', 9223372036854775807)",
        lambda store: store.open_session("w"),
    ),
    "claims_sessions row 4611686018427387905: session ids": (
        "INSERT INTO sqlite_sequence VALUES ('claims_sessions', 4611686018427387904)",
        lambda store: store.open_session("w"),
    ),
}


@pytest.mark.parametrize("blame", BLAMED)
def test_an_error_that_a_value_in_the_file_causes_names_its_table_and_row(
    store: SqliteClaimStore, blame: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bad_values, "_SEARCH_S", 60)  # a busy machine must not end the search for the value
    statement, act = BLAMED[blame]
    with SqliteClaimStore(store.path, durability="process") as other:
        change(store.path, statement)
        for user in (store, other):
            # these values are read only when a connection is opened
            if blame.startswith(("claims_meta row 1: anchor", "claims_lanes")):
                user._db._close_connection()
            with pytest.raises(StoreCorruptError) as raised:
                act(user)
            assert str(raised.value).startswith(f"{store.path}: {blame.removesuffix(' row 3: lane is')}") or (
                "claims_tasks row 1: lane is '77'" in str(raised.value) and "lane" in blame
            )


def test_an_error_that_is_the_callers_or_the_disks_blames_no_value(store: SqliteClaimStore) -> None:
    change(store.path, "UPDATE claims_tasks SET priority = 7")
    with pytest.raises(InvalidArgumentError):
        store.claim_available_tasks("w", -1)

    def full(_: Any) -> None:
        raise apsw.FullError("database or disk is full")

    with pytest.raises(StoreFullError):
        store._db.write(full, False)


def test_sessions_that_no_process_can_hold_are_cleared_away_a_bounded_number_at_a_time(store: SqliteClaimStore) -> None:
    change(
        store.path,
        "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2500)"
        " INSERT INTO claims_sessions SELECT n, 'w', 1, 0 FROM c",
        "INSERT INTO claims_sessions VALUES (-5, 'w', 1, 0), (1 << 62, 'w', -1, 0), (1 << 62 | 9, 'w', 1 << 60, 0)",
    )
    assert len(list(store.list_workers())) == 2503
    assert [claimed.task.task_id for claimed in store.claim_available_tasks("w", 5)] == ["a", "c"]
    assert list(store.list_workers()) == []


def test_tables_of_another_version_than_the_file_names_are_not_migrated(store: SqliteClaimStore) -> None:
    path = store.path
    store.close()
    change(path, "UPDATE claims_meta SET schema_version = 1")
    with pytest.raises(StoreCorruptError, match="schema_version in claims_meta is 1, but table claims_meta"):
        SqliteClaimStore(path)


FORKED = """
from sqlite_claims.sqlite.maintenance.long_read import LongRead
begun, go_on, found = threading.Event(), threading.Event(), []

def pausing(read, proceed=LongRead._go_on):
    if read._connection is not None:
        begun.set()
        while not (go_on.wait(0.001) or read._interrupted):
            pass
    proceed(read)

LongRead._go_on = pausing
store = SqliteClaimStore(args[0])
thread = threading.Thread(target=lambda: found.append(store.check()))
thread.start()
begun.wait()
if os.fork() == 0:
    say("child", store.add_instance("child"))
    os._exit(0)
os.wait()
say("parent", store.add_instance("parent"))
go_on.set()
thread.join()
say("found", found)
"""


def test_a_fork_during_a_check_works_on_both_sides(store: SqliteClaimStore, start: Start) -> None:
    process = start(FORKED, store.path)
    process.says("child", True)
    process.says("parent", True)
    process.says("found", [[]])
    process.end()


def test_other_calls_of_an_asynchronous_store_are_made_during_a_check(
    store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def findings(*_: Any) -> Iterator[str]:
        begun.set()
        go_on.wait()
        yield "the finding"

    monkeypatch.setattr(bad_values, "findings", findings)

    async def use() -> None:
        async with AsyncSqliteClaimStore(store.path, durability="process") as on:
            check = asyncio.create_task(on.check())
            await asyncio.to_thread(begun.wait)
            [work] = await on.claim_available_tasks("w", ttl=30)
            await on.complete_task(work.claim)
            go_on.set()
            assert await check == ["the finding"]

    asyncio.run(use())


def test_a_damaged_page_ends_the_search_of_its_table_alone(store: SqliteClaimStore, monkeypatch: Any) -> None:
    def damaged(*_: Any) -> Iterator[str]:
        raise apsw.CorruptError("malformed")
        yield ""

    change(store.path, "UPDATE claims_tasks SET priority = 9 WHERE id = 1")
    monkeypatch.setattr(bad_values, "_cycles", damaged)
    assert store.check() == [
        "claims_tasks row 1: priority is '9'",
        "claims_dependencies came no further: CorruptError: malformed",
    ]
