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

from ...errors import BackendError, ClaimLostError, InvalidStateError, StoreBusyError
from ...model import ClaimedTask, InstanceState, TaskState
from ...sqlite.sessions.owned_locks import SqliteWorkerSession
from ...sqlite.store import SqliteClaimStore
from ..exit_status import ExitStatus
from ..text import plural
from .command import CannotRunError, UnusableLineError, reserve_descriptor
from .feeder import Feeder
from .job import TTL_S, Job
from .lines import LineSource
from .monitor import POLL_S, InstanceMonitor, has_open_tasks
from .output import Relay, Sink
from .plan import FAILURES_SHOWN_MAX, Failure, Outcome, Plan
from .progress import ProgressDisplay
from .signals import Interrupted, Signals

_RENEWAL_INTERVAL_S = 15.0
_KILL_TIMEOUT_S = 2.0


class MapLoop:
    """One run of ``map``. A run handles signals, so it must be in the main thread."""

    def __init__(self, store: SqliteClaimStore, plan: Plan, source: LineSource, display: ProgressDisplay) -> None:
        self._store = store
        self._plan = plan
        self._feeder = Feeder(store, plan, source)
        self._display = display
        self._monitor = InstanceMonitor(store, plan.instance_id, display)
        self._signals = Signals(self._note_interrupt)
        self._selector = selectors.DefaultSelector()
        self._stdout = Sink(1, self._signals, display.hide if os.isatty(1) else None)
        self._stderr = Sink(2, self._signals, display.hide if os.isatty(2) else None)
        self._worker_id = f"map-{os.getpid()}"

        self._max_jobs = plan.jobs
        self._lock_number = -1
        self._running: dict[int, Job] = {}  # the key is the process id
        self._ended: list[Job] = []  # jobs whose results are not stored yet
        self._spare_session: SqliteWorkerSession | None = None
        self._next_claim = 0.0
        self._none_claimable = False
        self._next_feed = 0.0
        self._ended_since_fed = False
        self._next_renewal = time.monotonic() + _RENEWAL_INTERVAL_S

        self._stopping = False
        self._problem: str | None = None
        self._problem_status = 0
        self._completed = self._failed = self._lost = self._unwritten = 0
        self._failures: list[Failure] = []

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
                if self._running or self._ended:
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
        info = self._store.get_instance(name)
        if info.definition_hash != definition:
            other = info.definition_hash.partition(" ")[2]
            raise InvalidStateError(
                f"instance {name!r} belongs to another command ({other}); choose another --instance"
            )
        if info.state is InstanceState.CANCELLED:
            raise InvalidStateError(f"instance {name!r} was cancelled; choose another --instance to start again")
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
        self._reap()
        try:
            self._store_results()
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
            ended_here=self._completed + self._failed,
            reading=not self._feeder.is_done,
        )

    def _select_timeout(self) -> float:
        now = time.monotonic()
        until = min(now + 1.0, self._monitor.next_show)
        if not self._stopping:
            if self._feeder.has_work:
                until = min(until, self._next_feed)
            if self._has_free_job:
                until = min(until, self._next_claim)
        for job in self._ended:
            until = min(until, job.read_until)
        return max(0.0, until - now)

    @property
    def _has_free_job(self) -> bool:
        return len(self._running) + len(self._ended) < self._max_jobs

    def _is_over(self) -> bool:
        if self._running or self._ended:
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
        if time.monotonic() < self._next_claim:
            return
        while self._has_free_job:
            if self._spare_session is None:
                self._spare_session = self._store.open_session(self._worker_id)
            session = self._spare_session
            claimed = self._store.claim_available_tasks(
                self._worker_id, 1, TTL_S, kinds=[self._plan.kind], session=session
            )
            self._none_claimable = not claimed
            if not claimed:
                self._next_claim = time.monotonic() + POLL_S
                if not self._running and self._feeder.is_done:
                    self._monitor.read_soon()
                return
            self._spare_session = None
            if not self._start(claimed[0], session):
                return

    def _start(self, task: ClaimedTask, session: SqliteWorkerSession) -> bool:
        """Start the task's command, and return whether more commands can be started.

        If the line cannot be an argument of a command, only the task of this line fails.
        """
        try:
            job = Job.start(
                self._plan,
                task,
                session,
                lock_number=self._lock_number,
                stdout=self._stdout,
                stderr=self._stderr,
            )
        except UnusableLineError as error:
            self._ended.append(Job.unusable(task, session, str(error)))
            return True
        except (CannotRunError, OSError) as error:
            with session:  # if the release fails, the claim ends when the session ends
                self._store.release_task(task.claim)
            if isinstance(error, CannotRunError):
                self._stop(str(error), ExitStatus.CANNOT_RUN)
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

    def _reap(self) -> None:
        if self._signals.child_ended:
            self._signals.child_ended = False
            for job in list(self._running.values()):
                if job.reap():
                    del self._running[job.pid]
                    self._ended.append(job)
                    self._ended_since_fed = True
        now = time.monotonic()
        for job in self._ended:
            for relay in job.relays:
                if relay.fileno() >= 0:
                    relay.drain()
                    if relay.at_end or now >= job.read_until:
                        self._close(relay)

    # -- results

    def _store_results(self) -> None:
        """Store the results of jobs that have ended and whose output has been read."""
        jobs = [job for job in self._ended if job.is_read]
        if not jobs:
            return
        is_synced = not self._plan.durable or (self._stdout.sync() and self._stderr.sync())
        unwritten = [job for job in jobs if job.error is None and not (is_synced and job.is_written)]
        successful = [job for job in jobs if job.error is None and job not in unwritten]
        if successful:
            done, lost = self._store.complete_tasks([(job.claim, job.output) for job in successful])
            self._completed += len(done)
            self._lost += len(lost)
            self._remove(successful)
        if unwritten:
            self._store.release_tasks([job.claim for job in unwritten])
            self._unwritten += len(unwritten)
            self._remove(unwritten)
        for job in jobs:
            if job.error is not None:
                self._fail(job)
                self._unwritten += not job.is_written
                self._remove([job])
        self._next_claim = 0.0

    def _fail(self, job: Job) -> None:
        claim, error, retry = job.claim, job.error_with_stderr, False
        if job.may_retry and self._plan.retries:
            retry = self._store.get_task(claim.instance_id, claim.task_id).failures < self._plan.retries
        try:
            self._store.fail_task(claim, error, retry=retry)
        except ClaimLostError:
            self._lost += 1
            return
        if not retry:
            self._failed += 1
            if len(self._failures) < FAILURES_SHOWN_MAX:
                self._failures.append(Failure(job.line, error))

    def _remove(self, stored: list[Job]) -> None:
        for job in stored:
            self._ended.remove(job)
        for job in stored:
            job.session.close()

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
            for job in [job for job in self._ended if job.is_read]:
                self._ended.remove(job)
                with contextlib.suppress(BackendError):
                    job.session.close()
        self._stop(str(error), ExitStatus.ERROR)

    def _check_output(self) -> None:
        for name, sink in (("output", self._stdout), ("error", self._stderr)):
            if sink.error is None or self._stopping:
                continue
            if sink.error.errno in (errno.EPIPE, errno.EIO):
                self._stop(None, ExitStatus.BROKEN_PIPE)
            else:
                self._stop(f"cannot write to standard {name}: {sink.error.strerror}", ExitStatus.ERROR)

    def _check_instance(self) -> None:
        """If the instance was cancelled, stop the run and end the running commands."""
        info = self._monitor.poll()
        if info is not None and info.state is InstanceState.CANCELLED and not self._stopping:
            self._stop(f"the instance was cancelled: {info.reason or 'no reason was given'}", ExitStatus.FAILED)
            self._signal_jobs(signal.SIGTERM)

    def _signal_jobs(self, number: signal.Signals) -> None:
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def _kill(self) -> None:
        """Kill the running commands, and release their tasks. If a command does not die, its task stays
        claimed."""
        for job in [*self._running.values(), *self._ended]:
            job.abandon()
        self._signal_jobs(signal.SIGKILL)
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        killed: list[Job] = []
        while self._running and time.monotonic() < deadline:
            dead = [job for job in self._running.values() if job.reap()]
            killed += dead
            for job in dead:
                del self._running[job.pid]
            if self._running:
                time.sleep(0.005)
        with contextlib.suppress(BackendError):
            self._store.release_tasks([job.claim for job in killed])
            for job in killed:
                job.session.close()
            self._store_results()

    def _outcome(self) -> Outcome:
        status, problem = self._problem_status, self._problem
        if self._signals.interrupts:
            status, problem = ExitStatus.INTERRUPTED, "interrupted: run the same command again to resume"
        elif status == ExitStatus.BROKEN_PIPE and not self._unwritten and not self._is_open():
            status = ExitStatus.DONE
        if not status and (self._failed or self._failed_elsewhere()):
            status = ExitStatus.FAILED
        return Outcome(
            status=status,
            problem=problem,
            completed=self._completed,
            failed=self._failed,
            lost=self._lost,
            unwritten=self._unwritten,
            done_before=self._feeder.done_before,
            began_empty=self._stdout.began_empty,
            failures=tuple(self._failures),
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
                self._failures.append(Failure(task.input, task.error or ""))
                if len(self._failures) == FAILURES_SHOWN_MAX:
                    break
        return bool(self._failures)
