"""One command that was started for a line, with the task's claim, the worker session, the outputs and the result."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from ...model import ClaimedTask
from ...sqlite.sessions.locks import SUPPORTED
from ...sqlite.sessions.owned_locks import SqliteWorkerSession
from ..text import format_duration
from .command import describe_end, start_command
from .joblog import joblog_line
from .lines import parse_task_name
from .ordering import HeldOutput
from .output import Relay, Sink, Writable
from .plan import Plan
from .results import Result, result_folder
from .template import UnusableLineError

# The lease of a claim. The claim needs no expiry if the kernel can report that the command has ended.
TTL_S = None if SUPPORTED else 60.0
# A background process of the command may keep the output open. After the command's end, its
# output is read for at most this many seconds.
_READ_AFTER_END_S = 0.5
_ERROR_LINES = 10
_ERROR_BYTES = 4096
_ENVIRONMENT = dict(os.environb)  # copied only once, because a copy takes longer than a claim


class Job:
    """A claimed task and the command that was started for the task. ``error`` is ``None`` unless the command has
    failed."""

    __slots__ = (
        "_err",
        "_held",
        "_out",
        "_plan",
        "_result",
        "_started",
        "_started_at",
        "_status",
        "claim",
        "deadline",
        "ended",
        "error",
        "is_logged",
        "line",
        "may_retry",
        "number",
        "output_error",
        "pid",
        "read_until",
        "relays",
        "session",
        "slot",
        "timed_out",
    )

    def __init__(self, plan: Plan, task: ClaimedTask, session: SqliteWorkerSession, *, number: int, slot: int) -> None:
        """Create a job without a process.

        Args:
            plan: The settings of the run.
            task: The claimed task.
            session: The worker session of the claim.
            number: The number of the line, or 0 if the run has no numbers.
            slot: The job slot, from 1.
        """
        self._plan = plan
        self.pid = 0
        self.line = task.task.input
        self.claim = task.claim
        self.session = session
        self.number = number
        self.slot = slot
        self._out: Relay | None = None
        self._err: Relay | None = None
        self.relays: list[Relay] = []
        self._held: list[HeldOutput] = []
        self._result: Result | None = None
        self._status = 0
        self._started = self.ended = time.monotonic()
        self._started_at = time.time()
        # The monotonic time at which the command has run for as long as the plan allows.
        self.deadline = None if plan.timeout_s is None else self._started + plan.timeout_s
        self.error: str | None = None
        self.output_error: OSError | None = None  # the error of a file that only this job writes
        self.timed_out = False
        self.is_logged = False
        self.may_retry = True
        self.read_until = 0.0

    def start(self, task: ClaimedTask, *, lock_number: int, stdout: Sink, stderr: Sink) -> None:
        """Start the plan's command for the task's line.

        The command inherits the descriptor of the worker session, under the number ``lock_number``. Raises the errors
        of ``start_command``.
        """
        environment = {
            **_ENVIRONMENT,
            b"SQLITE_CLAIMS_INSTANCE": task.task.instance_id.encode(),
            b"SQLITE_CLAIMS_TASK": task.task.task_id.encode(),
            b"SQLITE_CLAIMS_ATTEMPT": b"%d" % task.task.attempt,
            b"SQLITE_CLAIMS_TOKEN": b"%d" % task.claim.token,
        }
        read_ends: list[int] = []
        write_ends: list[int] = []
        self._create_result(task.task.task_id)
        try:
            for _ in range(2):
                read, write = os.pipe()
                read_ends.append(read)
                write_ends.append(write)
            self.pid = start_command(
                self._plan.template,
                self.line,
                number=self.number,
                slot=self.slot,
                stdout=write_ends[0],
                stderr=write_ends[1],
                lock=self.session.fileno(),
                lock_number=lock_number,
                environment=environment,
            )
        except BaseException:
            for descriptor in read_ends:
                os.close(descriptor)
            self._finish_result(durable=False)
            raise
        finally:
            for descriptor in write_ends:
                os.close(descriptor)
        self.session.lend(self.pid)
        sinks: list[Writable] = [stdout, stderr]
        if self._plan.keep_order:
            self._held = [HeldOutput(sink) for sink in sinks]
            sinks = [*self._held]
        tag = self._plan.template.tag(self.line) + b"\t" if self._plan.tag else b""
        copies = (None, None) if self._result is None else (self._result.stdout, self._result.stderr)
        self._out = Relay(read_ends[0], sinks[0], keep_first=self._plan.keep_output, tag=tag, copy=copies[0])
        self._err = Relay(read_ends[1], sinks[1], keep_last=_ERROR_BYTES, tag=tag, copy=copies[1])
        self.relays = [self._out, self._err]

    def _create_result(self, task_id: str) -> None:
        if self._plan.results is None:
            return
        parsed = parse_task_name(task_id)
        ordinal = 1 if parsed is None else parsed.ordinal
        self._result = Result(
            result_folder(self._plan.results, self._plan.template.columns(self.line), ordinal), self.number
        )

    def fail(self, error: str) -> None:
        """Let the job fail permanently, because no command can be started for its line."""
        self.error = error
        self.may_retry = False
        self._status = 127 << 8

    def release_output(self) -> None:
        """Write the output that was held back. Later output is written directly."""
        for held, relay in zip(self._held, self.relays, strict=False):  # without --keep-order, nothing is held
            if not held.release():
                relay.is_written = False
            self.output_error = self.output_error or held.error
        self._held = []

    def finish_files(self) -> None:
        """Sync and close the files of the result. If that fails, the output counts as not written."""
        self._finish_result(durable=self._plan.durable)

    def _finish_result(self, *, durable: bool) -> None:
        if self._result is not None:
            if not self._result.finish(durable=durable):
                self.output_error = self.output_error or self._result.error
            self._result = None

    def joblog_line(self) -> bytes:
        """Return the job's line for the job log."""
        try:
            command = self._plan.template.command_line(self.line, number=self.number, slot=self.slot)
        except UnusableLineError:
            command = self._plan.template.tag(self.line)
        return joblog_line(
            number=self.number,
            started_at=self._started_at,
            runtime_s=self.ended - self._started,
            received=0 if self._out is None else self._out.size,
            status=self._status,
            timed_out=self.timed_out,
            command=command,
        )

    def extend_deadline(self, seconds: float) -> None:
        """Set the deadline to so many seconds from now."""
        self.deadline = time.monotonic() + seconds

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command and all processes of its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def reap(self) -> bool:
        """Return whether the command has ended. Do not call this method again after it has returned ``True``."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return False
        if self.timed_out:
            self.signal(signal.SIGKILL)  # processes that the command has left behind
            self.error = f"timed out after {format_duration(self._plan.timeout_s or 0.0)}"
        elif status:
            self.error = describe_end(status)
        self._status = status
        self.ended = time.monotonic()
        self.read_until = self.ended + _READ_AFTER_END_S
        return True

    @property
    def is_read(self) -> bool:
        """True if all output of the command has been passed on."""
        return all(relay.fileno() < 0 for relay in self.relays)

    @property
    def is_written(self) -> bool:
        """True if all output of the command could be written."""
        return self.output_error is None and all(relay.is_written for relay in self.relays)

    @property
    def error_with_stderr(self) -> str:
        """``error``, followed by the last lines of the command's standard error."""
        if self._err is None:
            return self.error or ""
        last = bytes(self._err.excerpt[-_ERROR_BYTES:]).decode("utf-8", "backslashreplace")
        return "\n".join([self.error or "", *last.splitlines()[-_ERROR_LINES:]])

    @property
    def output(self) -> bytes:
        """The beginning of the command's standard output."""
        return b"" if self._out is None else bytes(self._out.excerpt)

    def abandon(self) -> None:
        """Stop passing on the command's output."""
        for relay in self.relays:
            relay.abandon()
        for held in self._held:
            held.drop()
        for relay in self.relays[: len(self._held)]:
            relay.is_written = False
        self._held = []
        self.finish_files()
