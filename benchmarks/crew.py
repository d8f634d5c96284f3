"""Worker processes that a case starts once, and tells over pipes what to do in each round.

All of a round start at one moment and stop at another: they get both beforehand, by the clock that they share.
"""

from __future__ import annotations

import json
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
    """So many processes, each of which runs ``worker.py``."""

    def __init__(self, count: int, prefix: Sequence[str] = ()) -> None:
        """``prefix``: a command that runs them, such as a tracer."""
        command = [*prefix, sys.executable, "-m", f"{__package__}.worker"]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            for _ in range(count)
        ]

    def work(self, job: str, count: int, span: float, path: Path, **options: Any) -> list[dict[str, Any]]:
        """Have the first ``count`` of them do a job of ``worker.py`` on a store for ``span`` seconds."""
        working = self._processes[:count]
        for number, process in enumerate(working):
            order = {"job": job, "path": str(path), "worker_id": f"worker-{number}", "options": options}
            self._tell(process, order)
        for process in working:
            self._hear(process)  # ready
        start = time.monotonic() + _NOTICE_S
        for process in working:
            self._tell(process, {"start": start, "until": start + span})
        return [self._hear(process) for process in working]

    def _tell(self, process: subprocess.Popen[str], order: dict[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()

    def _hear(self, process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker process ended with status {process.wait()}; what it said is above")
        return json.loads(line)

    def close(self) -> None:
        """Let them end, and wait for it."""
        for process in self._processes:
            process.communicate()
