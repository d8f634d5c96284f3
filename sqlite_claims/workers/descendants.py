"""Kills the descendants of worker processes, and reaps orphaned processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from contextlib import suppress

# The largest number of rounds of finding and stopping descendants. A stopped process cannot start more processes, so
# two rounds usually find all descendants.
_ROUNDS_MAX = 10


def kill_groups(leaders: Collection[int]) -> None:
    """Kill the process groups of these leaders, and the leaders' descendants in other process groups and OS sessions.

    The function finds descendants in ``/proc``. If a process has left the group and its parent has died,
    the function does not find the process.
    """
    stopped: set[int] = set()
    for _ in range(_ROUNDS_MAX):
        running = _family(leaders) - stopped
        if not running:
            break
        for pid in running:
            _send(pid, signal.SIGSTOP)
        stopped |= running
    for pid in stopped:
        _send(pid, signal.SIGKILL)
    for leader in leaders:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the process has ended, or runs as another user through sudo
        os.kill(pid, number)


def _family(leaders: Collection[int]) -> set[int]:
    """Return the leaders and their descendants. If a returned process leads a process group or an OS session, also
    return all processes in this group or OS session."""
    processes = _processes()
    family = set(leaders)
    while relatives := {pid for pid, links in processes.items() if not family.isdisjoint(links)} - family:
        family |= relatives
    return family


def _processes() -> dict[int, tuple[int, int, int]]:
    """Return the ids of each process's parent, process group and OS session, by process id. The result is empty if
    there is no ``/proc``."""
    processes: dict[int, tuple[int, int, int]] = {}
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                    # The program's name in parentheses may contain any character, so the fields are read after the last
                    # parenthesis.
                    fields = file.read().rpartition(b")")[2].split()
                    if fields[0] != b"Z":
                        processes[int(name)] = int(fields[1]), int(fields[2]), int(fields[3])
    return processes


def reap_orphans(own: Collection[int]) -> None:
    """Reap orphaned processes. Only process 1 may call this function. The code that started the processes in
    ``own`` reaps them itself."""
    with suppress(ChildProcessError):
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if dead.si_pid in own:
                return  # the code that started this process reaps it, and the next call finds further orphans
            os.waitpid(dead.si_pid, 0)
