"""One worker process as its supervisor sees it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .board import Board, RunningTask, make_memory

# The settings come over standard input: they may be long, and are nobody's business in a list of processes. Where the
# line has no end, the supervisor was killed while it wrote it.
_BOOT = (
    "import json,sys;line=sys.stdin.readline();line.endswith('\\n') or sys.exit(1);config=json.loads(line);"
    "sys.path[:]=config['sys_path'];from sqlite_claims.workers.child import main;main(config)"
)


class Process:
    """Started when made; ``on_exit`` is called on another thread when it has died and is not yet reaped."""

    def __init__(self, config: dict[str, Any], lanes: int, worker_id: str, on_exit: Callable[[Process], None]) -> None:
        self.worker_id = worker_id
        self.ready = False
        self.failed: tuple[str, str] | None = None  # stage and text of the error that ended it
        self.end: dict[str, Any] | None = None  # its last words
        self.hung_up = False
        self.killed = False
        self.overdue: list[RunningTask] = []  # timed out, and not stored as failed before it was killed
        self._read = b""
        self._on_exit = on_exit
        self.socket, theirs = socket.socketpair()
        memory = make_memory(lanes)
        try:
            self.board = Board(memory, lanes)
            # A process group of its own: a terminal's Ctrl-C is the supervisor's to answer, and what a task has started
            # is killed with it.
            self._popen = subprocess.Popen(
                [sys.executable, *_interpreter_options(), "-c", _BOOT, worker_id],
                stdin=subprocess.PIPE,
                pass_fds=(theirs.fileno(), memory),
                process_group=0,
            )
            settings = {**config, "control": theirs.fileno(), "board": memory, "sys_path": sys.path}
        finally:
            theirs.close()
            os.close(memory)
        self.pid = self._popen.pid
        assert self._popen.stdin is not None
        with suppress(BrokenPipeError), self._popen.stdin as stdin:
            stdin.write(json.dumps(settings).encode() + b"\n")
        self.socket.setblocking(False)
        threading.Thread(target=self._watch, name=f"claims-watch-{self.pid}", daemon=True).start()

    def _watch(self) -> None:
        if hasattr(os, "waitid"):
            # Not reaped here: until then the process id, and the group's, can't become another's.
            with suppress(ChildProcessError):  # buried without waiting for word of its death
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._popen.wait()
        self._on_exit(self)

    def messages(self) -> list[dict[str, Any]]:
        """What it has said since the last call."""
        found: list[dict[str, Any]] = []
        try:
            while data := self.socket.recv(65536):
                *lines, self._read = (self._read + data).split(b"\n")
                found += map(json.loads, lines)
            self.hung_up = True
        except BlockingIOError:
            pass
        except OSError:
            self.hung_up = True
        return found

    def stop(self, timeout: float | None) -> None:
        """Tell it to claim no more and to end within ``timeout`` seconds."""
        with suppress(OSError):
            self.socket.send(json.dumps({"stop": timeout}).encode() + b"\n")

    def kill(self) -> None:
        """Kill it, and what its tasks have started."""
        self.killed = True
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def bury(self) -> int:
        """After its death: its exit status, negative for a signal. Nothing of it is left then."""
        status = self._popen.wait()
        self.socket.close()
        self.board.close()
        return status


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
