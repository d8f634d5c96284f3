"""Starts, watches, replaces, stops and kills the N worker processes of a pool. The supervisor runs no handlers.

One thread runs a loop around a selector. The loop waits for messages from the worker processes, for the death of a
worker process, and for calls of ``stop``. A second thread (``log_relay``) writes log records, because a log handler of
the program may block.
"""

from __future__ import annotations

import math
import os
import selectors
import socket
import time
from collections import deque
from contextlib import closing, suppress
from dataclasses import dataclass, replace

from ..errors import BackendError
from . import task_log
from .child_config import PoolConfig
from .context import Reason, RunSummary, WorkerStartError
from .control_channel import Ended, Failed, HasTimeout, Message, Ready, Stage
from .descendants import reap_orphans
from .log_relay import LogRelay
from .pool_claims import DeadWorker, PoolClaims
from .process import Process, describe_exit_status, kill
from .scoreboard import RunningTask
from .task_log import log

# The delay between the first death of a process and the start of the replacement. After each further
# death in a row, the delay is twice as long.
_BACK_OFF_S = 0.1
_BACK_OFF_S_MAX = 5.0
# The run of a pool with N processes ends after N times this many failed starts in a row.
_FAILURES_MAX = 5
# A process that was asked to stop is killed this many seconds after the deadline of its tasks.
_GRACE_S = 2.0
# The largest number of reads from the control socket of a dead process.
_READS_AFTER_DEATH_MAX = 100
# The loop wakes at least this often, because other code of the program may have closed the sockets that wake the loop.
_POLL_S = 5.0
_POLL_AS_INIT_S = 1.0
_TIMEOUT_CHECK_S_MIN = 0.02
_TIMEOUT_CHECK_S_MAX = 0.5


@dataclass(slots=True)
class PoolMember:
    """One of the pool's N members: a worker process that is replaced when it dies.

    ``process`` is ``None`` while the member waits for the time ``start_at``, and when ``ended`` is ``True``.
    """

    process: Process | None = None
    start_at: float = 0.0
    deaths: int = 0
    ended: bool = False
    kill_at: float = math.inf


