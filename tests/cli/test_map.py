"""``map`` within this process: tests that need a clock, a fault or access to internals."""

from __future__ import annotations

import errno
import os
import selectors
from typing import Any

import pytest

from sqlite_claims.cli.map import feeder, job, loop, template
from sqlite_claims.cli.map.command import describe_end, ensure_open_files_limit
from sqlite_claims.cli.map.output import Relay
from sqlite_claims.cli.map.progress import BarDisplay, LineDisplay, ProgressState, QuietDisplay
from sqlite_claims.cli.map.template import CannotRunError, Template
from sqlite_claims.errors import StoreBusyError, StoreFullError
from sqlite_claims.model import TaskState
from sqlite_claims.sqlite.store import SqliteClaimStore

from .conftest import Cli


def test_processes_that_a_command_leaves_behind_may_still_print_for_a_moment(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_READ_AFTER_END_S", 60)
    gate = cli.folder / "gate"
    os.mkfifo(gate)
    # The shell ends while its child process waits at the gate. When the shell ends, its descriptor 3 is closed, and
    # this opens the gate.
    program = f"(read _ < {gate}; echo late) & exec 3> {gate}; echo early"
    assert cli("map", cli.file("in", "a\n"), "--", "sh", "-c", program).out == "early\nlate\n"


def test_if_the_kernel_cannot_tell_who_lives_claims_end_by_time_and_are_renewed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (loop, job):
        monkeypatch.setattr(module, "TTL_S", 60.0)
    monkeypatch.setattr(loop, "_RENEWAL_INTERVAL_S", 0.0)
    renewed: list[Any] = []
    gate = cli.folder / "gate"
    os.mkfifo(gate)
    renew = SqliteClaimStore.renew_task_claims

    def count(store: SqliteClaimStore, claims: Any, ttl: Any) -> Any:
        done = renew(store, claims, ttl)
        if done[0] and not renewed:
            gate.write_text("go on\n")
        renewed.extend(done[0])
        return done

    monkeypatch.setattr(SqliteClaimStore, "renew_task_claims", count)
    assert cli("map", cli.file("in", "a\n"), "--", "sh", "-c", f"read _ < {gate}").status == 0
    assert all(claim.expires_at - claim.claimed_at >= 60 for claim in renewed)


@pytest.mark.parametrize(
    "method", ["add_tasks", "claim_available_tasks", "complete_tasks", "get_instance", "open_session"]
)
def test_a_busy_store_is_tried_again(cli: Cli, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    real = getattr(SqliteClaimStore, method)
    calls = 0

    def busy(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3 if method == "get_instance" else calls == 1:
            raise StoreBusyError("somebody writes")
        return real(*args, **kwargs)

    monkeypatch.setattr(SqliteClaimStore, method, busy)
    result = cli("map", "-j", "2", cli.file("in", "a\nb\nc\n"), "--", "echo")
    assert result.status == 0
    assert sorted(result.out.split()) == ["a", "b", "c"]
    assert "somebody writes; retrying" in result.err


@pytest.mark.parametrize("method", ["add_tasks", "claim_available_tasks", "complete_tasks", "open_session"])
def test_a_full_disk_ends_the_run_and_is_told_once(cli: Cli, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StoreFullError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteClaimStore, method, full)
        result = cli("map", "-q", "-j", "2", cli.file("in", "a\nb\nc\n"), "--", "true")
    assert (result.status, result.err) == (2, "sqlite-claims: no room\n")
    assert cli("map", "-j", "2", cli.file("in", "a\nb\nc\n"), "--", "true").status == 0


def test_if_no_more_processes_are_allowed_map_goes_on_with_those_that_run(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn = os.posix_spawn
    alive = 0

    def scarce(*args: Any, **kwargs: Any) -> int:
        nonlocal alive
        alive += 1
        if alive == 2:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return spawn(*args, **kwargs)

    monkeypatch.setattr(os, "posix_spawn", scarce)
    result = cli("map", "-j", "3", cli.file("in", "a\nb\nc\n"), "--", "echo")
    assert result.status == 0
    assert sorted(result.out.split()) == ["a", "b", "c"]
    assert "continuing with 1 command at a time" in result.err


def test_if_not_one_process_is_allowed_the_run_ends_and_no_line_has_failed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "posix_spawn", none)
    result = cli("map", cli.file("in", "a\n"), "--", "echo")
    assert result.status == 2
    assert "cannot run a command: Resource temporarily unavailable" in result.err
    with cli.store() as store:
        assert store.stats().counts[TaskState.READY] == 1


def test_without_sessions_of_their_own_commands_get_a_process_group(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = os.posix_spawn

    def old(*args: Any, **kwargs: Any) -> int:
        if "setsid" in kwargs:
            raise NotImplementedError
        return spawn(*args, **kwargs)

    monkeypatch.setattr(os, "posix_spawn", old)
    assert cli("map", cli.file("in", "a\n"), "--", "echo").out == "a\n"


def test_no_descriptor_is_left_open(cli: Cli) -> None:
    given = cli.file("in", "".join(f"{number}\n" for number in range(50)))
    before = os.listdir("/dev/fd")
    assert cli("map", "-j", "4", given, "--", "sh", "-c", "exit $(($1 % 2))", "sh").status == 1
    assert cli("map", given, "--", "no-such-program").status == 127
    assert os.listdir("/dev/fd") == before


def test_the_selector_lets_go_of_an_output_before_it_is_closed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    # Between fork and exec, a child process shares the descriptors of this process. If this process closes an output in
    # that time, the output stays in the kernel's epoll set. The kernel then reports the output's events under the old
    # descriptor number, which a new output may already have.
    made: list[selectors.DefaultSelector] = []
    watched: list[bool] = []
    close = Relay.close

    class Noted(selectors.DefaultSelector):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    def look(relay: Relay) -> None:
        watched.append(relay.fileno() in made[0].get_map())
        close(relay)

    monkeypatch.setattr(selectors, "DefaultSelector", Noted)
    monkeypatch.setattr(Relay, "close", look)
    assert cli("map", cli.file("in", "a\nb\nc\n"), "--", "echo").status == 0
    assert watched == [False] * 6


def test_commands_inherit_their_own_session_and_nothing_else_of_the_store(cli: Cli) -> None:
    program = "for d in /proc/$$/fd/*; do readlink $d; done"
    shown = cli("map", "-j", "2", cli.file("in", "a\nb\n"), "--", "sh", "-c", program).out
    assert shown.count("jobs.db-sessions") == 2
    assert shown.count("jobs.db") == 2


def test_lines_are_added_a_step_at_a_time(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeder, "_LINES_PER_STEP", 7)
    sizes: list[int] = []
    add = SqliteClaimStore.add_tasks

    def count(store: SqliteClaimStore, instance_id: str, tasks: Any, **options: Any) -> int:
        sizes.append(len(tasks))
        return add(store, instance_id, tasks, **options)

    monkeypatch.setattr(SqliteClaimStore, "add_tasks", count)
    given = cli.file("in", "".join(f"{number}\n" for number in range(30)))
    assert cli("map", given, "--", "true").status == 0
    assert sizes == [7, 7, 7, 7, 2]


def test_commands_that_differ_have_different_instances() -> None:
    templates = [Template(argv) for argv in (["echo", "a"], ["echo", "a", "{}"], ["echo", "a "], ["echo a"])[:3]]
    assert len({template.instance_id for template in templates}) == 3
    assert len({template.definition_hash for template in templates}) == 3


def test_a_definition_hash_shows_the_command_and_fits() -> None:
    long = Template(["echo", "é" * 500, "\udcff"]).definition_hash
    assert len(long.encode()) <= 256
    assert " echo " in long


def test_a_wait_status_is_told_in_words() -> None:
    assert describe_end(3 << 8) == "exit status 3"
    assert describe_end(9) == "killed by signal 9 (SIGKILL)"
    assert describe_end(40) == "killed by signal 40"


def test_more_commands_than_open_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    ensure_open_files_limit(10)
    assert asked == []
    ensure_open_files_limit(100)
    assert asked == [(564, 1024)]
    with pytest.raises(CannotRunError, match="the limit is 1024"):
        ensure_open_files_limit(1000)


def _state(**changes: Any) -> ProgressState:
    values = {"total": 10, "completed": 4, "failed": 1, "running": 2, "ended_here": 3, "reading": False}
    return ProgressState(**{**values, **changes})


def test_plain_progress_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    display = LineDisplay()
    display.show(_state(note="paused"))
    display.show(_state(reading=True, note="paused"))
    assert capfd.readouterr().err == (
        "sqlite-claims: 4 of 10 done, 1 failed, 2 running, paused\n"
        "sqlite-claims: 4 of 10+ done, 1 failed, 2 running, paused\n"
    )


def test_a_bar_is_cleared_before_anything_else_is_printed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    display = BarDisplay()
    display.show(_state())
    display.print_line("hello")
    display.hide()
    shown = capfd.readouterr().err
    assert "4 of 10 done, 1 failed, 2 running" in shown
    assert shown.endswith("\x1b[K\r\x1b[Ksqlite-claims: hello\n")
    assert shown.count("\n") == 1


def test_quiet_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    display = QuietDisplay()
    display.show(_state())
    display.hide()
    assert capfd.readouterr().err == ""


def test_a_program_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Template(["true"])
    monkeypatch.setattr(template, "find_program", lambda _: pytest.fail("looked up again"))
    assert command.fill(b"x")[0].endswith(b"/true")
