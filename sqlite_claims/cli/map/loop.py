"""The loop of ``map``: feed lines, start commands, pass their output on, settle what has ended.

Two rules hold it together. A slot is settled before it is filled again, so that a kill at any moment makes no more
tasks run twice than there are slots. And each claim is bound to a session whose descriptor its command holds, so that
it ends when both this process and the command have.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import time

from ...errors import BackendError, ClaimLostError, InvalidStateError, StoreBusyError
from ...model import ClaimedTask, InstanceInfo, InstanceState, TaskState
from ...sqlite.sessions.session_file import WorkerSession
from ...store import SqliteClaimStore
from .command import CannotRunError, LineUnfitError, reserve_descriptor
from .feeder import Feeder
from .job import TTL_S, Running
from .lines import LineSource
from .output import Relay, Sink
from .plan import FAILURES_SHOWN_MAX, Failure, Outcome, Plan
from .progress import Progress, Standing
from .signals import Interrupted, Signals

_POLL_S = 0.15
_RENEW_S = 15.0
_KILL_S = 2.0
_ASK_S = 5.0
_BROKEN_PIPE = 128 + signal.SIGPIPE  # the status of a program that this ends
_OPEN = (TaskState.BLOCKED, TaskState.SCHEDULED, TaskState.READY, TaskState.CLAIMED)


class MapRun:
    """One run of ``map``. Only in the main thread, since it handles signals."""

    def __init__(self, store: SqliteClaimStore, plan: Plan, source: LineSource, progress: Progress) -> None:
        self._store = store
        self._plan = plan
        self._feeder = Feeder(store, plan, source)
        self._progress = progress
        self._signals = Signals(self._note_interrupt)
        self._selector = selectors.DefaultSelector()
        self._stdout = Sink(1, self._signals, progress.hide if os.isatty(1) else None)
        self._stderr = Sink(2, self._signals, progress.hide if os.isatty(2) else None)
        self._worker_id = f"map-{os.getpid()}"

        self._slots = plan.jobs
        self._lock_at = -1
        self._running: dict[int, Running] = {}
        self._ended: list[Running] = []  # not settled yet
        self._spare: WorkerSession | None = None
        self._look_again = 0.0  # when to look for tasks once more, after none was found
        self._nothing_found = False
        self._feed_again = 0.0
        self._ended_since_fed = False

        self._stopping = False
        self._problem: str | None = None
        self._status = 0  # what a problem makes of it
        self._completed = self._failed = self._lost = self._unwritten = 0
        self._failures: list[Failure] = []

        self._info: InstanceInfo | None = None
        now = time.monotonic()
        self._next_count = 0.0
        self._next_show = now + progress.interval
        self._next_ask = 0.0
        self._others = ""
        self._next_renewal = now + _RENEW_S

    def run(self) -> Outcome:
        """Run until all is done or the user stops it. Raises ``BackendError`` where it can't even begin."""
        self._prepare()
        self._lock_at = reserve_descriptor()
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
                self._progress.hide()
                if self._spare is not None:
                    with contextlib.suppress(BackendError):
                        self._spare.close()
                os.close(self._lock_at)
        return self._outcome()

    def _prepare(self) -> None:
        name, definition = self._plan.instance_id, self._plan.template.definition_hash
        self._store._add_fed_instance(name, definition_hash=definition)
        info = self._store.get_instance(name)
        if info.definition_hash != definition:
            other = info.definition_hash.partition(" ")[2]
            raise InvalidStateError(f"instance {name!r} is another command's ({other}): give another --name")
        if info.state is InstanceState.CANCELLED:
            raise InvalidStateError(f"instance {name!r} was cancelled: give another --name to start anew")
        self._feeder.prepare()

    def _step(self) -> None:
        for key, _events in self._selector.select(self._timeout()):
            if isinstance(key.data, Relay):
                self._pump(key.data)
            elif key.fd == self._signals.fileno():
                self._signals.clear()
            else:
                self._feeder.note_ready()
        if self._signals.interrupts >= 2:
            raise Interrupted
        self._reap()
        try:
            self._settle()
            self._check_output()
            self._renew()
            if not self._stopping:
                self._feed()
                self._fill_slots()
            self._count()
        except StoreBusyError as error:
            self._progress.say(f"{error}; trying again")
        except BackendError as error:
            self._give_up(error)
        self._show()

    def _timeout(self) -> float:
        now = time.monotonic()
        until = min(now + 1.0, self._next_show)
        if not self._stopping:
            if self._feeder.has_work:
                until = min(until, self._feed_again)
            if len(self._running) + len(self._ended) < self._slots:
                until = min(until, self._look_again)
        for running in self._ended:
            until = min(until, running.drain_until)
        return max(0.0, until - now)

    def _is_over(self) -> bool:
        if self._running or self._ended:
            return False
        if self._stopping:
            return True
        if not self._feeder.is_done or not self._nothing_found or self._info is None:
            return False
        return not any(self._info.counts[state] for state in _OPEN)

    def _feed(self) -> None:
        """Add some lines. Where commands are short, they get as much time as this does."""
        began = time.monotonic()
        self._feeder.watch(self._selector)
        if began < self._feed_again or not self._feeder.step():
            return
        self._look_again = self._next_count = 0.0
        now = time.monotonic()
        self._feed_again = now + (now - began) if self._ended_since_fed else now
        self._ended_since_fed = False

    # -- commands

    def _fill_slots(self) -> None:
        if time.monotonic() < self._look_again:
            return
        while len(self._running) + len(self._ended) < self._slots:
            if self._spare is None:
                self._spare = self._store.open_session(self._worker_id)
            session = self._spare
            found = self._store.claim_available_tasks(
                self._worker_id, 1, TTL_S, kinds=[self._plan.kind], session=session
            )
            self._nothing_found = not found
            if not found:
                self._look_again = time.monotonic() + _POLL_S
                if not self._running and self._feeder.is_done:
                    self._next_count = 0.0
                return
            self._spare = None
            if not self._start(found[0], session):
                return

    def _start(self, task: ClaimedTask, session: WorkerSession) -> bool:
        """Whether commands can be started: a line that is unfit for one fails alone."""
        try:
            running = Running.start(self._plan, task, session, self._lock_at, self._stdout, self._stderr)
        except LineUnfitError as error:
            self._ended.append(Running.unfit(task, session, str(error)))
            return True
        except (CannotRunError, OSError) as error:
            with session:  # should the release fail, the claim ends with the session
                self._store.release_task(task.claim)
            if isinstance(error, CannotRunError):
                self._stop(str(error), 127)
            elif self._running:
                self._slots = len(self._running)
                self._progress.say(f"{error.strerror}: going on with {self._slots} commands at a time")
            else:
                self._stop(f"cannot run a command: {error.strerror}", 2)
            return False
        self._running[running.pid] = running
        for relay in running.relays:
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
            for running in list(self._running.values()):
                if running.reap():
                    del self._running[running.pid]
                    self._ended.append(running)
                    self._ended_since_fed = True
        now = time.monotonic()
        for running in self._ended:
            for relay in running.relays:
                if relay.fileno() >= 0:
                    relay.drain()
                    if relay.at_end or now >= running.drain_until:
                        self._close(relay)

    # -- settling

    def _settle(self) -> None:
        """Store what has ended and been read."""
        over = [running for running in self._ended if running.is_read]
        if not over:
            return
        is_synced = not self._plan.durable or (self._stdout.sync() and self._stderr.sync())
        unwritten = [running for running in over if running.error is None and not (is_synced and running.is_written)]
        good = [running for running in over if running.error is None and running not in unwritten]
        if good:
            done, lost = self._store.complete_tasks([(running.claim, running.output) for running in good])
            self._completed += len(done)
            self._lost += len(lost)
            self._forget(good)
        if unwritten:
            self._store.release_tasks([running.claim for running in unwritten])
            self._unwritten += len(unwritten)
            self._forget(unwritten)
        for running in over:
            if running.error is not None:
                self._fail(running)
                self._unwritten += not running.is_written
                self._forget([running])
        self._look_again = 0.0

    def _fail(self, running: Running) -> None:
        claim, error, retry = running.claim, running.failure, False
        if running.may_retry and self._plan.retries:
            retry = self._store.get_task(claim.instance_id, claim.task_id).failures < self._plan.retries
        try:
            self._store.fail_task(claim, error, retry=retry)
        except ClaimLostError:
            self._lost += 1
            return
        if not retry:
            self._failed += 1
            if len(self._failures) < FAILURES_SHOWN_MAX:
                self._failures.append(Failure(running.line, error))

    def _forget(self, settled: list[Running]) -> None:
        for running in settled:
            self._ended.remove(running)
        for running in settled:
            running.session.close()

    def _renew(self) -> None:
        """Where the kernel can't tell whether a command lives, claims end by time."""
        now = time.monotonic()
        if TTL_S is not None and now >= self._next_renewal:
            self._next_renewal = now + _RENEW_S
            self._store.renew_task_claims([running.claim for running in self._running.values()], TTL_S)

    # -- the end

    def _note_interrupt(self) -> None:
        self._stopping = True
        # Said whatever is known of what runs: a command may have been started just now.
        self._progress.say("interrupted: running commands may finish; interrupt again to kill them")

    def _stop(self, problem: str | None, status: int) -> None:
        """Start nothing more. The first problem counts."""
        if not self._status:
            self._problem, self._status = problem, status
        self._stopping = True

    def _give_up(self, error: BackendError) -> None:
        """The store is no longer to be written. What runs may finish, and be stored if that is possible by then."""
        if self._status:
            for running in [running for running in self._ended if running.is_read]:
                self._ended.remove(running)
                with contextlib.suppress(BackendError):
                    running.session.close()
        self._stop(str(error), 2)

    def _check_output(self) -> None:
        for name, sink in (("output", self._stdout), ("error", self._stderr)):
            if sink.error is None or self._stopping:
                continue
            if sink.error.errno in (errno.EPIPE, errno.EIO):
                self._stop(None, _BROKEN_PIPE)
            else:
                self._stop(f"cannot write to standard {name}: {sink.error.strerror}", 2)

    def _kill(self) -> None:
        """Kill what runs and give its tasks back. A task whose command would not die stays that command's."""
        for running in [*self._running.values(), *self._ended]:
            running.abandon()
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        until = time.monotonic() + _KILL_S
        killed: list[Running] = []
        while self._running and time.monotonic() < until:
            dead = [running for running in self._running.values() if running.reap()]
            killed += dead
            for running in dead:
                del self._running[running.pid]
            if self._running:
                time.sleep(0.005)
        with contextlib.suppress(BackendError):
            self._store.release_tasks([running.claim for running in killed])
            for running in killed:
                running.session.close()
            self._settle()

    def _count(self) -> None:
        began = time.monotonic()
        if began < self._next_count:
            return
        self._info = self._store.get_instance(self._plan.instance_id)
        took = time.monotonic() - began
        self._next_count = began + max(_POLL_S, 20 * took)
        if self._info.state is InstanceState.CANCELLED and not self._stopping:
            self._stop(f"cancelled: {self._info.reason or 'no reason was given'}", 1)
            for pid in self._running:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGTERM)

    def _show(self) -> None:
        now = time.monotonic()
        if self._info is None or now < self._next_show:
            return
        self._next_show = now + self._progress.interval
        counts = self._info.counts
        note = ""
        if self._info.state is InstanceState.PAUSED:
            note = "paused"
        elif not self._running and counts[TaskState.CLAIMED]:
            note = f"waiting for {counts[TaskState.CLAIMED]} that others run{self._told_of_others()}"
        elif not self._running and counts[TaskState.SCHEDULED]:
            note = f"waiting to retry {counts[TaskState.SCHEDULED]}"
        self._progress.show(
            Standing(
                total=sum(counts.values()),
                completed=counts[TaskState.COMPLETED],
                failed=counts[TaskState.FAILED],
                running=len(self._running),
                ended_here=self._completed + self._failed,
                reading=not self._feeder.is_done,
                note=note,
            )
        )

    def _told_of_others(self) -> str:
        """Why one of the tasks that others hold is not running here, asked anew every few seconds."""
        now = time.monotonic()
        if now >= self._next_ask:
            self._next_ask = now + _ASK_S
            self._others = ""
            with contextlib.suppress(BackendError):
                for task in self._store.list_tasks(self._plan.instance_id, states=[TaskState.CLAIMED], limit=1):
                    self._others = f": {self._store.explain_task(task.instance_id, task.task_id)}"
        return self._others

    def _outcome(self) -> Outcome:
        status, problem = self._status, self._problem
        if self._signals.interrupts:
            status, problem = 130, "interrupted: the same command goes on from here"
        elif status == _BROKEN_PIPE and not self._unwritten and not self._is_open():
            status = 0
        if not status and (self._failed or self._others_failed()):
            status = 1
        return Outcome(
            status,
            problem,
            self._completed,
            self._failed,
            self._lost,
            self._unwritten,
            self._feeder.done_before,
            self._stdout.began_empty,
            tuple(self._failures),
        )

    def _is_open(self) -> bool:
        counts = self._store.get_instance(self._plan.instance_id).counts
        return not self._feeder.is_done or any(counts[state] for state in _OPEN)

    def _others_failed(self) -> bool:
        """Whether a line of ours failed in another run meanwhile. Lines of earlier inputs don't count."""
        instance_id = self._plan.instance_id
        if not self._store.get_instance(instance_id).counts[TaskState.FAILED]:
            return False
        for task in self._store.list_tasks(instance_id, states=[TaskState.FAILED]):
            if self._feeder.has_given(task.task_id):
                self._failures.append(Failure(task.input, task.error or ""))
                if len(self._failures) == FAILURES_SHOWN_MAX:
                    break
        return bool(self._failures)
