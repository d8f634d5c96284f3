"""Worker processes that a benchmark case starts once. In each round, the case sends the workers a job over pipes.

All workers of a round start and stop at the same time. The case sends the workers both times in advance, as values of
the monotonic clock, which all processes share.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .machine import ROOT

# The time from the sending of the start time to the start. This time is long enough for all workers to receive the
# message.
_NOTICE_S = 0.03


class Crew:
    """A number of processes that run ``worker.py``, all with the same parent process."""

    def __init__(self, count: int, prefix: Sequence[str] = ()) -> None:
        """``prefix``: a command that runs the worker processes, such as a tracer."""
        orders, answers = [os.pipe() for _ in range(count)], [os.pipe() for _ in range(count)]
        theirs = [end for order, answer in zip(orders, answers, strict=True) for end in (order[0], answer[1])]
        command = [*prefix, sys.executable, "-m", f"{__package__}.worker", *map(str, theirs)]
        self._process = subprocess.Popen(command, pass_fds=theirs, cwd=ROOT)
        for end in theirs:
            os.close(end)
        self._orders = [os.fdopen(ours, "w") for _, ours in orders]
        self._answers = [os.fdopen(ours) for ours, _ in answers]

    def work(self, job: str, count: int, span: float, path: Path, **options: Any) -> list[dict[str, Any]]:
        """Run a job of ``worker.py`` on a store for ``span`` seconds in ``count`` workers; return the results."""
        self.begin(job, count, span, path, **options)
        return self.results(count)

    def begin(self, job: str, count: int, span: float, path: Path, **options: Any) -> None:
        """Start a job, wait until the job's start time, and return without waiting for the results."""
        for number in range(count):
            order = {"job": job, "path": str(path), "worker_id": f"worker-{number}", "options": options}
            self._tell(number, order)
        for number in range(count):
            self._hear(number)  # the worker reports that the worker is ready
        start = time.monotonic() + _NOTICE_S
        for number in range(count):
            self._tell(number, {"start": start, "until": start + span})
        time.sleep(max(0.0, start - time.monotonic()))

    def results(self, count: int) -> list[dict[str, Any]]:
        """Return the results of the job that ``begin`` started."""
        return [self._hear(number) for number in range(count)]

    def _tell(self, number: int, order: dict[str, Any]) -> None:
        self._orders[number].write(json.dumps(order) + "\n")
        self._orders[number].flush()

    def _hear(self, number: int) -> Any:
        line = self._answers[number].readline()
        if not line:
            raise RuntimeError("a worker process has ended; what it said is above")
        return json.loads(line)

    def close(self) -> None:
        """End the worker processes and wait for their end."""
        for pipe in (*self._orders, *self._answers):
            pipe.close()
        self._process.wait()