class Supervisor:
    """Runs a pool. Call the object once. The call returns when the pool's run has ended."""

    def __init__(self, config: PoolConfig, processes: int) -> None:
        self._config = config
        self._options = config.options
        self._members = [PoolMember() for _ in range(processes)]
        self._started = 0
        self._failures = 0
        self._was_ready = False
        self._completed = self._failed = self._lost = 0
        self._reason: Reason | None = None
        self._error: BackendError | None = None
        self._stop_calls: deque[tuple[Reason, float | None]] = deque()
        self._exited: deque[Process] = deque()
        self._waker, self._wakeups = socket.socketpair()
        self._waker.setblocking(False)
        self._wakeups.setblocking(False)
        self._check_timeouts_every_s = _TIMEOUT_CHECK_S_MAX
        self._check_timeouts_at = math.inf
        if self._options.task_timeout is not None:
            self._watch_timeout(self._options.task_timeout)

    def stop(self, reason: Reason, timeout: float | None = None) -> None:
        """Make the pool claim no more tasks. Tasks that still run after ``timeout`` seconds are released. ``stop`` may
        be called from any thread."""
        self._stop_calls.append((reason, timeout))
        self._wake()

    def __call__(self) -> RunSummary:
        """Run the pool until it is idle or stopped."""
        with (
            self._waker,
            self._wakeups,
            closing(LogRelay()) as self._relay,
            closing(PoolClaims(self._config.path, self._config.store_options, self._relay)) as self._claims,
            selectors.DefaultSelector() as self._selector,
        ):
            self._config = replace(self._config, path=self._claims.path)
            self._selector.register(self._wakeups, selectors.EVENT_READ)
            try:
                self._run()
            finally:
                self._kill_all()
        if self._error is not None:
            raise self._error
        return RunSummary(self._reason or "idle", self._completed, self._failed + self._claims.failed, self._lost)

    def _run(self) -> None:
        while True:
            while self._stop_calls:
                self._begin_stop(*self._stop_calls.popleft())
            while self._exited:
                self._handle_exit(self._exited.popleft())
            self._claims.end_claims_of_dead()
            if all(member.ended for member in self._members):
                self._claims.end_last_claims()
                return
            self._start_due()
            self._kill_late()
            self._kill_overdue()
            if os.getpid() == 1:
                reap_orphans({member.process.pid for member in self._members if member.process is not None})
            for event, _ in self._selector.select(self._pause_s()):
                if event.data is None:
                    self._drain_wakeups()
                else:
                    self._receive(event.data, 1)

    def _wake(self) -> None:
        with suppress(OSError):  # the socket is full, so the loop will wake, or the run has closed the socket
            self._waker.send(b"w")

    def _drain_wakeups(self) -> None:
        with suppress(BlockingIOError):
            while self._wakeups.recv(4096):
                pass

    def _pause_s(self) -> float:
        now = time.monotonic()
        due_at = min(self._check_timeouts_at, self._claims.due_at())
        for member in self._members:
            if not member.ended:
                due_at = min(due_at, member.start_at if member.process is None else member.kill_at)
        poll_s = _POLL_AS_INIT_S if os.getpid() == 1 else _POLL_S
        return max(0.0, min(due_at - now, poll_s))

    def _member_of(self, process: Process) -> PoolMember:
        return next(member for member in self._members if member.process is process)

    # -- starting

    def _start_due(self) -> None:
        now = time.monotonic()
        for member in self._members:
            if member.process is None and not member.ended and member.start_at <= now:
                self._started += 1
                worker_id = f"{self._options.worker_id}-{self._started}"
                try:
                    process = Process(self._config, worker_id=worker_id, on_exit=self._on_exit)
                except OSError as error:
                    self._delay_start(member)
                    self._count_failure(None, f"cannot start a process: {error}")
                    continue
                member.process = process
                self._relay.add(process.logs)
                self._selector.register(process.control, selectors.EVENT_READ, process)

    def _on_exit(self, process: Process) -> None:
        self._exited.append(process)
        self._wake()

    def _delay_start(self, member: PoolMember) -> None:
        member.deaths += 1
        member.start_at = time.monotonic() + min(_BACK_OFF_S * 2 ** (member.deaths - 1), _BACK_OFF_S_MAX)

    def _count_failure(self, stage: Stage | None, text: str) -> None:
        """Count a failed start of a process. End the pool's run if the next start would probably fail, too."""
        self._failures += 1
        is_hopeless = stage in ("handlers", "main file", "lifespan") and not self._was_ready
        if is_hopeless or self._failures >= _FAILURES_MAX * len(self._members):
            if stage != "main file":
                text = f"worker processes crash on start-up; last error: {text}"
            self._error = WorkerStartError(text)
            self._begin_stop("stopped", self._options.shutdown_timeout)

    # -- messages

    def _receive(self, process: Process, reads: int) -> None:
        control = process.control
        for _ in range(reads):
            messages = control.receive()
            for message in messages or ():
                self._handle(message, process)
            if control.ended:  # a separate thread reports the exit of the process
                with suppress(KeyError):
                    self._selector.unregister(control)
            if control.ended or messages is None:
                break
        if control.unreadable:
            self._relay.count_unreadable(control.unreadable, process.worker_id)
            control.unreadable = 0

    def _handle(self, message: Message, process: Process) -> None:
        match message:
            case Ready():
                process.is_ready = self._was_ready = True
            case Failed():
                process.failure_message = message
            case HasTimeout():
                self._watch_timeout(message.timeout_s)
            case Ended():
                process.exit_message = message
                # Threads that still run in the process, for example threads of the user's code, no longer hold claims.
                # So the process may be killed after _GRACE_S.
                member = self._member_of(process)
                member.kill_at = min(member.kill_at, time.monotonic() + _GRACE_S)
            case _:
                process.control.unreadable += 1

    # -- exits

    def _handle_exit(self, process: Process) -> None:
        member = self._member_of(process)
        self._receive(process, _READS_AFTER_DEATH_MAX)
        with suppress(KeyError):
            self._selector.unregister(process.control)
        self._relay.remove(process.logs)
        totals = process.scoreboard.totals()
        running = process.scoreboard.running()
        self._completed += totals.completed
        self._failed += totals.failed
        self._lost += totals.lost
        was_killed = process.was_killed
        exit_message = process.exit_message
        if exit_message is None or exit_message.abandoned_handlers:
            process.kill()  # also kills the commands that the process's tasks have started
        status = process.reap()
        if totals.completed or totals.failed:
            self._failures = member.deaths = 0
        member.process = None
        member.start_at = 0.0
        member.kill_at = math.inf
        if exit_message is not None:
            member.deaths = 0
            member.ended = exit_message.reason == "idle"
            if exit_message.by_handler:
                self._begin_stop(exit_message.reason, self._options.shutdown_timeout)
        elif was_killed:
            for task in process.unstored_timeouts:
                self._fail_overdue(task)
        else:
            self._handle_death(process, member, running, status)
        member.ended = member.ended or self._reason is not None

    def _handle_death(self, process: Process, member: PoolMember, running: list[RunningTask], status: int) -> None:
        """Record the losses of a process that died without being killed by the supervisor, and schedule its
        replacement."""
        how = describe_exit_status(status)
        why = f"worker process {process.pid} died: {how}"
        for task in running:
            self._relay.post(task_log.lost, task, task.seconds(), why)
        self._claims.add_dead(DeadWorker(worker_id=process.worker_id, running=running, why=why))
        self._lost += len(running)
        self._delay_start(member)
        if self._reason is not None:
            return
        message = process.failure_message
        # If a process died while a task ran, or if a signal killed the process, the task may have caused the death. The
        # next process runs a different task, so such a death does not count as a failed start. If a process exits
        # between tasks without a message, the process has lost its control socket. This counts as a failed start.
        if message is not None:
            self._count_failure(message.stage, message.text)
        elif not process.is_ready or not (running or status < 0):
            self._count_failure(None, how)
        text = how if message is None else message.text
        if self._error is not None:  # the error that ends the run contains all lines of the text
            text = text.partition("\n")[0]
        self._relay.post(log.error, "worker process %d (%s) died: %s", process.pid, process.worker_id, text)

    # -- stopping

    def _begin_stop(self, reason: Reason, timeout_s: float | None) -> None:
        if self._reason is None:
            self._reason = reason
        for member in self._members:
            if member.process is None:
                member.ended = True
            else:
                member.process.stop(timeout_s)
                if timeout_s is not None:
                    member.kill_at = min(member.kill_at, time.monotonic() + timeout_s + _GRACE_S)

    def _kill_late(self) -> None:
        now = time.monotonic()
        for member in self._members:
            process = member.process
            if process is not None and now >= member.kill_at:
                self._relay.post(
                    log.warning,
                    "worker process %d (%s) did not stop in time, killing it",
                    process.pid,
                    process.worker_id,
                )
                member.kill_at = math.inf
                self._claims.release_claims_of(process.worker_id)
                process.kill()

    def _kill_all(self) -> None:
        """Kill and reap all worker processes that still run, for example after an error of the supervisor."""
        processes = [member.process for member in self._members if member.process is not None]
        kill(*processes)
        for process in processes:
            process.reap()
            self._relay.remove(process.logs)

    # -- timeouts

    def _watch_timeout(self, timeout_s: float) -> None:
        """Check the running tasks often enough for this timeout."""
        every_s = max(timeout_s / 10, _TIMEOUT_CHECK_S_MIN)
        self._check_timeouts_every_s = min(every_s, self._check_timeouts_every_s)
        self._check_timeouts_at = 0.0

    def _timeout_s(self, task: RunningTask) -> float:
        timeout_s = self._options.task_timeout if task.timeout_s is None else task.timeout_s
        return math.inf if timeout_s is None else timeout_s

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        if now < self._check_timeouts_at:
            return
        self._check_timeouts_at = now + self._check_timeouts_every_s
        for process in [member.process for member in self._members]:
            if process is None or process.was_killed:
                continue
            overdue = [task for task in process.scoreboard.running() if task.seconds() >= self._timeout_s(task)]
            # Store the failure before the process is killed. Otherwise, between the kill and the write, a different
            # worker could record a loss of the task.
            unstored = [task for task in overdue if not self._fail_overdue(task)]
            if any(process.scoreboard.started_ns(task.slot) == task.started_ns for task in overdue):
                process.unstored_timeouts = unstored
                self._claims.release_claims_of(process.worker_id, except_tasks=unstored)
                process.kill()

    def _fail_overdue(self, task: RunningTask) -> bool:
        return self._claims.fail_overdue(task, f"timed out after {self._timeout_s(task):g} s")
