"""Keeps N worker processes running: starts, watches, replaces, kills and stops them. Runs no user code.

Everything happens on one thread, in one loop around a selector of what the processes say, their deaths and calls of
``stop``; but what is logged, here and there, passes through a thread of its own (``log_relay``).
"""

from __future__ import annotations

import math
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Collection
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from ..errors import BackendError, ClaimLostError, NotFoundError
from ..model import TaskClaim, TaskState
from ..sqlite.operations import sessions
from ..store import SqliteClaimStore
from . import task_log
from .context import Reason, RunSummary, WorkerStartError
from .descendants import reap_orphans
from .execute import Failure
from .log_relay import LogRelay
from .options import WorkerOptions
from .process import Process, has_died_of, kill
from .result_writer import TRANSIENT
from .scoreboard import RunningTask
from .slot import key
from .task_log import log

# Between the first death in a row and its replacement; doubled with each further one, up to the maximum.
_BACK_OFF_S = 0.1
_BACK_OFF_S_MAX = 5.0
# Processes in a row that could not work, for each member, after which no more are started.
_FAILURES_MAX = 5
# What a process that was told to stop has beyond its tasks' time, before it is killed.
_GRACE_S = 2.0
# Limit for one process, between two looks at the others.
_READS_LEFT_MAX = 100
# A write waits no longer than this for the store's writer, which may be the very process that is to be killed; one that
# can wait is tried again after a while, at the end of the run for as long as the processes themselves would wait.
_FAIL_FIRST_S = 1.0
_SETTLE_EVERY_S = 0.5
_PATIENCE_S = 10.0


class _Watcher(SqliteClaimStore):
    _probe_every_us = 0  # it looks for work only when somebody has died

    def lose_claims(self, claims: list[TaskClaim], why: str) -> list[TaskClaim]:
        """Count these claims of a dead process as lost, before another worker that looks for work does so without the
        cause, ``why``."""
        return self._run(sessions.record_losses, claims, why)


@dataclass(slots=True)
class PoolMember:
    """The place of one process: ``process`` is ``None`` before ``start_at`` and once it is ``over``."""

    process: Process | None = None
    start_at: float = 0.0
    deaths: int = 0
    over: bool = False
    kill_at: float = math.inf


@dataclass(slots=True)
class Death:
    """A process that died by itself, and what it was running; its claims are not settled yet."""

    worker_id: str
    running: list[RunningTask]
    why: str


