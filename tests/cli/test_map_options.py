"""The options and placeholders of ``map``, as far as GNU parallel is not needed to judge them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims.cli.map import feeder
from sqlite_claims.cli.map.numbers import TaskNumbers
from sqlite_claims.errors import StoreBusyError
from sqlite_claims.model import RetryPolicy, TaskClaim, TaskState
from sqlite_claims.sqlite.store import SqliteClaimStore

from .conftest import Cli


def counts(cli: Cli) -> dict[TaskState, int]:
    with cli.store() as store:
        return dict(store.stats().counts)


@pytest.mark.parametrize("word", ["{1}", "x{12}", "{0}"])
def test_a_column_without_colsep_is_status_2_and_makes_no_file(cli: Cli, word: str) -> None:
    result = cli("map", cli.file("in", "a\n"), "--", "echo", word)
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert word.strip("x") in result.err
    assert not cli.db.exists()


def test_a_line_that_lacks_a_column_ends_the_run_with_status_2(cli: Cli) -> None:
    result = cli("map", "-q", "--colsep", ",", cli.file("in", "a,b\nc\n"), "--", "echo", "{2}")
    assert (result.status, result.out) == (2, "")
    assert result.err == ("sqlite-claims: the command contains {2}, but the line 'c' has only 1 column\n")
    assert cli("map", "-q", "--colsep", ",", cli.file("in", "a,b\nc,d\n"), "--", "echo", "{2}").status == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--colsep", "|"],
        ["--colsep", "("],
        ["--halt", "now,fail=0"],
        ["--halt", "now"],
        ["--halt", "soon,success=1"],
        ["--halt", "soon,fail=10%"],
        ["--timeout", "0"],
        ["--results", "out.csv"],
        ["--results", "{}"],
        ["--task-tag", ""],
    ],
)
def test_bad_values_are_status_2_and_one_line(cli: Cli, options: list[str]) -> None:
    result = cli("map", *options, cli.file("in", "a\n"), "--", "echo")
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert options[0] in result.err
    assert not cli.db.exists()


def test_programs_of_awk_are_text(cli: Cli) -> None:
    result = cli("map", "-q", cli.file("in", "a b\n"), "--", "sh", "-c", "echo {} | awk '{print $2}'")
    assert result.out == "b\n"


def test_a_line_keeps_its_number_if_lines_are_inserted_before_it(cli: Cli) -> None:
    command = ["--", "sh", "-c", "test $1 != c || test -e seen; echo {#} $1", "sh", "{}"]
    os.chdir(cli.folder)
    assert cli("map", "-q", "-j1", cli.file("in", "b\nc\n"), *command).out == "1 b\n2 c\n"
    (cli.folder / "seen").touch()
    assert sorted(cli("map", "-q", "-j1", cli.file("in", "a\nb\nc\n"), *command).out.splitlines()) == ["3 a"]


def test_tasks_that_another_process_adds_have_numbers_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    add = SqliteClaimStore.transaction
    others: list[int] = []

    def add_one_before(store: SqliteClaimStore, *args: float, **options: float) -> object:
        if not others:
            others.append(1)
            cli.raw("map", cli.db, "-q", cli.file("other", "other\n"), "--", "echo", "{#}", "{}")
        return add(store, *args, **options)

    monkeypatch.setattr(SqliteClaimStore, "transaction", add_one_before)
    assert cli("map", "-q", "-j1", cli.file("in", "a\nb\n"), "--", "echo", "{#}", "{}").out == "2 a\n3 b\n"


def test_running_commands_have_different_slots_and_slots_are_used_again(cli: Cli) -> None:
    gate = cli.folder / "gate"
    os.mkfifo(gate)
    program = f"case $1 in a) read _ < {gate};; b) echo > {gate};; esac; echo $1 {{%}}"
    out = cli("map", "-q", "-j2", cli.file("in", "a\nb\nc\nd\n"), "--", "sh", "-c", program, "sh", "{}").out
    slots = dict(line.split() for line in out.splitlines())
    assert {slots["a"], slots["b"]} == {"1", "2"}
    assert {slots["c"], slots["d"]} <= {"1", "2"}


def test_keep_order_holds_back_the_output_of_later_lines(cli: Cli) -> None:
    gate = cli.folder / "gate"
    os.mkfifo(gate)
    program = f'case $1 in 1) read _ < {gate};; 5) echo > {gate};; esac; echo "out $1"'
    result = cli("map", "-q", "-k", "-j2", cli.file("in", "1\n2\n3\n4\n5\n6\n"), "--", "sh", "-c", program, "sh")
    assert result.out == "".join(f"out {number}\n" for number in range(1, 7))
    assert result.status == 0


def test_keep_order_tries_lines_that_failed_before_in_their_old_place(cli: Cli) -> None:
    flag = cli.folder / "flag"
    command = ["--", "sh", "-c", f"echo $1; test $1 != 2 || test -e {flag}", "sh"]
    given = cli.file("in", "1\n2\n3\n4\n")
    first = cli("map", "-q", "-k", "-j1", "--halt", "now,fail=1", given, *command)
    assert (first.status, first.out) == (1, "1\n2\n")
    flag.touch()
    assert cli("map", "-q", "-k", "-j1", given, *command).out == "2\n3\n4\n"


def test_keep_order_keeps_the_place_of_a_line_that_is_retried(cli: Cli) -> None:
    flag = cli.folder / "flag"
    program = f"test $1 != 1 || test -e {flag} || {{ touch {flag}; exit 1; }}; echo $1"
    out = cli("map", "-q", "-k", "-j2", "--retries", "1", cli.file("in", "1\n2\n3\n"), "--", "sh", "-c", program, "sh")
    assert (out.status, out.out) == (0, "1\n2\n3\n")


def test_keep_order_does_not_wait_for_a_line_that_another_process_has_claimed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = cli.folder / "flag"
    command = [cli.file("in", "1\n2\n3\n"), "--", "sh", "-c", f"test -e {flag} && echo $1", "sh"]
    cli("map", "-q", "--instance", "shared", *command)
    flag.touch()
    complete = SqliteClaimStore.complete_tasks
    completed: list[object] = []
    with cli.store() as other:
        first = next(task.task_id for task in other.list_tasks("shared") if task.input == b"1")
        other.retry_task("shared", first)
        claim = other.claim_task("shared", first, "other", ttl=None)
        assert claim is not None

        def complete_first_at_the_end(store: SqliteClaimStore, results: Any) -> Any:
            done = complete(store, results)
            completed.extend(results)
            if len(completed) == 2:
                other.complete_task(claim)
            return done

        monkeypatch.setattr(SqliteClaimStore, "complete_tasks", complete_first_at_the_end)
        assert cli("map", "-q", "-k", "-j1", "--instance", "shared", *command).out == "2\n3\n"


def test_keep_order_does_not_wait_for_a_retry_that_another_process_makes(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder, "_RETRY", RetryPolicy(initial_delay=0.0))
    fail = SqliteClaimStore.fail_task
    with cli.store() as other:

        def fail_and_retry_elsewhere(store: SqliteClaimStore, claim: TaskClaim, *args: Any, **options: Any) -> None:
            fail(store, claim, *args, **options)
            again = other.claim_task(claim.instance_id, claim.task_id, "other", ttl=None)
            assert again is not None
            other.complete_task(again)

        monkeypatch.setattr(SqliteClaimStore, "fail_task", fail_and_retry_elsewhere)
        program = "test $1 != 1 && echo $1"
        given = cli.file("in", "1\n2\n3\n")
        result = cli("map", "-q", "-k", "-j2", "--retries", "1", given, "--", "sh", "-c", program, "sh")
    assert (result.status, result.out) == (0, "2\n3\n")


def test_a_task_whose_number_cannot_be_read_is_given_back(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    find = TaskNumbers.find
    calls: list[str] = []

    def busy_once(numbers: TaskNumbers, task_id: str) -> int:
        calls.append(task_id)
        if len(calls) == 1:
            raise StoreBusyError("somebody writes")
        return find(numbers, task_id)

    monkeypatch.setattr(TaskNumbers, "find", busy_once)
    assert cli("map", "-q", "-j1", cli.file("in", "a\n"), "--", "echo", "{#}").out == "1\n"
    with cli.store() as store:
        assert next(store.list_tasks()).attempts == 1


def test_halt_now_gives_running_commands_back(cli: Cli) -> None:
    gate = cli.folder / "gate"
    os.mkfifo(gate)
    program = f"case $1 in a) echo > {gate}; exec sleep 1000;; b) read _ < {gate}; exit 1;; esac"
    result = cli(
        "map", "-q", "-j2", "--halt", "now,fail=1", cli.file("in", "a\nb\nc\n"), "--", "sh", "-c", program, "sh"
    )
    assert result.status == 1
    assert "halted after 1 failed line (--halt now,fail=1)" in result.err
    assert counts(cli)[TaskState.FAILED] == 1
    assert counts(cli)[TaskState.READY] == 2


def test_halt_soon_lets_running_commands_finish(cli: Cli) -> None:
    gate = cli.folder / "gate"
    os.mkfifo(gate)
    program = f"case $1 in a) echo > {gate}; echo a;; b) read _ < {gate}; exit 1;; esac"
    cli("map", "-q", "-j2", "--halt", "soon,fail=1", cli.file("in", "a\nb\nc\n"), "--", "sh", "-c", program, "sh")
    assert counts(cli)[TaskState.FAILED] == 1
    assert counts(cli)[TaskState.COMPLETED] >= 1


def test_a_command_that_runs_too_long_is_killed_with_its_children_and_retried(cli: Cli) -> None:
    flag, late = cli.folder / "flag", cli.folder / "late"
    program = f"test -e {flag} && exit 0; touch {flag}; trap '' TERM; (sleep 1000; touch {late}) & wait"
    result = cli("map", "-q", "--timeout", "200ms", "--retries", "1", cli.file("in", "a\n"), "--", "sh", "-c", program)
    assert result.status == 0
    with cli.store() as store:
        assert next(store.list_tasks()).failures == 1
    assert not late.exists()


def test_a_timeout_is_the_error_of_the_line(cli: Cli) -> None:
    result = cli("map", "-q", "--timeout", "100ms", cli.file("in", "1000\n"), "--", "sleep")
    assert (result.status, result.err) == (1, "sqlite-claims: failed: 1000: timed out after 0.1 s\n")


def test_the_job_log_is_continued_by_a_later_run(cli: Cli) -> None:
    log = cli.folder / "log"
    flag = cli.folder / "flag"
    command = ["--", "sh", "-c", f"test $1 = a || test -e {flag}", "sh"]
    cli("map", "-q", "-j1", "--joblog", log, cli.file("in", "a\nb\n"), *command)
    flag.touch()
    cli("map", "-q", "-j1", "--joblog", log, cli.file("in", "a\nb\nc\n"), *command)
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    assert rows[0][0] == "Seq"
    assert sorted((row[0], row[6]) for row in rows[1:]) == [("1", "0"), ("2", "0"), ("2", "1"), ("3", "0")]


def test_a_job_log_that_cannot_be_written_leaves_the_line_undone(cli: Cli) -> None:
    given = cli.file("in", "a\n")
    result = cli("map", "-q", "--joblog", "/dev/full", given, "--", "echo")
    assert result.status == 2
    assert "cannot write the job log: No space left on device" in result.err
    assert counts(cli)[TaskState.COMPLETED] == 0
    assert cli("map", "-q", given, "--", "echo").status == 0


def test_a_busy_store_does_not_repeat_a_line_of_the_job_log(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = SqliteClaimStore.complete_tasks
    calls: list[int] = []

    def busy_once(store: SqliteClaimStore, *args: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise StoreBusyError("somebody writes")
        return complete(store, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteClaimStore, "complete_tasks", busy_once)
    log = cli.folder / "log"
    assert cli("map", "-q", "--joblog", log, cli.file("in", "a\n"), "--", "echo").status == 0
    assert len(log.read_text().splitlines()) == 2


def test_results_of_equal_lines_and_of_dots_stay_within_their_own_folders(cli: Cli) -> None:
    results = cli.folder / "results"
    given = cli.file("in", "a\na\n.\n..\n")
    assert cli("map", "-q", "-j1", "--results", results, given, "--", "echo", "{#}").status == 0
    found = {str(path.parent.relative_to(results)): path.read_text() for path in results.rglob("stdout")}
    assert found == {"1/a": "1\n", "1/a\\2": "2\n", "1/\\.": "3\n", "1/\\..": "4\n"}


def test_results_that_cannot_be_written_leave_the_line_undone(cli: Cli) -> None:
    blocked = cli.file("results", "not a folder")
    (cli.folder / "folder").mkdir()
    given = cli.file("in", "a\n")
    assert cli("map", "-q", "--results", blocked, given, "--", "echo").status == 2
    inner = cli.folder / "folder" / "1"
    inner.write_text("not a folder")
    result = cli("map", "-q", "--results", cli.folder / "folder", given, "--", "echo")
    assert result.status == 2
    assert "cannot write" in result.err
    assert counts(cli)[TaskState.READY] == 1
    too_long = cli.file("long", "x" * 300 + "\n")
    inner.unlink()
    result = cli("map", "-q", "--results", cli.folder / "folder", too_long, "--", "echo")
    assert "too long for the name of a folder" in result.err


def test_tags_of_tasks_are_stored_with_new_lines(cli: Cli) -> None:
    cli("map", "-q", "--task-tag", "gpu", "--task-tag", "eu", cli.file("in", "a\n"), "--", "true")
    with cli.store() as store:
        assert set(next(store.list_tasks()).tags) == {"gpu", "eu"}


def test_a_dry_run_changes_nothing_and_leaves_out_lines_that_are_done(cli: Cli) -> None:
    command = ["--", "sh", "-c", "test $1 = a", "{#}", "{}"]
    given = cli.file("in", "a\nb c\n")
    assert cli("map", "--dry-run", given, *command).out == "sh -c 'test $1 = a' 1 a\nsh -c 'test $1 = a' 2 'b c'\n"
    assert not cli.db.exists()
    cli("map", "-q", given, *command)
    before = counts(cli)
    again = cli("map", "--dry-run", cli.file("in", "new\na\nb c\n"), *command)
    assert again.out == "sh -c 'test $1 = a' 3 new\nsh -c 'test $1 = a' 2 'b c'\n"
    assert counts(cli) == before


PAGE = Path(__file__).parents[2] / "docs" / "from-xargs-and-parallel.md"
REFUSED = [
    option
    for row in PAGE.read_text().splitlines()
    if row.startswith("| `-") and ("not supported" in row.split("|")[2][:15] or "always on" in row.split("|")[2])
    for option in re.findall(r"`(--?[a-zA-Z-]+)", row.split("|")[1])
]


@pytest.mark.parametrize("option", sorted(set(REFUSED)))
def test_options_that_the_page_lists_as_not_supported_are_refused(cli: Cli, option: str) -> None:
    result = cli("map", option, "1", cli.file("in", "a\n"), "--", "echo")
    assert (result.status, result.out) == (2, "")
    assert "No such option" in result.err
