"""The output of commands is printed completely, to the right stream, and stored up to a limit."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sqlite_claims.cli.map import output
from sqlite_claims.model import TaskState

from ..cli.conftest import Cli, cli
from ..tiers import first_is_fast
from .map_runs import Runs, runs, wait_for

__all__ = ["cli", "runs"]

# This program prints the argument repeatedly. The program writes pieces that may end within a character or a line.
_IN_PIECES = """
import os, sys
data = (sys.argv[1] * 30 + "\\n").encode() * 400
for start in range(0, len(data), 701):
    os.write(1, data[start:start + 701])
"""
# This program prints three million bytes without a line end. Then the program waits until two such programs have
# printed their bytes, and ends the line.
_LONG_LINE = """
import os, sys
data = sys.argv[1].encode() * 100_000
for _ in range(30):
    os.write(1, data)
open(sys.argv[2] + sys.argv[1], "w").close()
while not all(os.path.exists(sys.argv[2] + name) for name in "ab"):
    pass
os.write(1, b"\\n")
"""


def test_lines_of_commands_are_not_mixed(runs: Runs) -> None:
    ended = runs.run("-j", "4", lines="abcd", command=[sys.executable, "-c", _IN_PIECES])
    assert ended.status == 0
    assert Counter(ended.out.splitlines()) == {name.encode() * 30: 400 for name in "abcd"}


def test_lines_of_millions_of_bytes_are_not_mixed_either(runs: Runs) -> None:
    command = [sys.executable, "-c", _LONG_LINE, "{}", str(runs.folder / "printed-")]
    ended = runs.run("-j", "2", lines="ab", command=command)
    assert ended.status == 0
    assert sorted(ended.out.splitlines()) == [b"a" * 3_000_000, b"b" * 3_000_000]


@pytest.mark.slow
def test_a_very_long_line_is_not_held_in_memory(runs: Runs) -> None:
    limit, size = 128 << 20, 192 << 20

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    command = ["head", "-c", str(size), "/dev/zero"]
    with (runs.folder / "out").open("wb") as out:
        ended = runs.run("--retries", "0", lines=["--"], command=command, stdout=out, preexec_fn=bound)
    assert ended.status == 0, ended
    assert (runs.folder / "out").stat().st_size == size + 1


def test_a_last_line_without_an_ending_gets_one(runs: Runs) -> None:
    assert runs.run("-j", "1", lines=["a", "b"], command=["printf", "%s\n%s", "x"]).out == b"x\na\nx\nb\n"


def test_standard_error_goes_to_standard_error(runs: Runs) -> None:
    ended = runs.run("-q", lines=["a"], command=["sh", "-c", "echo out; echo err >&2"])
    assert (ended.out, ended.err) == (b"out\n", "err\n")


def test_commands_have_nothing_on_standard_input(runs: Runs) -> None:
    ended = runs.run("-j", "1", lines=["a", "b"], command=["sh", "-c", 'cat; echo "$1"', "sh"])
    assert ended.out == b"a\nb\n"


def test_the_beginning_of_the_output_is_stored(runs: Runs) -> None:
    command = ["sh", "-c", 'printf "%s-0123456789" "$1"', "sh"]
    runs.run("--keep-output", "6", lines=["ab"], command=command)
    assert runs.tasks()[b"ab"].output == b"ab-012"


def test_the_end_of_standard_error_is_stored_as_a_failed_commands_error(runs: Runs) -> None:
    runs.run(lines=["a"], command=["sh", "-c", "seq 100000 >&2; kill -TERM $$"])
    error = runs.tasks()[b"a"].error
    assert error is not None
    assert error.splitlines() == ["killed by signal 15 (SIGTERM)", *map(str, range(99991, 100001))]


def test_a_reader_that_has_seen_enough_ends_the_run_and_what_it_did_not_get_is_done_again(runs: Runs) -> None:
    read, write = os.pipe()
    runs.hold("b")
    process = runs.start("-q", "-j", "1", lines=["a", "b", "c", "d"], stdout=write)
    os.close(write)
    assert os.read(read, 100) == b"did a\n"
    runs.wait_for("start", "b")
    os.close(read)
    runs.let_go("b")
    ended = runs.finish(process)
    assert (ended.status, ended.err) == (128 + signal.SIGPIPE, "")
    assert runs.tasks()[b"a"].state is TaskState.COMPLETED
    assert (runs.tasks()[b"b"].state, runs.tasks()[b"b"].attempts) == (TaskState.READY, 0)

    again = runs.run("-j", "1", lines=["a", "b", "c", "d"])
    assert (again.status, sorted(again.out.splitlines())) == (0, [b"did b", b"did c", b"did d"])


def test_the_last_line_of_all_counts_when_its_reader_has_gone(runs: Runs) -> None:
    read, write = os.pipe()
    runs.hold("a")
    process = runs.start("-j", "1", lines=["a"], stdout=write)
    os.close(write)
    runs.wait_for("start", "a")
    os.close(read)
    runs.let_go("a")
    ended = runs.finish(process)
    assert ended.status == 128 + signal.SIGPIPE
    assert "0 done, 0 failed, 1 whose output could not be written in this run" in ended.err


def test_a_failed_line_whose_reader_has_gone_does_not_hide_that(runs: Runs) -> None:
    read, write = os.pipe()
    runs.hold("a")
    process = runs.start("-j", "1", lines=["a"], command=["sh", "-c", f"{runs.act} a; exit 1"], stdout=write)
    os.close(write)
    runs.wait_for("start", "a")
    os.close(read)
    runs.let_go("a")
    assert runs.finish(process).status == 128 + signal.SIGPIPE


def test_lines_without_output_are_done_even_if_the_reader_has_gone(runs: Runs) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = runs.run("-j", "1", lines=["a", "b"], command=["sh", "-c", "[ $1 = b ] || echo $1", "sh"], stdout=write)
    os.close(write)
    assert ended.status == 128 + signal.SIGPIPE
    again = runs.run("-j", "1", lines=["b"], command=["sh", "-c", "[ $1 = b ] || echo $1", "sh"])
    assert (again.status, again.out) == (0, b"a\n")


@pytest.mark.parametrize("side", ["output", "error"])
def test_a_full_disk_behind_an_output_is_an_error_and_no_line_is_done(runs: Runs, side: str) -> None:
    command = ["sh", "-c", "echo did $1" + (" >&2" if side == "error" else ""), "sh"]
    with open("/dev/full", "wb") as full:
        ended = runs.run(
            "-j", "1", lines=["a", "b"], command=command, **{"stdout" if side == "output" else "stderr": full}
        )
    assert ended.status == 2
    assert side == "error" or "cannot write to standard output: No space left on device" in ended.err
    assert {task.state for task in runs.tasks().values()} == {TaskState.READY}

    again = runs.run("-q", "-j", "1", lines=["a", "b"], command=command)
    assert again.status == 0
    assert sorted((again.out or again.err.encode()).splitlines()) == [b"did a", b"did b"]


@pytest.mark.slow
def test_killing_an_output_that_waits_for_its_reader_leaves_its_line_undone(runs: Runs) -> None:
    """The command has ended, but a process that the command left behind keeps the output pipe open."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write, bytes(4096)):
            pass
    os.set_blocking(write, True)
    command = ["sh", "-c", "printf unfinished; sleep 1000 2>/dev/null & echo $! >&2"]
    process = runs.start("-q", "-j", "1", lines=["a"], command=command, stdout=write)
    os.close(write)
    assert process.stderr is not None
    left_behind = int(process.stderr.readline())
    wait_for(lambda: _waits_in_write(process.pid), "map writes into the full pipe")
    os.kill(left_behind, signal.SIGKILL)
    process.send_signal(signal.SIGINT)
    assert b"interrupt again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert runs.finish(process).status == 130
    os.close(read)
    assert (runs.tasks()[b"a"].state, runs.tasks()[b"a"].attempts) == (TaskState.READY, 0)


