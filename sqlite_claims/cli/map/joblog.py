"""The lines of ``--joblog``, in the format of GNU parallel."""

from __future__ import annotations

import os

HEADER = b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"


def open_joblog(path: str) -> int:
    """Open the log for appending, and return its descriptor. Raises ``OSError``."""
    return os.open(path.removeprefix("+"), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def joblog_line(
    *, number: int, started_at: float, runtime_s: float, received: int, status: int, timed_out: bool, command: bytes
) -> bytes:
    """Return the line for one command.

    Args:
        number: The number of the line.
        started_at: Start of the command, in Unix seconds.
        runtime_s: Seconds from the start to the end of the command.
        received: Size of the command's standard output in bytes.
        status: The wait status of the process.
        timed_out: True if the timeout has ended the command.
        command: The command, quoted for a shell.
    """
    exit_value = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
    number_of_signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if timed_out:
        exit_value = -1
    fields = (
        f"{number}\t:\t{started_at:.3f}\t{runtime_s:10.3f}\t0\t{received}\t{exit_value}\t{number_of_signal}\t".encode()
    )
    return fields + command.replace(b"\n", b"\0") + b"\n"
