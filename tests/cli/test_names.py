"""Names that people type: the beginning of a name stands for the whole name, and tables show what people typed."""

from __future__ import annotations

import pytest
from rich.console import Console

from sqlite_claims import NewTask
from sqlite_claims.cli.inspect import _TASK_COLUMNS, shorter_rows
from sqlite_claims.cli.map.lines import line_digest, task_name
from sqlite_claims.cli.map.template import Template
from sqlite_claims.cli.text import make_table

from .conftest import Cli


@pytest.fixture
def filled(cli: Cli) -> Cli:
    with cli.store() as store:
        for name in ("night", "night-2", "morning"):
            store.add_instance(name, [NewTask("one"), NewTask("once"), NewTask("two")])
        for number in range(7):
            store.add_instance(f"run-{number}")
    return cli


def test_reading_commands_take_the_beginning_of_a_name(filled: Cli) -> None:
    assert "morning" in filled("show", "mor").out
    assert filled("show", "mor", "tw", "--json").json["task_id"] == "two"
    assert len(filled("ls", "mor", "--json").out.splitlines()) == 3


def test_a_whole_name_stands_for_itself(filled: Cli) -> None:
    assert filled("show", "night", "--json").json["instance_id"] == "night"
    assert filled("show", "night", "one", "--json").json["task_id"] == "one"


def test_a_beginning_of_several_names_is_status_2_and_lists_five(filled: Cli) -> None:
    result = filled("show", "run-")
    assert result.status == 2
    assert result.err == (
        "sqlite-claims: more than one instance has a name that begins with 'run-': "
        "run-0, run-1, run-2, run-3, run-4, ...\n"
    )
    result = filled("show", "night", "on")
    assert result.status == 2
    assert "more than one task has a name that begins with 'on': once, one" in result.err
    assert filled("ls", "nig").status == 2


def test_a_beginning_of_no_name_is_status_2(filled: Cli) -> None:
    assert filled("show", "evening").status == 2
    assert filled("show", "night", "three").status == 2


def test_commands_that_change_something_want_the_whole_name(filled: Cli) -> None:
    assert filled("pause", "mor").status == 2
    assert filled("show", "morning", "--json").json["state"] == "in_progress"


def test_an_instance_without_a_name_is_called_after_its_program(cli: Cli) -> None:
    cli("map", "-q", cli.file("in", "a\n"), "--", "/bin/echo", "x")
    with cli.store() as store:
        name = next(store.list_instances()).instance_id
    assert name.startswith("echo-")
    assert name == Template(["/bin/echo", "x"]).instance_id
    assert len(Template(["sh", "-c", "x" * 1000]).instance_id) == len("sh-") + 12


def row(task: str, *, kind: str = "run", priority: str = "3", attempts: str = "1", error: str = "") -> list[str]:
    return ["run", task, "completed", kind, priority, attempts, "", "the line", error]


def test_a_table_on_a_terminal_shows_the_line_and_a_short_name() -> None:
    first, second = (task_name(line_digest(line), 1) for line in (b"a", b"b"))
    rows = shorter_rows([row(first), row(second), row("typed-by-a-person")], "run")
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(make_table(_TASK_COLUMNS, rows, is_terminal=True))
    header, *lines = captured.get().splitlines()
    assert header.split() == ["TASK", "STATE", "ATTEMPTS", "INPUT"]
    assert [line.split()[0] for line in lines] == [first[:8], second[:8], "typed-by-a-person"]
    assert all(line.rstrip().endswith("the line") for line in lines)


def test_short_names_differ_from_each_other() -> None:
    first, second = task_name(line_digest(b"a"), 1), task_name(line_digest(b"a"), 2)
    assert [cells[1] for cells in shorter_rows([row(first), row(second)], None)] == [first, second]
    assert shorter_rows([], None) == []


def test_cells_that_say_something_stay() -> None:
    shown = shorter_rows([row("t", kind="resize", priority="1", attempts="0", error="no")], "other")
    assert shown == [["run", "t", "completed", "resize", "1", "", "", "the line", "no"]]


def test_the_table_of_instances_shows_the_command_of_a_map(cli: Cli) -> None:
    cli("map", "-q", cli.file("in", "a\n"), "--", "echo", "two words", "{}")
    header, cells = cli("status", "--all").out.splitlines()[-2:]
    assert header.split()[-1] == "COMMAND"
    assert cells.endswith("echo 'two words' '{}'")
