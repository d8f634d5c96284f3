"""Worker processes that a case starts once, and tells over pipes what to do in each round.

All of a round start at one moment and stop at another: they get both beforehand, by the clock that they share.
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

# From the word to the start: enough for all to have heard it.
_NOTICE_S = 0.03


class Crew:
    """So many processes that run ``worker.py``, all of them children of one."""

    def __init__(self, count: int, prefix: Sequence[str] = ()) -> None:
        """``prefix``: a command that runs them, such as a tracer."""
        orders, answers = [os.pipe() for _ in range(count)], [os.pipe() for _ in range(count)]
        theirs = [end for order, answer in zip(orders, answers, strict=True) for end in (order[0], answer[1])]
        command = [*prefix, sys.executable, "-m", f"{__package__}.worker", *map(str, theirs)]
        self._process = subprocess.Popen(command, pass_fds=theirs, cwd=ROOT)
        for end in theirs:
            os.close(end)
        self._orders = [os.fdopen(ours, "w") for _, ours in orders]
        self._answers = [os.fdopen(ours) for ours, _ in answers]

    def work(self, job: str, count: int, span: float, path: Path, **options: Any) -> list[dict[str, Any]]:
        """Have the first ``count`` of them do a job of ``worker.py`` on a store for ``span`` seconds."""
        self.begin(job, count, span, path, **options)
        return self.results(count)

    def begin(self, job: str, count: int, span: float, path: Path, **options: Any) -> None:
        """The same without waiting for what comes of it. Returns when they start."""
        for number in range(count):
            order = {"job": job, "path": str(path), "worker_id": f"worker-{number}", "options": options}
            self._tell(number, order)
        for number in range(count):
            self._hear(number)  # that it is ready
        start = time.monotonic() + _NOTICE_S
        for number in range(count):
            self._tell(number, {"start": start, "until": start + span})
        time.sleep(max(0.0, start - time.monotonic()))

    def results(self, count: int) -> list[dict[str, Any]]:
        """Return the result of the job that was begun."""
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
        """Let them end, and wait for it."""
        for pipe in (*self._orders, *self._answers):
            pipe.close()
        self._process.wait()
