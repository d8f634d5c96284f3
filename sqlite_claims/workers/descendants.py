"""Descendants of worker processes: killed with them, or reaped in their place."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from contextlib import suppress

# A process that is stopped starts no others, so that after a round or two all are found.
_ROUNDS_MAX = 10


def kill_groups(leaders: Collection[int]) -> None:
    """Kill these process groups and, where the kernel lists processes, all whose line of parents leads to one of them,
    in whatever groups and sessions they are. Not found: those whose parent has died and that have left the group."""
    found: set[int] = set()
    for _ in range(_ROUNDS_MAX):
        others = _family(leaders) - found
        if not others:
            break
        for pid in others:
            _send(pid, signal.SIGSTOP)
        found |= others
    for pid in found:
        _send(pid, signal.SIGKILL)
    for leader in leaders:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # of another user, by a program like sudo
        os.kill(pid, number)


def _family(leaders: Collection[int]) -> set[int]:
    """These processes, their descendants, and all in groups and sessions that one of those leads."""
    processes = _processes()
    family = set(leaders)
    grown = True
    while grown:
        more = {pid for pid, bonds in processes.items() if not family.isdisjoint(bonds)} - family
        family |= more
        grown = bool(more)
    return family


def _processes() -> dict[int, tuple[int, int, int]]:
    """Each process's parent, group and session; empty where the kernel doesn't list them."""
    found: dict[int, tuple[int, int, int]] = {}
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                    # The name of the program, in parentheses, may contain anything.
                    fields = file.read().rpartition(b")")[2].split()
                    if fields[0] != b"Z":
                        found[int(name)] = int(fields[1]), int(fields[2]), int(fields[3])
    return found


def reap_orphans(own: Collection[int]) -> None:
    """As process 1, bury what others have left behind. Our own processes, ``own``, are buried where they belong."""
    with suppress(ChildProcessError):
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if dead.si_pid in own:
                return  # it is dealt with on its own way, and the others in the next round
            os.waitpid(dead.si_pid, 0)
