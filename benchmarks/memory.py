"""The memory of a process that finds and claims tasks.

The memory is measured in a separate process. The memory of Python and apsw is subtracted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_BARE = "import apsw"
_WORKER = """
import sys
from sqlite_claims import SqliteClaimStore
with SqliteClaimStore(sys.argv[1], durability="process") as store:
    for _ in range(int(sys.argv[2])):
        store.find_available_tasks("worker", 10)
        for claimed in store.claim_available_tasks("worker", 10):
            store.release_task(claimed.claim)
"""
# The peak memory is read from /proc, because the peak from getrusage includes the memory of the parent process.
_TELL = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def can_tell() -> bool:
    """Return whether this platform reports the peak memory of a process."""
    return os.path.exists("/proc/self/status")


def added_mib(store: Path, looks: int) -> float:
    """Return the MiB that ``looks`` searches and claims in this store add to a process that has imported apsw."""
    return (_peak_kib(_WORKER, str(store), str(looks)) - _peak_kib(_BARE)) / 1024


def _peak_kib(program: str, *args: str) -> int:
    command = [sys.executable, "-c", program + _TELL, *args]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
