"""The ways to stop ``map``: a signal, Ctrl-C on a terminal, a terminal that is closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import threading

import pytest

from sqlite_claims.model import TaskState

from ..tiers import first_is_fast
from .map_runs import COMMAND, Runs, runs, wait_for

__all__ = ["runs"]

# This program makes the given descriptor its controlling terminal, and then runs a command.
_ON_TERMINAL = "import os, sys; os.login_tty(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"


class Terminal:
    """A ``map`` that reads lines from a file and runs on a pseudo terminal."""

    def __init__(self, runs: Runs, *options: str, lines: list[str]) -> None:
        self.screen = b""
        self._closed = False
        self.keyboard, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (24, 120))
        given = runs.folder / "input"
        given.write_text("".join(f"{line}\n" for line in lines))
        argv = [*COMMAND, "map", str(runs.db), *options, str(given), "--", str(runs.act), "{}"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, str(theirs), *argv],
            pass_fds=[theirs],
            env={**os.environ, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self.keyboard, 65536):
                self.screen += data
        except OSError:
            pass  # the process has closed its side of the terminal

    def press(self, key: bytes) -> None:
        os.write(self.keyboard, key)

    def wait(self) -> int:
        """Wait until the process has ended and all its output is read. Return the exit status."""
        status = self.process.wait(60)
        self._reader.join()
        os.close(self.keyboard)
        return status


@pytest.mark.parametrize("number", first_is_fast([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
def test_interrupted_once_it_lets_the_running_commands_finish_and_starts_no_more(
    runs: Runs, number: signal.Signals
) -> None:
    runs.hold("a", "b")
    process = runs.start("-j", "2", lines=["a", "b", "c", "d"])
    runs.wait_for("start", "a", "b")
    process.send_signal(number)
    assert process.stderr is not None
    assert b"running commands may finish" in process.stderr.readline()
    runs.let_go("a", "b")

    ended = runs.finish(process)
    assert ended.status == 130
    assert "run the same command again to resume" in ended.err
    assert runs.count("start") == {"a": 1, "b": 1}
    assert sorted(ended.out.splitlines()) == [b"did a", b"did b"]
    assert runs.run("-j", "2", lines=["a", "b", "c", "d"]).status == 0
    assert runs.count("end") == dict.fromkeys("abcd", 1)


def test_interrupted_twice_it_kills_the_running_commands_and_gives_their_tasks_back(runs: Runs) -> None:
    runs.hold("a", "b")
    process = runs.start("-j", "2", lines=["a", "b", "c"])
    runs.wait_for("start", "a", "b")
    _interrupt_twice(process, signal.SIGINT)

    assert runs.finish(process).status == 130
    for line in ("a", "b"):
        with pytest.raises(ProcessLookupError):
            os.kill(runs.pid_of(line), 0)
    for task in runs.tasks().values():
        assert (task.state, task.attempts, task.losses) == (TaskState.READY, 0, 0)


def test_killing_reaches_what_the_commands_have_started_themselves(runs: Runs) -> None:
    started = runs.folder / "started"
    os.mkfifo(started)
    process = runs.start(lines=["a"], command=["sh", "-c", f"sleep 1000 & echo $! > {started}; wait"])
    child = int(started.read_text())
    _interrupt_twice(process, signal.SIGTERM)
    assert runs.finish(process).status == 130
    # The test is not the child's parent, so the test must poll until the process that adopted the child has reaped it.
    wait_for(lambda: not _is_running(child))


def _interrupt_twice(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    process.send_signal(number)
    assert process.stderr is not None
    assert b"interrupt again" in process.stderr.readline()  # the kernel delivers two equal pending signals as one
    process.send_signal(number)


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_second_interrupt_works_while_nobody_reads_the_output(runs: Runs) -> None:
    read, write = os.pipe()
    process = runs.start("-j", "1", lines=["a"], command=["yes"], stdout=write)
    os.close(write)
    wait_for(lambda: _is_full(read))
    _interrupt_twice(process, signal.SIGINT)
    assert process.wait(60) == 130
    os.close(read)


def _is_full(pipe: int) -> bool:
    import fcntl
    import struct

    waiting = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]
    return bool(waiting >= fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) - 4096)


def test_ctrl_c_on_a_terminal_does_not_reach_the_commands(runs: Runs) -> None:
    runs.hold("a")
    terminal = Terminal(runs, "-j", "1", lines=["a", "b"])
    runs.wait_for("start", "a")
    terminal.press(b"\x03")
    wait_for(lambda: b"interrupt again to kill" in terminal.screen)
    runs.let_go("a")
    assert terminal.wait() == 130
    assert runs.events() == [("start", "a"), ("end", "a")]


def test_ctrl_c_twice_on_a_terminal_kills_the_commands(runs: Runs) -> None:
    runs.hold("a")
    terminal = Terminal(runs, "-j", "1", lines=["a", "b"])
    runs.wait_for("start", "a")
    terminal.press(b"\x03")
    wait_for(lambda: b"interrupt again to kill" in terminal.screen)
    terminal.press(b"\x03")
    assert terminal.wait() == 130
    assert runs.events() == [("start", "a")]
    assert runs.tasks()[b"a"].state is TaskState.READY


def test_the_end_of_the_terminal_lets_the_running_commands_finish(runs: Runs) -> None:
    runs.hold("a")
    terminal = Terminal(runs, "-j", "1", lines=["a", "b"])
    runs.wait_for("start", "a")
    os.kill(terminal.process.pid, signal.SIGHUP)
    wait_for(lambda: b"interrupt again to kill" in terminal.screen)
    runs.let_go("a")
    assert terminal.wait() == 130
    assert runs.tasks()[b"a"].state is TaskState.COMPLETED


def test_a_progress_bar_on_a_terminal_leaves_the_output_whole(runs: Runs) -> None:
    lines = [f"line{number}" for number in range(20)]
    runs.hold("line19")
    terminal = Terminal(runs, "-j", "2", lines=lines)
    runs.wait_for("start", "line19")
    wait_for(lambda: b"19 of 20 done, 0 failed, 1 running" in terminal.screen, "the bar")
    runs.let_go("line19")
    assert terminal.wait() == 0
    # Matches the text of a line after the last escape sequence that clears the line.
    shown = [line.rpartition(b"\x1b[K")[2].strip() for line in terminal.screen.split(b"\r\n")]
    assert sorted(line for line in shown if line.startswith(b"did")) == sorted(f"did {x}".encode() for x in lines)
