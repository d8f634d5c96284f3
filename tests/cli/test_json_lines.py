"""``add --json`` reads the output of ``ls --json``, and reports lines that it cannot read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from sqlite_claims import NewTask, RetryPolicy, SqliteClaimStore, TaskInfo, TaskState
from sqlite_claims.cli import add

from .conftest import Cli

GIVEN = (
    "kind", "priority", "tags", "depends_on", "delay", "available_at", "max_attempts", "max_lost", "retry"
)  # fmt: skip
# An instance is listed in the order of task names. In this order, each task comes before its dependencies.
GRAPH = [
    NewTask("z", b"\xff\x00", kind="k", priority=1, tags=["a", "b"], max_attempts=7, max_lost=2),
    NewTask("y", b"own", depends_on=["z"], delay=5.5, retry=RetryPolicy(2.0, 3.0, 4.0, 0.5)),
    NewTask("x", depends_on=["y"]),
    NewTask("w", depends_on=["x", "y", "z"]),
]


@pytest.fixture
def one_line_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(add, "_BATCH_TASKS", 1)


def tasks_of(cli: Cli, instance_id: str) -> list[TaskInfo]:
    with cli.store() as store:
        return list(store.list_tasks(instance_id))


@pytest.mark.usefixtures("one_line_batches")
def test_a_graph_that_was_listed_is_added_as_it_was(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("one", GRAPH)
    listed = cli("ls", "one", "--json").out
    ended = cli("add", "two", "--json", cli.file("listed", listed))
    assert (ended.status, ended.out) == (0, "4 tasks added to two\n")
    for old, new in zip(tasks_of(cli, "one"), tasks_of(cli, "two"), strict=True):
        assert (old.task_id, old.state, old.input) == (new.task_id, new.state, new.input)
        assert [getattr(old, key) for key in GIVEN] == [getattr(new, key) for key in GIVEN]
    with cli.store() as store:  # in both stores, the task without an input gets the output of its dependency
        for name in "zy":
            store.complete_task(_claim(store, "two", name), b"out of " + name.encode())
        assert store.get_task("two", "x").input == b"out of y"


def _claim(store: SqliteClaimStore, instance_id: str, task_id: str) -> Any:
    while (claim := store.claim_task(instance_id, task_id, "me", None)) is None:
        pass  # the task has a delay
    return claim


def test_the_state_and_result_of_a_listed_task_are_left_out(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("one", [NewTask("failed", max_attempts=1), NewTask("done"), NewTask("held")])
        for name, claim in [(name, _claim(store, "one", name)) for name in ("failed", "done", "held")]:
            if name == "failed":
                store.fail_task(claim, "no good")
            elif name == "done":
                store.complete_task(claim, b"\xff")
    assert cli("add", "two", "--json", cli.file("listed", cli("ls", "one", "--json").out)).status == 0
    assert [(task.state, task.attempts, task.error, task.output) for task in tasks_of(cli, "two")] == [
        (TaskState.READY, 0, None, None)
    ] * 3


def test_a_key_that_is_only_listed_is_no_key_of_a_line_written_by_hand(cli: Cli) -> None:
    ended = cli("add", "one", "--json", cli.file("in", '{"task_id": "a", "output": "x"}\n'))
    assert (ended.status, "unknown key 'output'" in ended.err) == (2, True)


@pytest.mark.usefixtures("one_line_batches")
def test_a_dependency_that_is_stored_need_not_be_among_the_lines(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("one", [NewTask("first")])
    given = cli.file("in", '{"task_id": "b", "depends_on": ["a"]}\n{"task_id": "a", "depends_on": ["first"]}\n')
    ended = cli("add", "one", "--json", given)
    assert (ended.err, ended.out) == ("", "2 tasks added to one\n")
    assert cli("add", "one", "--json", "--depends-on", "a", cli.file("in", '{"task_id": "c"}\n')).status == 0


def test_a_task_that_waits_for_one_that_comes_twice_is_told_as_the_store_tells_it(cli: Cli) -> None:
    given = cli.file("in", '{"task_id": "b", "depends_on": ["a"]}\n' * 2 + '{"task_id": "a"}\n')
    assert "'b'" in cli("add", "one", "--json", given).err
    assert not cli.db.exists()


@pytest.mark.parametrize(
    "lines",
    [
        '{"task_id": "a", "depends_on": ["a"]}',
        '{"task_id": "a", "depends_on": ["b"]}\n{"task_id": "b", "depends_on": ["a"]}',
        '{"task_id": "a", "depends_on": ["unknown"]}',
        '{"task_id": "a"}\n{"task_id": "a"}',
    ],
)
def test_a_graph_that_is_refused_makes_no_store(cli: Cli, lines: str) -> None:
    ended = cli("add", "one", "--json", cli.file("in", lines + "\n"))
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert [path.name for path in cli.folder.iterdir()] == ["in"]


def test_an_instance_name_that_is_refused_makes_no_store(cli: Cli) -> None:
    assert cli("add", "n" * 300, cli.file("in", "a\n")).status == 2
    assert not cli.db.exists()


DEEP = ("[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "[" * 700 + "]" * 700)
KEYS = ("input", "depends_on", "retry", "available_at", "other")


@pytest.mark.parametrize("value", DEEP, ids=["lists", "objects", "not very"])
@pytest.mark.parametrize("key", KEYS)
def test_a_line_that_is_nested_deeply_is_told_with_its_place(cli: Cli, key: str, value: str) -> None:
    given = cli.file("in", f'{{"task_id": "a"}}\n{{"task_id": "b", "{key}": {value}}}\n')
    ended = cli("add", "one", "--json", given)
    assert ended.status == 2
    assert f"{given}, line 2: " in ended.err
    assert (ended.err.count("\n"), len(ended.err) < 1000) == (1, True)


def test_ls_as_json_lists_all_and_as_a_table_the_first_hundred(cli: Cli) -> None:
    cli("add", "one", cli.file("in", "".join(f"{number}\n" for number in range(150))))
    assert len(cli("ls", "--json").out.splitlines()) == 150
    assert len(cli("ls", "--json", "--limit", "3").out.splitlines()) == 3
    text = cli("ls").out.splitlines()
    assert (len(text), text[-1]) == (102, "there are more; --max 0 shows all")
    assert [json.loads(line)["instance_id"] for line in cli("ls", "--json", "--limit", "1").out.splitlines()] == ["one"]


def test_show_prints_an_error_once_and_its_times_with_their_zone(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("one", [NewTask("t", max_attempts=1)])
        store.fail_task(_claim(store, "one", "t"), "ValueError: no good\nTraceback (most recent call last):\n  deep")
    text = cli("show", "one", "t").out
    assert text.count("Traceback") == 1
    times = [line for line in text.splitlines() if line.startswith(("added:", "started:", "finished:"))]
    assert len(times) == 3
    assert all(line.endswith(f" {datetime.now().astimezone():%Z}") for line in times)


@pytest.mark.parametrize("command", ["echo {}", "echo some words"])
def test_a_command_in_one_word_is_told_how_to_be_given(cli: Cli, command: str) -> None:
    ended = cli("map", cli.file("in", "a\n"), "--", command)
    assert ended.status in (1, 127)
    assert "give its arguments as separate words, not all in one pair of quotes" in ended.err


def test_a_blocked_task_with_an_input_of_bytes_is_added_with_it(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("one", [NewTask("a"), NewTask("b", b"\xff", depends_on=["a"])])
    given = cli.file("listed", cli("ls", "one", "--json").out)
    assert cli("add", "two", given, "--json").out == "2 tasks added to two\n"
    assert [task.input for task in tasks_of(cli, "two")] == [b"", b"\xff"]


def test_a_listed_line_that_was_edited_is_read_or_told(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("one", [NewTask("a"), NewTask("b", depends_on=["a"])])
    a, b = (json.loads(line) for line in cli("ls", "one", "--json").out.splitlines())
    del b["input"]
    assert (
        cli("add", "two", cli.file("f", f"{json.dumps(a)}\n{json.dumps(b)}\n"), "--json").out
        == "2 tasks added to two\n"
    )
    for depends_on in (7, True, {"a": 1}, "a"):
        result = cli("add", "three", cli.file("f", json.dumps({**b, "depends_on": depends_on}) + "\n"), "--json")
        assert result.status == 2
        assert result.err.count("\n") == 1
