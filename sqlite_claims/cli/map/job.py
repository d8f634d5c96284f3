"""One command that was started for a line, with the task's claim, the worker session, the outputs and the result."""

from __future__ import annotations

import os
import time

from ...model import ClaimedTask
from ...sqlite.sessions.locks import SUPPORTED
from ...sqlite.sessions.owned_locks import SqliteWorkerSession
from .command import describe_end
from .output import Relay, Sink
from .plan import Plan

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

    __slots__ = ("_err", "_out", "claim", "error", "line", "may_retry", "pid", "read_until", "relays", "session")

    def __init__(
        self, pid: int, task: ClaimedTask, session: SqliteWorkerSession, *, out: Relay | None, err: Relay | None
    ) -> None:
        self.pid = pid
        self.line = task.task.input
        self.claim = task.claim
        self.session = session
        self._out = out
        self._err = err
        self.relays = [relay for relay in (out, err) if relay is not None]
        self.error: str | None = None
        self.may_retry = True
        self.read_until = 0.0

    @classmethod
    def start(
        cls,
        plan: Plan,
        task: ClaimedTask,
        session: SqliteWorkerSession,
        *,
        lock_number: int,
        stdout: Sink,
        stderr: Sink,
    ) -> Job:
        """Start the plan's command for the task's line.

        The command inherits the descriptor of the worker session, under the number ``lock_number``. Raises the errors
        of ``Template.start``.
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
        try:
            for _ in range(2):
                read, write = os.pipe()
                read_ends.append(read)
                write_ends.append(write)
            pid = plan.template.start(
                task.task.input,
                stdout=write_ends[0],
                stderr=write_ends[1],
                lock=session.fileno(),
                lock_number=lock_number,
                environment=environment,
            )
        except BaseException:
            for descriptor in read_ends:
                os.close(descriptor)
            raise
        finally:
            for descriptor in write_ends:
                os.close(descriptor)
        session.lend(pid)
        out = Relay(read_ends[0], stdout, keep_first=plan.keep_output)
        return cls(pid, task, session, out=out, err=Relay(read_ends[1], stderr, keep_last=_ERROR_BYTES))

    @classmethod
    def unusable(cls, task: ClaimedTask, session: SqliteWorkerSession, error: str) -> Job:
        """Return a job that has failed permanently, because no command can be started for its line."""
        job = cls(0, task, session, out=None, err=None)
        job.error = error
        job.may_retry = False
        return job

    def reap(self) -> bool:
        """Return whether the command has ended. Do not call this method again after it has returned ``True``."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return False
        if status:
            self.error = describe_end(status)
        self.read_until = time.monotonic() + _READ_AFTER_END_S
        return True

    @property
    def is_read(self) -> bool:
        """True if all output of the command has been passed on."""
        return all(relay.fileno() < 0 for relay in self.relays)

    @property
    def is_written(self) -> bool:
        """True if all output of the command could be written."""
        return all(relay.is_written for relay in self.relays)

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
