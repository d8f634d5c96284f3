"""Finds the processes that hold a lock of ``-sessions``, for a session that outlives the process that opened it.

The kernel doesn't report which processes share an OFD lock, but ``/proc`` lists the locks of each descriptor. Only
processes of this user and in this process-id namespace are found.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def namespace() -> int:
    """Return the low 10 bits of the number of this process's process-id namespace; 0 if the number is unknown."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino & 0x3FF
    return 0


def runs(pid: int) -> bool:
    """Return whether the process is running. A zombie process counts as ended."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (ProcessLookupError, FileNotFoundError):
        return False
    except OSError:  # the process belongs to a different user
        return True
    return stat.rpartition(b") ")[2][:1] not in (b"Z", b"X")


def holders(descriptor: int, byte: int) -> list[int]:
    """Return the ids of the processes with a descriptor that locks this byte. The function reads all of ``/proc``."""
    file = os.fstat(descriptor)
    pids = []
    with suppress(OSError):
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal() and _holds(name, file, byte)]
    return sorted(pids)


def _holds(pid: str, file: os.stat_result, byte: int) -> bool:
    with suppress(OSError):  # the process has ended, or belongs to a different user
        for number in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):  # the descriptor has been closed in the meantime
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{number}"), file):
                    locks = Path(f"/proc/{pid}/fdinfo/{number}").read_text("ascii").splitlines()
                    if any(line.startswith("lock:") and line.split()[-2:] == [f"{byte}", f"{byte}"] for line in locks):
                        return True
    return False