def _waits_in_write(pid: int) -> bool:
    return "pipe" in Path(f"/proc/{pid}/wchan").read_text()


def test_output_is_on_the_disk_before_its_line_is_done(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems report a full disk only when a file is synced."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if descriptor == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    lines = cli.file("lines", "a\nb\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        ended = cli("map", "-j", "1", lines, "--", "echo")
        assert ended.status == 2
        assert "cannot write to standard output: No space left on device" in ended.err
        assert (
            cli("map", "-q", "-j", "1", "--durability", "process", "--instance", "p", lines, "--", "echo").status == 0
        )
    with cli.store() as store:
        assert store.stats().counts[TaskState.READY] == 2
    assert sorted(cli("map", "-j", "1", lines, "--", "echo").out.split()) == ["a", "b"]


def test_a_line_that_a_kill_left_unfinished_is_not_continued_by_another(runs: Runs) -> None:
    out = runs.folder / "out"
    out.write_bytes(b"did z\ndid")
    for line in ("a", "b"):
        with out.open("ab") as opened:
            assert runs.run("-q", "-j", "1", lines=[line], stdout=opened).status == 0
    assert out.read_bytes() == b"did z\ndid\ndid a\ndid b\n"


def test_a_run_says_how_many_lines_of_its_input_were_done_before(runs: Runs) -> None:
    runs.fail("c")
    assert "done before" not in runs.run("-j", "1", lines=["a", "b", "c"]).err
    assert "0 done, 1 failed in this run; 2 done before;" in runs.run("-j", "1", lines=["a", "b", "c"]).err
    runs.mend("c")
    assert "2 done, 0 failed in this run; 2 done before;" in runs.run("-j", "1", lines=["b", "a", "c", "d"]).err
    assert "0 done, 0 failed in this run; 1 done before;" in runs.run("-j", "1", lines=["c"]).err


def test_a_run_after_a_kill_counts_what_that_had_done(runs: Runs) -> None:
    lines = [f"line{number}" for number in range(20)]
    runs.hold("line7")
    killed = runs.start("-j", "1", lines=lines)
    runs.wait_for("start", "line7")
    os.killpg(killed.pid, signal.SIGKILL)
    os.kill(runs.pid_of("line7"), signal.SIGKILL)
    killed.communicate()
    done = sum(task.state is TaskState.COMPLETED for task in runs.tasks().values())
    (runs.folder / "hold-line7").unlink()
    err = runs.run("-j", "1", lines=lines).err
    assert f"{20 - done} done, 0 failed in this run; {done} done before;" in err


@pytest.mark.slow
def test_a_file_that_was_emptied_is_told_to_lack_what_was_done_before(runs: Runs) -> None:
    for number in range(2):
        with (runs.folder / "out").open("wb") as out:
            ended = runs.run("-q", "-j", "1", lines=["a", "b"], stdout=out)
        assert (ended.status, "lacks the output of the 2 lines" in ended.err) == (0, number == 1)
    with (runs.folder / "out").open("ab") as out:
        out.write(b"earlier\n")
        out.flush()
        assert runs.run("-q", "-j", "1", lines=["a", "b"], stdout=out).err == ""


def test_a_temporary_file_that_takes_less_than_it_was_given_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(data[: max(1, len(data) // 2)])

    monkeypatch.setattr(output, "_BUFFER_BYTES_MAX", 100)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Small(os.memfd_create("held"), "w+"))
    read, write = os.pipe()
    written: list[bytes] = []

    def take(data: bytes) -> bool:
        written.append(data)
        return True

    sink = cast("output.Sink", SimpleNamespace(write=take))
    relay = output.Relay(read, sink)
    data = bytes(range(11, 256)) * 20
    os.write(write, data)
    os.close(write)
    relay.drain()
    relay.close()
    assert b"".join(written) == data + b"\n"
    assert relay.is_written


@pytest.mark.slow
def test_a_process_that_a_command_leaves_behind_holds_nobody_up(runs: Runs) -> None:
    pids = runs.folder / "pids"
    command = ["sh", "-c", f'sleep 1000 & echo $! >> {pids}; echo "$1"', "sh"]
    try:
        ended = runs.run("-j", "2", lines=["a", "b"], command=command)
        assert (ended.status, sorted(ended.out.split())) == (0, [b"a", b"b"])
    finally:
        for pid in pids.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize("descriptor", first_is_fast([0, 1, 2]))
def test_a_closed_standard_descriptor_does_not_become_a_store_file(runs: Runs, tmp_path: Path, descriptor: int) -> None:
    (tmp_path / "input").write_text("a\n")
    ended = runs.run(
        "-q", str(tmp_path / "input"), lines=["a"], command=["sh", "-c", "echo out; echo err >&2"],
        preexec_fn=lambda: os.close(descriptor),
    )  # fmt: skip
    assert ended.status == 0
    assert ended.out == (b"" if descriptor == 1 else b"out\n")
    assert ended.err == ("" if descriptor == 2 else "err\n")
    assert runs.run(str(tmp_path / "input"), command=["sh", "-c", "echo out; echo err >&2"]).status == 0
