"""One worker process as its supervisor sees it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from typing import Any

from .context import Reason
from .control_channel import ControlChannel
from .descendants import kill_groups
from .log_lines import make_sockets
from .log_relay import LogSource
from .scoreboard import RunningTask, Scoreboard, make_memory

# The settings come over standard input: they may be long, and are nobody's business in a list of processes. Where the
# line has no end, the supervisor was killed while it wrote it.
_BOOT = (
    "import json,sys;line=sys.stdin.readline();line.endswith('\\n') or sys.exit(1);config=json.loads(line);"
    "sys.path[:]=config['sys_path'];from sqlite_claims.workers.child import main;main(config)"
)


# All worker processes that this process supervises.
_supervised: weakref.WeakSet[Process] = weakref.WeakSet()


def _let_go() -> None:
    """In a forked child of the program, close the sockets: otherwise the processes would not notice the end of their
    supervisor before that of the child."""
    for process in _supervised:
        process.control.close()
        process.logs.socket.close()


os.register_at_fork(after_in_child=_let_go)


class Process:
    """Started when made; ``on_exit`` is called on another thread when it has died and is not yet reaped.

    Raises ``OSError`` where it can't be started.
    """

    def __init__(self, config: dict[str, Any], slots: int, worker_id: str, on_exit: Callable[[Process], None]) -> None:
        self.worker_id = worker_id
        self.ready = False
        self.failed: tuple[str, str] | None = None  # stage and text of the error that ended it
        self.end: tuple[Reason, bool] | None = None  # why its run ended, and whether a handler wanted that
        self.left_behind = 0  # handlers that had not returned when it ended
        self.killed = False
        self.overdue: list[RunningTask] = []  # timed out, and not stored as failed before it was killed
        self._on_exit = on_exit
        with ExitStack() as theirs, ExitStack() as ours:
            own, control = socket.socketpair()
            self.control = ours.enter_context(closing(ControlChannel(own)))
            own.setblocking(False)
            logs, log = make_sockets()
            self.logs = LogSource(ours.enter_context(logs), worker_id)
            memory = make_memory(slots)
            theirs.callback(os.close, memory)
            self.scoreboard = ours.enter_context(closing(Scoreboard(memory, slots)))
            given = [theirs.enter_context(end).fileno() for end in (control, log)]
            settings = {"control": given[0], "log": given[1], "scoreboard": memory, **surroundings()}
            line = json.dumps({**config, **settings}).encode() + b"\n"
            # A process group of its own: a terminal's Ctrl-C is the supervisor's to answer, and what a task has started
            # is killed with it.
            self._popen = subprocess.Popen(
                [sys.executable, *_interpreter_options(), "-c", _BOOT, worker_id],
                stdin=subprocess.PIPE,
                pass_fds=(*given, memory),
                process_group=0,
            )
            self.pid = self._popen.pid
            ours.callback(self._popen.wait)
            ours.callback(self.kill)
            try:
                threading.Thread(target=self._watch, args=(line,), name=f"claims-watch-{self.pid}", daemon=True).start()
            except RuntimeError as error:  # no more threads
                raise OSError(str(error)) from None
            ours.pop_all()
        _supervised.add(self)

    def _watch(self, settings: bytes) -> None:
        # Here, since a process that is slow to come to life is slow to read.
        assert self._popen.stdin is not None
        with suppress(OSError), self._popen.stdin as stdin:
            stdin.write(settings)
        if hasattr(os, "waitid"):
            # Not reaped here: until then the process id, and the group's, can't become another's.
            with suppress(ChildProcessError):  # buried without waiting for word of its death
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._popen.wait()
        self._on_exit(self)

    def stop(self, timeout: float | None) -> None:
        """Tell it to claim no more and to end within ``timeout`` seconds."""
        self.control.send(stop=timeout)

    def kill(self) -> None:
        """Kill it, and what its tasks have started."""
        kill(self)

    def reap(self) -> int:
        """After its death: its exit status, negative for a signal. Nothing of it is left then but its ``logs``."""
        status = self._popen.wait()
        self.control.close()
        self.scoreboard.close()
        return status


def kill(*processes: Process) -> None:
    """Kill these processes, and the commands that their tasks have started."""
    for process in processes:
        process.killed = True
    kill_groups([process.pid for process in processes])


def surroundings() -> dict[str, Any]:
    """The settings with which a child can import the same modules as this process; entries that no import uses are left
    out."""
    return {
        "sys_path": [entry for entry in sys.path if isinstance(entry, str)],
        "sys_argv": [word for word in getattr(sys, "argv", ()) if isinstance(word, str)],
    }


def _interpreter_options() -> list[str]:
    """``-X``, ``-W``, ``-O`` and the like, as this process was started with, as multiprocessing passes them on."""
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined,no-any-return]


def has_died_of(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
