"""A command that was started for a line: its claim and session, its outputs, and how it ended."""

from __future__ import annotations

import os
import time

from ...model import ClaimedTask
from ...sqlite.sessions.session_file import SUPPORTED, WorkerSession
from .command import describe_end
from .output import Relay, Sink
from .plan import Plan

# Where the kernel can tell whether a command lives, its claim needs no end in time.
TTL_S = None if SUPPORTED else 60.0
# After a command has ended, something that it left behind may keep its output open: no reason to wait for long.
_DRAIN_S = 0.5
_ERROR_LINES = 10
_ERROR_BYTES = 4096
_ENVIRONMENT = dict(os.environb)  # once: reading it costs more than claiming a task


class Running:
    """From the claim to the settling. ``error`` is ``None`` where it ended well."""

    __slots__ = ("_err", "_out", "claim", "drain_until", "error", "line", "may_retry", "pid", "relays", "session")

    def __init__(
        self, pid: int, task: ClaimedTask, session: WorkerSession, out: Relay | None, err: Relay | None
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
        self.drain_until = 0.0

    @classmethod
    def start(
        cls, plan: Plan, task: ClaimedTask, session: WorkerSession, lock_at: int, stdout: Sink, stderr: Sink
    ) -> Running:
        """Start the plan's command for the task's line; it holds the session as its descriptor ``lock_at``.
        Raises as ``Template.start``."""
        environment = {
            **_ENVIRONMENT,
            b"SQLITE_CLAIMS_INSTANCE": task.task.instance_id.encode(),
            b"SQLITE_CLAIMS_TASK": task.task.task_id.encode(),
            b"SQLITE_CLAIMS_ATTEMPT": b"%d" % task.task.attempt,
            b"SQLITE_CLAIMS_TOKEN": b"%d" % task.claim.token,
        }
        ours: list[int] = []
        theirs: list[int] = []
        try:
            for _ in range(2):
                read, write = os.pipe()
                ours.append(read)
                theirs.append(write)
            pid = plan.template.start(
                task.task.input,
                stdout=theirs[0],
                stderr=theirs[1],
                keep=(session.fileno(), lock_at),
                environment=environment,
            )
        except BaseException:
            for descriptor in ours:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        session.lend(pid)
        out = Relay(ours[0], stdout, keep_first=plan.keep_output)
        return cls(pid, task, session, out, Relay(ours[1], stderr, keep_last=_ERROR_BYTES))

    @classmethod
    def unfit(cls, task: ClaimedTask, session: WorkerSession, error: str) -> Running:
        """For a line that no command can be started with: it has ended already, badly and for good."""
        running = cls(0, task, session, None, None)
        running.error = error
        running.may_retry = False
        return running

    def reap(self) -> bool:
        """Whether it has ended; only then, and once."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return False
        if status:
            self.error = describe_end(status)
        self.drain_until = time.monotonic() + _DRAIN_S
        return True

    @property
    def is_read(self) -> bool:
        """Whether all of its output has been passed on."""
        return all(relay.fileno() < 0 for relay in self.relays)

    @property
    def is_written(self) -> bool:
        """Whether all of its output could be written."""
        return all(relay.is_written for relay in self.relays)

    @property
    def failure(self) -> str:
        """``error`` and the last lines of its standard error."""
        if self._err is None:
            return self.error or ""
        last = bytes(self._err.kept[-_ERROR_BYTES:]).decode("utf-8", "backslashreplace")
        return "\n".join([self.error or "", *last.splitlines()[-_ERROR_LINES:]])

    @property
    def output(self) -> bytes:
        """The beginning of its standard output."""
        return b"" if self._out is None else bytes(self._out.kept)

    def abandon(self) -> None:
        """Pass on no more of its output."""
        for relay in self.relays:
            relay.abandon()