class Supervisor:
    """Call it once: it blocks until the pool's run is over."""

    def __init__(self, settings: dict[str, Any], options: WorkerOptions, processes: int) -> None:
        self._settings = settings
        self._options = options
        self._members = [PoolMember() for _ in range(processes)]
        self._started = 0
        self._failures = 0
        self._ever_ready = False
        self._completed = self._failed = self._lost = 0
        self._reason: Reason | None = None
        self._error: BackendError | None = None
        self._stop_calls: deque[tuple[Reason, float | None]] = deque()
        self._dead: deque[Process] = deque()
        self._deaths: deque[Death] = deque()
        self._settle_at = 0.0
        self._waker, self._alarm = socket.socketpair()
        self._waker.setblocking(False)
        self._alarm.setblocking(False)
        self._check_timeouts_at = math.inf
        if options.task_timeout is not None:
            self._check_every = min(max(options.task_timeout / 10, 0.02), 0.5)
            self._check_timeouts_at = 0.0

    def stop(self, reason: Reason, timeout: float | None = None) -> None:
        """Claim no more; tasks that run may finish within ``timeout`` seconds. From any thread."""
        self._stop_calls.append((reason, timeout))
        self._wake()

    def __call__(self) -> RunSummary:
        """Run until idle or stopped."""
        options = dict(self._settings["store_options"])
        self._patience = options.get("busy_timeout", _PATIENCE_S)
        options["busy_timeout"] = min(self._patience, _FAIL_FIRST_S)
        with (
            self._waker,
            self._alarm,
            _Watcher(self._settings["path"], **options) as self._store,
            selectors.DefaultSelector() as self._selector,
            closing(LogRelay()) as self._relay,
        ):
            self._settings["path"] = self._store.path
            self._selector.register(self._alarm, selectors.EVENT_READ)
            try:
                while True:
                    while self._stop_calls:
                        self._begin_stop(*self._stop_calls.popleft())
                    while self._dead:
                        self._after_death(self._dead.popleft())
                    self._settle_deaths()
                    if all(member.over for member in self._members):
                        self._settle_last_deaths()
                        break
                    self._start_due()
                    self._kill_late()
                    self._kill_overdue()
                    if os.getpid() == 1:
                        reap_orphans({member.process.pid for member in self._members if member.process is not None})
                    for event, _ in self._selector.select(self._pause()):
                        if event.data is None:
                            self._drain_alarm()
                        else:
                            self._listen(event.data, 1)
            finally:
                self._kill_all()
        if self._error is not None:
            raise self._error
        return RunSummary(self._reason or "idle", self._completed, self._failed, self._lost)

    def _wake(self) -> None:
        with suppress(OSError):  # full, so that it wakes anyway; or closed, since the run is over
            self._waker.send(b"w")

    def _drain_alarm(self) -> None:
        with suppress(BlockingIOError):
            while self._alarm.recv(4096):
                pass

    def _pause(self) -> float | None:
        now = time.monotonic()
        due = min(self._check_timeouts_at, self._settle_at if self._deaths else math.inf)
        for member in self._members:
            if not member.over:
                due = min(due, member.start_at if member.process is None else member.kill_at)
        if os.getpid() == 1:
            due = min(due, now + 1.0)
        return None if due == math.inf else max(0.0, due - now)

    def _warn(self, text: str, *args: object) -> None:
        self._relay.post(log.warning, text, *args)

    # -- starting

    def _start_due(self) -> None:
        now = time.monotonic()
        for member in self._members:
            if member.process is None and not member.over and member.start_at <= now:
                self._started += 1
                worker_id = f"{self._options.worker_id}-{self._started}"
                settings = {**self._settings, "options": {**self._settings["options"], "worker_id": worker_id}}
                try:
                    process = Process(settings, self._options.concurrency, worker_id, self._on_exit)
                except OSError as error:
                    self._put_off(member)
                    self._cannot_work("", f"it could not be started: {error}")
                    continue
                member.process = process
                self._relay.add(process.logs)
                self._selector.register(process.control, selectors.EVENT_READ, process)

    def _on_exit(self, process: Process) -> None:
        self._dead.append(process)
        self._wake()

    def _listen(self, process: Process, reads: int) -> None:
        control = process.control
        for _ in range(reads):
            messages = control.receive()
            for message in messages or ():
                self._heed(process, message)
            if control.ended:  # its death is told on another way
                with suppress(KeyError):
                    self._selector.unregister(control)
            if control.ended or messages is None:
                break
        if control.unreadable:
            self._relay.drop(control.unreadable, process.worker_id)
            control.unreadable = 0

    def _heed(self, process: Process, message: dict[str, Any]) -> None:
        match message:
            case {"ready": True}:
                process.ready = self._ever_ready = True
            case {"failed": str(text), "stage": str(stage)}:
                process.failed = stage, text
            case {
                "end": "idle" | "stopped" | "interrupted" as reason,
                "by_handler": bool(by_handler),
                "left_behind": int(left_behind),
            }:
                process.end = reason, by_handler
                process.left_behind = left_behind
                # What it has still running, threads of the user's code say, has no claim any more.
                member = next(member for member in self._members if member.process is process)
                member.kill_at = min(member.kill_at, time.monotonic() + _GRACE_S)
            case _:
                process.control.unreadable += 1

    # -- deaths

    def _after_death(self, process: Process) -> None:
        member = next(member for member in self._members if member.process is process)
        self._listen(process, _READS_LEFT_MAX)
        with suppress(KeyError):
            self._selector.unregister(process.control)
        self._relay.remove(process.logs)
        completed, failed, lost = process.scoreboard.totals()
        running = process.scoreboard.running()
        self._completed += completed
        self._failed += failed
        self._lost += lost
        was_killed = process.killed
        if process.end is None or process.left_behind:
            process.kill()  # what its tasks have started, which nobody else knows of
        status = process.reap()
        if completed or failed:
            self._failures = member.deaths = 0
        member.process = None
        member.start_at = 0.0
        member.kill_at = math.inf
        if process.end is not None:
            member.deaths = 0
            reason, by_handler = process.end
            member.over = reason == "idle"
            if by_handler:
                self._begin_stop(reason, self._options.shutdown_timeout)
        elif was_killed:
            for task in process.overdue:
                self._fail(task)
        else:
            how = has_died_of(status)
            death = Death(process.worker_id, running, f"worker process {process.pid} died: {how}")
            for task in running:
                self._relay.post(task_log.lost, task, task.seconds(), death.why)
            self._deaths.append(death)
            self._lost += len(running)
            self._put_off(member)
            if self._reason is None:
                self._report(process, how, at_work=bool(running) or status < 0)
        member.over = member.over or self._reason is not None

    def _report(self, process: Process, how: str, *, at_work: bool) -> None:
        """``at_work``: a task may have done it, and the next is another. One that exits between tasks without a word
        has lost the descriptor for it."""
        stage, text = process.failed or ("", how)
        if process.failed is not None or not (process.ready and at_work):
            self._cannot_work(stage, text)
        if self._error is not None:  # which tells the rest
            text = text.partition("\n")[0]
        self._relay.post(log.error, "worker process %d (%s) died: %s", process.pid, process.worker_id, text)

    def _put_off(self, member: PoolMember) -> None:
        member.deaths += 1
        member.start_at = time.monotonic() + min(_BACK_OFF_S * 2 ** (member.deaths - 1), _BACK_OFF_S_MAX)

    def _cannot_work(self, stage: str, text: str) -> None:
        self._failures += 1
        at_once = stage in ("handlers", "main file") and not self._ever_ready
        if at_once or self._failures >= _FAILURES_MAX * len(self._members):
            if stage != "main file":
                text = f"worker processes die before they can work; error of the last one: {text}"
            self._error = WorkerStartError(text)
            self._begin_stop("stopped", self._options.shutdown_timeout)

    def _give_back(self, process: Process, *, but: Collection[RunningTask] = ()) -> None:
        """Before a kill: give back, at no cost, what the process holds. ``but`` stays with its session, to be lost with
        it."""
        try:
            self._release(process.worker_id, but)
        except TRANSIENT as error:
            self._warn("claims of worker %s are lost instead of given back: %s", process.worker_id, error)

    def _release(self, worker_id: str, but: Collection[RunningTask]) -> None:
        kept = {key(task.claim) for task in but}
        held = [claim for claim in self._store.list_claims(worker_id) if key(claim) not in kept]
        if held:
            self._store.release_tasks(held)

    def _settle_deaths(self) -> None:
        """Settle the claims of dead processes. If the store is busy, that is tried again later, and the other processes
        are looked after meanwhile."""
        while self._deaths and time.monotonic() >= self._settle_at:
            death = self._deaths[0]
            try:
                self._release(death.worker_id, death.running)
                self._lose(death)
                # Looking for work finds the sessions that are over, and deletes them.
                self._store.find_available_tasks(death.worker_id, 1)
            except TRANSIENT as error:
                self._warn("claims of worker %s, which died, could not be settled yet: %s", death.worker_id, error)
                self._settle_at = time.monotonic() + _SETTLE_EVERY_S
                return
            self._deaths.popleft()

    def _settle_last_deaths(self) -> None:
        until = time.monotonic() + self._patience
        while self._deaths and time.monotonic() < until:
            time.sleep(max(0.0, self._settle_at - time.monotonic()))
            self._settle_deaths()
        for death in self._deaths:
            self._warn("claims of worker %s are left to the next worker that looks for work", death.worker_id)

    def _lose(self, death: Death) -> None:
        """Count what a dead process ran as lost."""
        for claim in self._store.lose_claims([task.claim for task in death.running], death.why):
            with suppress(NotFoundError):
                info = self._store.get_task(claim.instance_id, claim.task_id)
                if info.state is TaskState.FAILED:
                    task = next(task for task in death.running if task.claim is claim)
                    failure = Failure(info.error or death.why, retry=False)
                    self._relay.post(task_log.failed, task, task.seconds(), failure, info)

    # -- stopping

    def _begin_stop(self, reason: Reason, timeout: float | None) -> None:
        if self._reason is None:
            self._reason = reason
        for member in self._members:
            if member.process is None:
                member.over = True
            else:
                member.process.stop(timeout)
                if timeout is not None:
                    member.kill_at = min(member.kill_at, time.monotonic() + timeout + _GRACE_S)

    def _kill_late(self) -> None:
        now = time.monotonic()
        for member in self._members:
            if member.process is not None and now >= member.kill_at:
                pid, worker_id = member.process.pid, member.process.worker_id
                self._warn("worker process %d (%s) did not stop in time", pid, worker_id)
                member.kill_at = math.inf
                self._give_back(member.process)
                member.process.kill()

    def _kill_all(self) -> None:
        """Nothing is left behind, also after an error of ours."""
        left = [member.process for member in self._members if member.process is not None]
        kill(*left)
        for process in left:
            process.reap()
            self._relay.remove(process.logs)

    # -- timeouts

    def _kill_overdue(self) -> None:
        now, timeout = time.monotonic(), self._options.task_timeout
        if timeout is None or now < self._check_timeouts_at:
            return
        self._check_timeouts_at = now + self._check_every
        for process in [
            member.process for member in self._members if member.process is not None and not member.process.killed
        ]:
            overdue = [task for task in process.scoreboard.running() if task.seconds() >= timeout]
            # First the failure, then the kill: the other way round, a worker that looks for work just then would make
            # the attempt a loss.
            unfailed = [task for task in overdue if not self._fail(task)]
            if any(process.scoreboard.started_ns(task.slot) == task.started_ns for task in overdue):
                process.overdue = unfailed
                self._give_back(process, but=unfailed)
                process.kill()

    def _fail(self, task: RunningTask) -> bool:
        """Whether the failure is stored, or the claim gone."""
        failure = Failure(f"timed out after {self._options.task_timeout:g} s")
        try:
            with self._store.transaction(_FAIL_FIRST_S) as tx:
                tx.fail_task(task.claim, failure.error)
                info = tx.get_task(task.instance_id, task.task_id)
        except ClaimLostError:
            return True
        except TRANSIENT as error:
            self._warn("the failure of task %r could not be stored: %s", task.task_id, error)
            return False
        self._failed += 1
        self._relay.post(task_log.failed, task, task.seconds(), failure, info)
        return True
