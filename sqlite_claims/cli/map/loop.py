"""The main loop of ``map``: add lines as tasks, start commands, pass on the output of commands, and store results.

The loop follows two rules:

* The result of a command is stored before the next command is started in its place. Therefore a kill at any moment
  makes at most ``jobs`` tasks run twice.
* Each claim has its own worker session, and the command inherits the descriptor of this session. Therefore the claim
  is lost only when both ``map`` and the command have ended.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import time

from ...errors import BackendError, StoreBusyError
from ...model import AvailableTask, ClaimedTask, InstanceState, TaskState
from ...sqlite.sessions.owned_locks import SqliteWorkerSession
from ...sqlite.store import SqliteClaimStore
from ..exit_status import ExitStatus
from ..text import clean_path, plural
from .command import reserve_descriptor
from .feeder import Feeder
from .job import TTL_S, Job
from .lines import LineSource
from .monitor import POLL_S, InstanceMonitor, has_open_tasks
from .numbers import TaskNumbers
from .ordering import Order
from .output import Relay, Sink
from .plan import FAILURES_SHOWN_MAX, Failure, Outcome, Plan, check_instance
from .progress import ProgressDisplay
from .recorder import ResultRecorder
from .signals import Interrupted, Signals
from .template import CannotRunError, UnusableLineError

_RENEWAL_INTERVAL_S = 15.0
_KILL_TIMEOUT_S = 2.0
# A command gets SIGTERM at the timeout, and SIGKILL so much later. GNU parallel waits as long.
_TERM_TO_KILL_S = 0.35
# With --keep-order, at most this many outputs wait for the output of an earlier line.
WAITING_MAX = 1000


class MapLoop:
    """One run of ``map``. A run handles signals, so it must be in the main thread."""

    def __init__(self, store: SqliteClaimStore, plan: Plan, source: LineSource, display: ProgressDisplay) -> None:
        self._store = store
        self._plan = plan
        self._numbers = TaskNumbers(store, plan.instance_id) if plan.needs_numbers else None
        self._order = Order() if plan.keep_order else None
        self._feeder = Feeder(store, plan, source, self._numbers, self._order)
        self._display = display
        self._monitor = InstanceMonitor(store, plan.instance_id, display)
        self._signals = Signals(self._note_interrupt)
        self._selector = selectors.DefaultSelector()
        self._stdout = Sink(1, self._signals, display.hide if os.isatty(1) else None)
        self._stderr = Sink(2, self._signals, display.hide if os.isatty(2) else None)
        self._joblog = Sink(plan.joblog_fd, self._signals) if plan.joblog_fd >= 0 else None
        self._recorder = ResultRecorder(store, plan, (self._stdout, self._stderr), self._joblog, self._order)
        self._worker_id = f"map-{os.getpid()}"

        self._max_jobs = plan.jobs
        self._lock_number = -1
        self._running: dict[int, Job] = {}  # the key is the process id
        self._spare_session: SqliteWorkerSession | None = None
        self._next_claim = self._next_start = 0.0
        self._none_claimable = False
        self._next_feed = 0.0
        self._ended_since_fed = False
        self._next_renewal = time.monotonic() + _RENEWAL_INTERVAL_S

        self._stopping = self._is_halted = False
        self._problem: str | None = None
        self._problem_status = 0

    def run(self) -> Outcome:
        """Run until all tasks have ended or the user stops the run. Raises ``BackendError`` if the run cannot begin."""
        self._prepare()
        self._lock_number = reserve_descriptor()
        with self._signals, self._selector:
            self._selector.register(self._signals.fileno(), selectors.EVENT_READ)
            try:
                while not self._is_over():
                    self._step()
            except Interrupted:
                pass
            finally:
                if self._running or self._recorder.ended:
                    self._kill()
                self._display.hide()
                if self._spare_session is not None:
                    with contextlib.suppress(BackendError):
                        self._spare_session.close()
                os.close(self._lock_number)
        return self._outcome()

    def _prepare(self) -> None:
        name, definition = self._plan.instance_id, self._plan.template.definition_hash
        self._store._add_fed_instance(name, definition_hash=definition)
        check_instance(self._store.get_instance(name), self._plan)
        self._feeder.prepare()

    def _step(self) -> None:
        for key, _events in self._selector.select(self._select_timeout()):
            if isinstance(key.data, Relay):
                self._pump(key.data)
            elif key.fd == self._signals.fileno():
                self._signals.clear()
            else:
                self._feeder.note_readable()
        if self._signals.interrupts >= 2:
            raise Interrupted
        self._end_overdue()
        self._reap()
        try:
            self._store_results()
            self._check_halt()
            self._check_output()
            self._renew()
            if not self._stopping:
                self._feed()
                self._start_jobs()
            self._check_instance()
        except StoreBusyError as error:
            self._display.print_line(f"{error}; retrying")
        except BackendError as error:
            self._note_store_error(error)
        self._monitor.show(
            running=len(self._running),
            ended_here=self._recorder.completed + self._recorder.failed,
            reading=not self._feeder.is_done,
        )

    def _select_timeout(self) -> float:
        now = time.monotonic()
        until = min(now + 1.0, self._monitor.next_show)
        if not self._stopping:
            if self._feeder.has_work:
                until = min(until, self._next_feed)
            if self._has_free_job:
                until = min(until, max(self._next_claim, self._next_start))
        for job in self._recorder.ended:
            if not job.is_read:
                until = min(until, job.read_until)
        if self._plan.timeout_s is not None:
            until = min([until, *(job.deadline for job in self._running.values() if job.deadline is not None)])
        return max(0.0, until - now)

    @property
    def _has_free_job(self) -> bool:
        waiting = len(self._recorder.waiting)
        return len(self._running) + len(self._recorder.ended) - waiting < self._max_jobs and waiting < WAITING_MAX

    @property
    def _free_slot(self) -> int:
        waiting = self._recorder.waiting
        used = {job.slot for job in [*self._running.values(), *self._recorder.ended] if job not in waiting}
        return next(slot for slot in range(1, len(used) + 2) if slot not in used)

    def _is_over(self) -> bool:
        if self._is_halted:
            return True
        if self._running or self._recorder.ended:
            return False
        return self._stopping or (self._feeder.is_done and self._none_claimable and self._monitor.has_ended)

    def _feed(self) -> None:
        """Add some lines as tasks. If commands are short, the loop spends as much time on starting commands as on
        adding lines."""
        began = time.monotonic()
        self._feeder.watch(self._selector)
        if began < self._next_feed or not self._feeder.step():
            return
        self._next_claim = 0.0
        self._monitor.read_soon()
        now = time.monotonic()
        self._next_feed = now + (now - began) if self._ended_since_fed else now
        self._ended_since_fed = False

    # -- commands

    def _start_jobs(self) -> None:
        while self._has_free_job and time.monotonic() >= max(self._next_claim, self._next_start):
            if self._spare_session is None:
                self._spare_session = self._store.open_session(self._worker_id)
            session = self._spare_session
            task = self._claim(session)
            self._none_claimable = task is None
            if task is None:
                self._next_claim = time.monotonic() + POLL_S
                if not self._running and self._feeder.is_done:
                    self._monitor.read_soon()
                return
            self._spare_session = None
            if self._plan.delay_s:
                self._next_start = time.monotonic() + self._plan.delay_s
            if not self._start(task, session):
                return

    def _claim(self, session: SqliteWorkerSession) -> ClaimedTask | None:
        """Claim the next task. With ``--keep-order``, lines that were tried before come first."""
        while self._order is not None and self._order.out_of_turn:
            name = self._order.out_of_turn[0]
            info = self._store.get_task(self._plan.instance_id, name)
            claim = self._store.claim_task(self._plan.instance_id, name, self._worker_id, TTL_S, session=session)
            self._order.out_of_turn.popleft()
            if claim is not None:
                attempt = info.attempts + 1
                task = AvailableTask(
                    info.instance_id, name, info.input, "", info.kind, info.priority, info.tags, attempt
                )
                return ClaimedTask(task, claim)
        claimed = self._store.claim_available_tasks(self._worker_id, 1, TTL_S, kinds=[self._plan.kind], session=session)
        return claimed[0] if claimed else None

    def _start(self, task: ClaimedTask, session: SqliteWorkerSession) -> bool:
        """Start the task's command, and return whether more commands can be started.

        If the line cannot be an argument of a command, only the task of this line fails.
        """
        try:
            number = 0 if self._numbers is None else self._numbers.find(task.task.task_id)
        except BackendError:
            with session:  # if the release fails, the claim ends when the session ends
                self._store.release_task(task.claim)
            raise
        self._recorder.retrying.discard(number)
        job = Job(self._plan, task, session, number=number, slot=self._free_slot)
        try:
            job.start(task, lock_number=self._lock_number, stdout=self._stdout, stderr=self._stderr)
        except UnusableLineError as error:
            job.fail(str(error))
            self._recorder.ended.append(job)
            return True
        except (CannotRunError, OSError) as error:
            with session:  # if the release fails, the claim ends when the session ends
                self._store.release_task(task.claim)
            if isinstance(error, CannotRunError):
                self._stop(str(error), ExitStatus.CANNOT_RUN)
            elif error.filename is not None:
                self._stop(f"cannot write {clean_path(error.filename)}: {error.strerror}", ExitStatus.ERROR)
            elif self._running:
                self._max_jobs = len(self._running)
                self._display.print_line(
                    f"{error.strerror}: continuing with {plural(self._max_jobs, 'command')} at a time"
                )
            else:
                self._stop(f"cannot run a command: {error.strerror}", ExitStatus.ERROR)
            return False
        self._running[job.pid] = job
        for relay in job.relays:
            self._selector.register(relay.fileno(), selectors.EVENT_READ, relay)
        return True

    def _pump(self, relay: Relay) -> None:
        relay.pump()
        if relay.at_end:
            self._close(relay)

    def _close(self, relay: Relay) -> None:
        self._selector.unregister(relay.fileno())
        relay.close()

    def _end_overdue(self) -> None:
        """Send SIGTERM to commands that have reached the timeout, and SIGKILL to those that don't end then."""
        now = time.monotonic()
        for job in self._running.values():
            if job.deadline is not None and now >= job.deadline:
                job.signal(signal.SIGKILL if job.timed_out else signal.SIGTERM)
                job.extend_deadline(60.0 if job.timed_out else _TERM_TO_KILL_S)
                job.timed_out = True

    def _reap(self) -> None:
        if self._signals.child_ended:
            self._signals.child_ended = False
            for job in list(self._running.values()):
                if job.reap():
                    del self._running[job.pid]
                    self._recorder.ended.append(job)
                    self._ended_since_fed = True
        now = time.monotonic()
        for job in self._recorder.ended:
            for relay in job.relays:
                if relay.fileno() >= 0:
                    relay.drain()
                    if relay.at_end or now >= job.read_until:
                        self._close(relay)

    # -- results

    def _store_results(self) -> None:
        """Store the results of jobs that have ended and whose output has been written."""
        self._advance_order()
        while self._recorder.store():
            self._next_claim = 0.0
            if self._recorder.retrying:
                self._monitor.read_soon()
            self._advance_order()

    def _advance_order(self) -> None:
        """Let the job whose turn has come write its output directly.

        A line that is not started by this process in time does not hold back the others: another process may have
        claimed its task.
        """
        if self._order is None:
            return
        jobs = [*self._running.values(), *self._recorder.ended]
        waiting = len(self._recorder.waiting)
        if not self._monitor.may_have_scheduled:  # another process has claimed the tasks that were to be retried here
            self._recorder.retrying.clear()
        cannot_start = self._none_claimable or self._stopping or waiting >= WAITING_MAX
        if cannot_start and waiting and not any(self._order.has_turn(job.number) for job in jobs):
            self._order.skip_to({job.number for job in jobs} | self._recorder.retrying)
        for job in jobs:
            if self._order.has_turn(job.number):
                job.release_output()

    def _check_halt(self) -> None:
        halt = self._plan.halt
        if halt is not None and self._recorder.failed >= halt.failures and not self._stopping:
            self._stop(f"halted after {plural(self._recorder.failed, 'failed line')} ({halt})", ExitStatus.FAILED)
            self._is_halted = halt.when == "now"

    def _renew(self) -> None:
        """Renew the claims on systems where claims expire, because the kernel cannot report the end of a command."""
        now = time.monotonic()
        if TTL_S is not None and now >= self._next_renewal:
            self._next_renewal = now + _RENEWAL_INTERVAL_S
            self._store.renew_task_claims([job.claim for job in self._running.values()], TTL_S)

    # -- the end

    def _note_interrupt(self) -> None:
        self._stopping = True
        # The message is printed even if no running command is known, because a command may have been started just now.
        self._display.print_line("interrupted: running commands may finish; interrupt again to kill them")

    def _stop(self, problem: str | None, status: int) -> None:
        """Start no more commands. Only the first problem of a run is reported."""
        if not self._problem_status:
            self._problem, self._problem_status = problem, status
        self._stopping = True

    def _note_store_error(self, error: BackendError) -> None:
        """Stop the run, because the process cannot write to the store.

        Running commands may finish, and the loop tries to store their results. If an earlier problem has already
        stopped the run, the results of ended commands are dropped.
        """
        if self._problem_status:
            self._recorder.drop()
        self._stop(str(error), ExitStatus.ERROR)

    def _check_output(self) -> None:
        for name, sink in (("output", self._stdout), ("error", self._stderr)):
            if sink.error is None or self._stopping:
                continue
            if sink.error.errno in (errno.EPIPE, errno.EIO):
                self._stop(None, ExitStatus.BROKEN_PIPE)
            else:
                self._stop(f"cannot write to standard {name}: {sink.error.strerror}", ExitStatus.ERROR)
        error = self._recorder.output_error
        if self._joblog is not None and self._joblog.error is not None:
            self._stop(f"cannot write the job log: {self._joblog.error.strerror}", ExitStatus.ERROR)
        elif error is not None:
            name = "an output to a temporary file" if error.filename is None else clean_path(error.filename)
            self._stop(f"cannot write {name}: {error.strerror}", ExitStatus.ERROR)

    def _check_instance(self) -> None:
        """If the instance was cancelled, stop the run and end the running commands."""
        info = self._monitor.poll()
        if info is not None and info.state is InstanceState.CANCELLED and not self._stopping:
            self._stop(f"the instance was cancelled: {info.reason or 'no reason was given'}", ExitStatus.FAILED)
            self._signal_jobs(signal.SIGTERM)

    def _signal_jobs(self, number: signal.Signals) -> None:
        for job in self._running.values():
            job.signal(number)

    def _kill(self) -> None:
        """Kill the running commands, and release their tasks. If a command does not die, its task stays
        claimed."""
        killed = self._recorder.waiting
        for job in [*self._running.values(), *self._recorder.ended]:
            job.abandon()
        if self._is_halted:
            self._signal_jobs(signal.SIGTERM)
            killed += self._reap_until(time.monotonic() + _TERM_TO_KILL_S)
        self._signal_jobs(signal.SIGKILL)
        killed += self._reap_until(time.monotonic() + _KILL_TIMEOUT_S)
        with contextlib.suppress(BackendError):
            self._store.release_tasks([job.claim for job in killed])
            for job in killed:
                job.session.close()
                if job in self._recorder.ended:
                    self._recorder.ended.remove(job)
            self._store_results()

    def _reap_until(self, deadline: float) -> list[Job]:
        """Wait until all running commands have ended, or until the deadline. Return the jobs that have ended."""
        reaped: list[Job] = []
        while self._running and time.monotonic() < deadline:
            dead = [job for job in self._running.values() if job.reap()]
            reaped += dead
            for job in dead:
                del self._running[job.pid]
            if self._running:
                time.sleep(0.005)
        return reaped

    def _outcome(self) -> Outcome:
        status, problem = self._problem_status, self._problem
        if self._signals.interrupts:
            status, problem = ExitStatus.INTERRUPTED, "interrupted: run the same command again to resume"
        elif status == ExitStatus.BROKEN_PIPE and not self._recorder.unwritten and not self._is_open():
            status = ExitStatus.DONE
        if not status and (self._recorder.failed or self._failed_elsewhere()):
            status = ExitStatus.FAILED
        return Outcome(
            status=status,
            problem=problem,
            completed=self._recorder.completed,
            failed=self._recorder.failed,
            lost=self._recorder.lost,
            unwritten=self._recorder.unwritten,
            done_before=self._feeder.done_before,
            began_empty=self._stdout.began_empty,
            failures=tuple(self._recorder.failures),
        )

    def _is_open(self) -> bool:
        return not self._feeder.is_done or has_open_tasks(self._store.get_instance(self._plan.instance_id))

    def _failed_elsewhere(self) -> bool:
        """Return whether a line of this run's input failed in a different run. Lines of earlier inputs do not count."""
        instance_id = self._plan.instance_id
        if not self._store.get_instance(instance_id).counts[TaskState.FAILED]:
            return False
        for task in self._store.list_tasks(instance_id, states=[TaskState.FAILED]):
            if self._feeder.includes(task.task_id):
                self._recorder.failures.append(Failure(task.input, task.error or ""))
                if len(self._recorder.failures) == FAILURES_SHOWN_MAX:
                    break
        return bool(self._recorder.failures)
