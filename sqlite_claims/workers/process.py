"""``Process``: the object through which a supervisor starts, stops and kills one worker process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

from . import child_config
from .child_config import ChildConfig, PoolConfig
from .control_channel import ControlChannel, Ended, Failed, Stop
from .descendants import kill_groups
from .log_lines import make_sockets
from .log_relay import LogSource
from .scoreboard import RunningTask, Scoreboard, make_memory

# The worker process reads its configuration from standard input. A command line is not used, because the
# configuration may be too long for it, and because every user of the machine can read it. If the line that the process
# reads has no newline at its end, the supervisor was killed during the write.
_BOOT = (
    "import json,sys;line=sys.stdin.readline();line.endswith('\\n') or sys.exit(1);config=json.loads(line);"
    "sys.path[:]=config['sys_path'];from sqlite_claims.workers.child import main;main(config)"
)

_supervised: weakref.WeakSet[Process] = weakref.WeakSet()


def _close_sockets_in_fork() -> None:
    """Close the supervisor's sockets in a forked child of the program. If the child kept the sockets open, the worker
    processes could not detect the supervisor's death before the child's end."""
    for process in _supervised:
        process.control.close()
        process.logs.socket.close()


os.register_at_fork(after_in_child=_close_sockets_in_fork)


class Process:
    """A worker process. The constructor starts the process, and raises ``OSError`` if the process cannot be started.

    ``on_exit`` is called on a separate thread when the process has ended, before the process is reaped.
    """

    def __init__(self, pool: PoolConfig, *, worker_id: str, on_exit: Callable[[Process], None]) -> None:
        self.worker_id = worker_id
        self.is_ready = False
        self.failure_message: Failed | None = None
        self.exit_message: Ended | None = None
        self.was_killed = False
        # Tasks that timed out, and whose failure could not be stored before the process was killed.
        self.unstored_timeouts: list[RunningTask] = []
        self._on_exit = on_exit
        slots = pool.options.concurrency
        with ExitStack() as theirs, ExitStack() as ours:
            own_control, child_control = socket.socketpair()
            theirs.enter_context(child_control)
            self.control = ours.enter_context(closing(ControlChannel(own_control)))
            own_control.setblocking(False)
            own_logs, child_logs = make_sockets()
            theirs.enter_context(child_logs)
            self.logs = LogSource(ours.enter_context(own_logs), worker_id)
            memory = make_memory(slots)
            theirs.callback(os.close, memory)
            self.scoreboard = ours.enter_context(closing(Scoreboard(memory, slots)))
            config = ChildConfig(
                pool=pool,
                worker_id=worker_id,
                control_fd=child_control.fileno(),
                log_fd=child_logs.fileno(),
                scoreboard_fd=memory,
                # Imports ignore entries that are not strings.
                sys_path=[entry for entry in sys.path if isinstance(entry, str)],
                sys_argv=[word for word in getattr(sys, "argv", ()) if isinstance(word, str)],
            )
            self._popen = _start(config)
            self.pid = self._popen.pid
            ours.callback(self._popen.wait)
            ours.callback(self.kill)
            self._start_watcher(child_config.encode(config))
            ours.pop_all()
        _supervised.add(self)

    def _start_watcher(self, config_line: bytes) -> None:
        watcher = threading.Thread(
            target=self._watch, args=(config_line,), name=f"claims-watch-{self.pid}", daemon=True
        )
        try:
            watcher.start()
        except RuntimeError as error:  # the system has no more threads
            raise OSError(str(error)) from None

    def _watch(self, config_line: bytes) -> None:
        # A separate thread writes the configuration, because the write blocks while the process is starting. The
        # supervisor must not block.
        assert self._popen.stdin is not None
        with suppress(OSError), self._popen.stdin as stdin:
            stdin.write(config_line)
        if hasattr(os, "waitid"):
            # Wait without reaping the process. Until the process is reaped, the system does not assign its process id
            # and its process group id again.
            with suppress(ChildProcessError):  # the process is reaped already
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._popen.wait()
        self._on_exit(self)

    def stop(self, timeout_s: float | None) -> None:
        """Ask the process to claim no more tasks, and to end within ``timeout_s`` seconds (``None``: no limit)."""
        self.control.send(Stop(timeout_s))

    def kill(self) -> None:
        """Kill the process and the commands that its tasks have started."""
        kill(self)

    def reap(self) -> int:
        """Wait for the end of the process and return the exit status. If a signal killed the process, the status is
        negative. Free the control
        socket and the scoreboard, but not ``logs``."""
        status = self._popen.wait()
        with suppress(OSError):  # other code of the program may have closed the descriptor
            self.control.close()
        self.scoreboard.close()
        return status


def kill(*processes: Process) -> None:
    """Kill these processes, and the commands that their tasks have started."""
    for process in processes:
        process.was_killed = True
    kill_groups([process.pid for process in processes])


def _start(config: ChildConfig) -> subprocess.Popen[bytes]:
    """Start a worker process in a new process group.

    Because of the new process group, Ctrl-C on a terminal sends SIGINT only to the supervisor, and the supervisor can
    kill the commands that a task has started.
    """
    return subprocess.Popen(
        [sys.executable, *_interpreter_options(), "-c", _BOOT, config.worker_id],
        stdin=subprocess.PIPE,
        pass_fds=(config.control_fd, config.log_fd, config.scoreboard_fd),
        process_group=0,
    )


def _interpreter_options() -> list[str]:
    """Return the options that this interpreter was started with, such as ``-W``. The module multiprocessing uses the
    same private function of ``subprocess``."""
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined,no-any-return]


def describe_exit_status(status: int) -> str:
    """Return a description of an exit status, for example "exit status 1" or "SIGKILL"."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
