"""Check what each queue guarantees about a claim: after a worker is killed, and after a worker completes its task too
late. Also count the syncs."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..pairs import Figure, figure
from .driver import Process, Row

_LEASE = 1.0
_PATIENCE = 4.0
_CYCLES = 200
_SYNCS = ("fsync(", "fdatasync(", "msync(")


def figures(rows: list[Row], folder: Path) -> Iterator[Figure]:
    """Return one figure per row: the number of syncs for one claim and its completion. The other results are in the
    figure's details."""
    for row in rows:
        syncs = [syncs_per_cycle(row, Path(tempfile.mkdtemp(dir=folder)))] if shutil.which("strace") else [-1.0]
        back = seconds_until_back(row, Path(tempfile.mkdtemp(dir=folder)))
        late = late_completion(row, Path(tempfile.mkdtemp(dir=folder)))
        detail = {"row": str(row), "level": row.setting.level, "pops": row.peer.pops, "back_s": back, "late": late}
        yield figure(f"syncs a claim and completion: {row}", syncs, "", detail=detail)


def seconds_until_back(row: Row, folder: Path) -> float | None:
    """Kill a worker that holds a task. Return the seconds until a second worker gets the task. Return ``None``
    if no worker gets the task after the end of the lease, even with the peer's function for recovering tasks."""
    holder = Process(row, folder, lease=_lease(row))
    holder.ask("fill", count=1)
    holder.ask("claim")
    holder.kill()
    began = time.monotonic()
    other = Process(row, folder, lease=_lease(row))
    got = _gets(other, began)
    took = time.monotonic() - began if got else None
    other.end()
    return took and round(took, 2)


def late_completion(row: Row, folder: Path) -> str:
    """Let a worker hold a task past the end of the lease, let a second worker claim the task, then let the first worker
    complete the task. Return ``"refused"`` if the first worker gets an error, ``"ignored"`` if its completion has no
    effect but reports no error, ``"accepted"`` if the task counts as done while the second worker still runs it, and
    ``"not possible"`` if no second worker could claim the task."""
    holder = Process(row, folder, lease=_lease(row))
    holder.ask("fill", count=1)
    holder.ask("claim")
    other = Process(row, folder, lease=_lease(row))
    outcome = "not possible"
    if _gets(other, time.monotonic()):
        if holder.ask("complete")["refused"]:
            outcome = "refused"
        else:
            outcome = "ignored" if _gets(other, time.monotonic()) else "accepted"
    other.end()
    holder.end()
    return outcome


def syncs_per_cycle(row: Row, folder: Path) -> float:
    """Return the number of syncs for one claim and its completion, counted by strace."""
    counts = []
    for cycles in (0, _CYCLES):
        queue, trace = Path(tempfile.mkdtemp(dir=folder)), folder / f"trace-{cycles}"
        strace = ("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,msync", "-o", str(trace))
        process = Process(row, queue, strace)
        process.ask("fill", count=_CYCLES)
        process.ask("cycle", most=cycles, seconds=60)
        process.end()
        counts.append(sum(line.count(call) for line in trace.read_text("utf-8").splitlines() for call in _SYNCS))
    return (counts[1] - counts[0]) / _CYCLES


def _gets(process: Process, began: float) -> bool:
    while time.monotonic() - began < _PATIENCE:
        if "recover" in process.can:
            process.ask("recover", seconds=_LEASE)
        if process.ask("claim")["got"]:
            return True
        time.sleep(0.02)
    return False


def _lease(row: Row) -> float | None:
    return _LEASE if row.peer.leases else None
