"""The exit statuses of all commands."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """The exit status of the process. If a signal that raises an exception ended the command, the status is 128 plus
    the signal's number."""

    DONE = 0
    FAILED = 1
    ERROR = 2
    CANNOT_RUN = 127
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_STATUS_HELP = (
    ("0", "done"),
    (
        "1",
        "map: a command failed or the instance was cancelled; work --until-idle: an attempt failed; check: a problem",
    ),
    ("2", "error: wrong usage, unknown file or name, full disk, output that cannot be written"),
    ("127", "map: the command cannot be run"),
    ("129, 143", "top, bench, backup or restore was ended by SIGHUP or SIGTERM"),
    ("130", "interrupted (Ctrl-C)"),
    ("141", "the program that reads the output has ended, for example head"),
)
"""Statuses and their meanings, as ``sqlite-claims --help`` lists them."""
