"""Stores the results of commands that have ended, once their output has been written."""

from __future__ import annotations

import contextlib

from ...errors import BackendError, ClaimLostError
from ...sqlite.store import SqliteClaimStore
from .job import Job
from .joblog import HEADER
from .ordering import Order
from .output import Sink
from .plan import FAILURES_SHOWN_MAX, Failure, Plan


class ResultRecorder:
    """The results of one run, and the jobs whose results are not stored yet."""

    def __init__(
        self, store: SqliteClaimStore, plan: Plan, sinks: tuple[Sink, ...], joblog: Sink | None, order: Order | None
    ) -> None:
        """Create a recorder.

        Args:
            store: The store with the tasks.
            plan: The settings of the run.
            sinks: The sinks of the commands' output.
            joblog: The sink of the job log.
            order: The order of the outputs. ``None``: in any order.
        """
        self._store = store
        self._plan = plan
        self._sinks = sinks
        self._joblog = joblog
        self._order = order
        self.ended: list[Job] = []  # jobs whose results are not stored yet
        self.retrying: set[int] = set()  # numbers of lines that wait for a retry in this run
        self.completed = self.failed = self.lost = self.unwritten = 0
        self.failures: list[Failure] = []
        self.output_error: OSError | None = None
        if joblog is not None and joblog.began_empty:
            joblog.write(HEADER)

    def has_turn(self, job: Job) -> bool:
        """Return whether the output of the job may be written now."""
        return self._order is None or self._order.has_turn(job.number)

    @property
    def waiting(self) -> list[Job]:
        """The jobs that are complete except that the outputs of earlier lines come first."""
        return [] if self._order is None else [job for job in self.ended if job.is_read and not self.has_turn(job)]

    def store(self) -> bool:
        """Store the results of jobs that have ended and whose output has been read. Return whether there were any."""
        jobs = [job for job in self.ended if job.is_read and self.has_turn(job)]
        if not jobs:
            return False
        for job in jobs:
            job.release_output()
            job.finish_files()
            self.output_error = self.output_error or job.output_error
        is_synced = self._sync()
        unwritten = [job for job in jobs if job.error is None and not (is_synced and job.is_written)]
        successful = [job for job in jobs if job.error is None and job not in unwritten]
        if not self._log(successful):
            unwritten, successful = unwritten + successful, []
        if successful:
            done, lost = self._store.complete_tasks([(job.claim, job.output) for job in successful])
            self.completed += len(done)
            self.lost += len(lost)
            self._remove(successful)
        if unwritten:
            self._store.release_tasks([job.claim for job in unwritten])
            self.unwritten += len(unwritten)
            self._remove(unwritten)
        for job in jobs:
            if job.error is not None:
                will_retry = self._fail(job)
                self.unwritten += not job.is_written
                self._remove([job], will_retry=will_retry)
        return True

    def _sync(self) -> bool:
        are_synced = [sink.sync() for sink in self._sinks if self._plan.durable]
        return all(are_synced)

    def _log(self, jobs: list[Job]) -> bool:
        """Write the jobs' lines to the job log, and return whether that succeeded."""
        lines = b"".join(job.joblog_line() for job in jobs if not job.is_logged) if self._joblog is not None else b""
        if self._joblog is None or not lines:
            return True
        if not self._joblog.write(lines) or (self._plan.durable and not self._joblog.sync()):
            return False
        for job in jobs:
            job.is_logged = True
        return True

    def _fail(self, job: Job) -> bool:
        """Store the failure of a job, and return whether the line is tried again in this run."""
        claim, error, retry = job.claim, job.error_with_stderr, False
        if job.may_retry and self._plan.retries:
            retry = self._store.get_task(claim.instance_id, claim.task_id).failures < self._plan.retries
        if not retry:
            self._log([job])
        try:
            self._store.fail_task(claim, error, retry=retry)
        except ClaimLostError:
            self.lost += 1
            return False
        if retry:
            self.retrying.add(job.number)
        else:
            self.failed += 1
            if len(self.failures) < FAILURES_SHOWN_MAX:
                # The command's standard error has been printed already.
                self.failures.append(Failure(job.line, job.error or ""))
        return retry

    def _remove(self, stored: list[Job], *, will_retry: bool = False) -> None:
        for job in stored:
            self.ended.remove(job)
            if self._order is not None and not will_retry:
                self._order.settle(job.number)
        for job in stored:
            job.session.close()

    def drop(self) -> None:
        """Drop the results of jobs that have ended, because the store cannot be written."""
        for job in [job for job in self.ended if job.is_read]:
            self.ended.remove(job)
            with contextlib.suppress(BackendError):
                job.session.close()
