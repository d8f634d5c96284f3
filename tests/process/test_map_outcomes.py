"""Exit statuses, failures and retries, unusual lines, and instances that other processes control."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sqlite_claims.model import NewTask, TaskState
from sqlite_claims.sqlite.store import SqliteClaimStore

from ..tiers import first_is_fast
from .map_runs import Runs, runs, wait_for

__all__ = ["runs"]


def test_the_status_is_0_when_all_ended_well_and_1_when_any_failed(runs: Runs) -> None:
    assert runs.run(lines=["a", "b"]).status == 0
    runs.fail("c")
    ended = runs.run(lines=["a", "b", "c", "d"])
    assert ended.status == 1
    assert runs.count("end") == dict.fromkeys("abd", 1)


def test_failures_are_shown_at_the_end_and_their_output_once(runs: Runs) -> None:
    runs.fail("b")
    ended = runs.run("-q", lines=["a", "b", "c"])
    assert ended.err == "no good: b\nsqlite-claims: failed: b: exit status 3\n"


def test_of_many_failures_only_the_first_are_shown(runs: Runs) -> None:
    ended = runs.run(lines=map(str, range(40)), command=["false"])
    assert ended.status == 1
    assert ended.err.count("sqlite-claims: failed: ") == 10
    assert "30 more failed" in ended.err


def test_escape_sequences_in_lines_and_errors_do_not_reach_the_terminal(runs: Runs) -> None:
    ended = runs.run("-q", lines=["\x1b[31mred"], command=["sh", "-c", "exit 1"])
    assert "failed: \\x1b[31mred: exit status 1" in ended.err
    assert "\x1b" not in ended.err


@pytest.mark.slow
def test_failed_lines_of_the_input_are_tried_again_by_a_new_run(runs: Runs) -> None:
    runs.fail("b", "c")
    assert runs.run(lines=["a", "b", "c"]).status == 1
    runs.mend("b")
    assert runs.run(lines=["a", "b"]).status == 0
    assert runs.count("start") == {"a": 1, "b": 2, "c": 1}
    assert runs.run(lines=["a", "b", "c"]).status == 1
    assert runs.count("start") == {"a": 1, "b": 2, "c": 2}


def test_nothing_is_retried_unless_asked(runs: Runs) -> None:
    runs.fail("a")
    assert runs.run(lines=["a"]).status == 1
    assert runs.count("start")["a"] == 1


@pytest.mark.slow
def test_retries_are_counted_by_each_run(runs: Runs) -> None:
    runs.fail("a")
    assert runs.run(lines=["a"]).status == 1
    assert runs.run("--retries", "1", lines=["a"]).status == 1
    assert runs.count("start")["a"] == 1 + 2


def test_a_retry_that_ends_well_is_no_failure(runs: Runs) -> None:
    runs.fail("a")
    process = runs.start("--retries", "2", lines=["a"])
    runs.wait_for("fail", "a")
    runs.mend("a")
    ended = runs.finish(process)
    assert ended.status == 0
    assert "failed: a" not in ended.err


def test_a_run_whose_lines_all_ended_well_does_not_fail_for_lines_of_others(runs: Runs) -> None:
    runs.fail("old")
    assert runs.run(lines=["old"]).status == 1
    assert runs.run(lines=["new"]).status == 0


@pytest.mark.slow
def test_a_line_that_another_run_failed_fails_both(runs: Runs) -> None:
    runs.hold("a", "b")
    runs.fail("a")
    first = runs.start("-j", "1", lines=["a", "b"])
    runs.wait_for("start", "a")
    second = runs.start("-j", "1", lines=["a", "b"])
    runs.wait_for("start", "b")
    runs.let_go("a", "b")
    assert runs.finish(first).status == 1
    ended = runs.finish(second)
    assert ended.status == 1
    assert "failed: a: exit status 3" in ended.err


def test_no_lines_are_no_failure(runs: Runs) -> None:
    assert runs.run(lines=[]).status == 0


@pytest.mark.parametrize(
    ("command", "told"),
    first_is_fast(
        [
            (["no-such-program", "{}"], "program not found"),
            (["/no/such/program"], "program not found"),
            (["/etc/passwd"], "it is not executable"),
            (["/"], "it is a folder"),
        ]
    ),
)
def test_a_command_that_cannot_be_run_is_told_before_anything_is_done(
    runs: Runs, command: list[str], told: str
) -> None:
    ended = runs.run(lines=["a"], command=command)
    assert ended.status == 127
    assert told in ended.err
    assert not runs.db.exists()


def test_a_program_that_turns_out_not_to_be_one_fails_no_line(runs: Runs) -> None:
    program = runs.folder / "program"
    program.write_bytes(b"\x00\x01\x02\x03")
    program.chmod(0o755)
    ended = runs.run(lines=["a", "b"], command=[str(program)])
    assert ended.status == 127
    assert "Exec format error" in ended.err
    assert {task.state for task in runs.tasks().values()} == {TaskState.READY}


def test_a_missing_input_file_is_told_before_anything_is_done(runs: Runs, tmp_path: Path) -> None:
    ended = runs.run(str(tmp_path / "nope"))
    assert ended.status == 2
    assert ended.err == f"sqlite-claims: cannot read '{tmp_path}/nope': No such file or directory\n"
    assert not runs.db.exists()


def test_files_are_read_one_after_the_other(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"a\nb")
    (tmp_path / "two").write_bytes(b"c\n")
    ended = runs.run("-j", "1", str(tmp_path / "one"), "-", str(tmp_path / "two"), lines=["x"])
    assert ended.out == b"did a\ndid b\ndid x\ndid c\n"


def _run_bytes(runs: Runs, data: bytes, *options: str, command: list[str]) -> tuple[int, bytes, str]:
    given = runs.folder / "bytes"
    given.write_bytes(data)
    ended = runs.run("-j", "1", "-q", *options, str(given), command=command)
    return ended.status, ended.out, ended.err


def test_empty_lines_are_skipped_and_carriage_returns_before_the_newline_dropped(runs: Runs) -> None:
    data = b"\r\n\na\r\n b \nc\rd\n\n\r\ne\r"
    assert _run_bytes(runs, data, command=["printf", "<%s>\n"]) == (0, b"<a>\n< b >\n<c\rd>\n<e>\n", "")


def test_a_line_is_passed_on_byte_by_byte_and_never_through_a_shell(runs: Runs) -> None:
    data = b"$(echo no); 'x' \\ * \xff\xfe \xc3\xa9\n-n\n"
    out = b"<$(echo no); 'x' \\ * \xff\xfe \xc3\xa9>\n<-n>\n"
    assert _run_bytes(runs, data, command=["printf", "<%s>\n"]) == (0, out, "")
    assert set(runs.tasks()) == {b"$(echo no); 'x' \\ * \xff\xfe \xc3\xa9", b"-n"}


def test_the_place_may_be_anywhere_in_the_command_and_more_than_once(runs: Runs) -> None:
    assert _run_bytes(runs, b"a\n", command=["echo", "x{}y{}", "{}", "{ }"]) == (0, b"xaya a { }\n", "")


def test_the_program_itself_may_be_the_line(runs: Runs) -> None:
    status, out, err = _run_bytes(runs, b"echo\nno-such-program\n", command=["{}", "x"])
    assert (status, out) == (1, b"x\n")
    assert "failed: no-such-program: cannot run 'no-such-program': program not found" in err


def test_lines_that_no_argument_can_hold_fail_alone(runs: Runs) -> None:
    data = b"a\nb\0c\n" + b"x" * 131_072 + b"\n" + b"y" * 131_071 + b"\n" + b"z" * 3_000_000 + b"\nlast\n"
    status, out, err = _run_bytes(runs, data, command=["sh", "-c", 'printf "%.3s\n" "$1"', "sh"])
    assert (status, out) == (1, b"a\nyyy\nlas\n")
    assert "failed: b\\x00c: the line contains a NUL byte" in err
    assert err.count("the line is longer than an argument may be (131,071 bytes)") == 2
    assert err.count("failed: ") == 3


def test_long_lines_that_begin_alike_are_different_tasks(runs: Runs) -> None:
    data = b"x" * 200_000 + b"1\n" + b"x" * 200_000 + b"2\n"
    assert _run_bytes(runs, data, command=["true"])[0] == 1
    with SqliteClaimStore(runs.db) as store:
        assert store.stats().counts[TaskState.FAILED] == 2


def test_lines_may_end_with_nul(runs: Runs) -> None:
    assert _run_bytes(runs, b"a\nb\0\0c\r\0d", "-0", command=["printf", "<%s>\n"]) == (0, b"<a\nb>\n<c\r>\n<d>\n", "")


def test_a_command_knows_its_task(runs: Runs) -> None:
    command = ["sh", "-c", 'echo "$SQLITE_CLAIMS_INSTANCE $SQLITE_CLAIMS_TASK $SQLITE_CLAIMS_ATTEMPT"', "{}"]
    ended = runs.run("--instance", "mine", lines=["a"], command=command)
    task = runs.tasks()[b"a"]
    assert ended.out.decode() == f"mine {task.task_id} 1\n"
    assert (task.instance_id, task.kind) == ("mine", "mine")


@pytest.mark.parametrize("name", ["*", "x" * 300])
def test_a_name_that_is_none_is_told_before_anything_is_done(runs: Runs, name: str) -> None:
    assert runs.run("--instance", name, lines=["a"]).status == 2
    assert not runs.db.exists()


def test_a_name_belongs_to_one_command(runs: Runs) -> None:
    assert runs.run("--instance", "mine", lines=["a"], command=["echo", "1"]).status == 0
    ended = runs.run("--instance", "mine", lines=["a"], command=["echo", "2"])
    assert ended.status == 2
    assert "instance 'mine' belongs to another command (echo 1)" in ended.err


def test_a_paused_instance_waits_until_it_is_resumed(runs: Runs) -> None:
    runs.hold("a")
    process = runs.start("-j", "1", "--instance", "mine", lines=["a", "b"])
    runs.wait_for("start", "a")
    with SqliteClaimStore(runs.db, create=False) as store:
        store.pause_instance("mine")
        runs.let_go("a")
        wait_for(lambda: store.get_instance("mine").counts[TaskState.COMPLETED] == 1)
        # when ``map`` has done this task, it has searched for work since the pause
        store.add_instance("other", [NewTask("x", b"x", kind="mine")])
        wait_for(lambda: store.get_task("other", "x").state is TaskState.COMPLETED)
        assert runs.count("start") == {"a": 1, "x": 1}
        store.resume_instance("mine")
    assert runs.finish(process).status == 0
    assert runs.count("end")["b"] == 1


def test_cancelling_the_instance_ends_the_run_and_its_commands(runs: Runs) -> None:
    runs.hold("a")
    process = runs.start("-j", "1", "--instance", "mine", lines=["a", "b"])
    runs.wait_for("start", "a")
    with SqliteClaimStore(runs.db, create=False) as store:
        store.cancel_instance("mine", "enough")
    ended = runs.finish(process)
    assert ended.status == 1
    assert "cancelled: enough" in ended.err
    assert runs.events() == [("start", "a")]
    again = runs.run("--instance", "mine", lines=["a"])
    assert (again.status, "was cancelled" in again.err) == (2, True)


def test_a_result_whose_claim_was_released_by_hand_is_refused(runs: Runs) -> None:
    runs.hold("a", "b")
    process = runs.start("-j", "1", lines=["a"])
    runs.wait_for("start", "a")
    task = runs.tasks()[b"a"]
    with SqliteClaimStore(runs.db, create=False) as store:
        assert task.claim is not None
        store.release_task_claim(task.instance_id, task.task_id, task.claim.worker_id)
        assert store.claim_task(task.instance_id, task.task_id, "thief", 600) is not None
        os.kill(process.pid, signal.SIGINT)
        runs.let_go("a")
        ended = runs.finish(process)
        assert "1 result not stored" in ended.err
        assert store.get_task(task.instance_id, task.task_id).worker_id == "thief"
