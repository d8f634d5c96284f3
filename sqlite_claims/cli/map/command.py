"""The commands that ``map`` runs. Each command is made from the template and a line, and started without a shell."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence

from .template import CannotRunError, Template, UnusableLineError

_LOCK_DESCRIPTOR_MIN = 231
_SpawnAction = tuple[int, int, str, int, int] | tuple[int, int, int]


def start_command(
    template: Template,
    line: bytes,
    *,
    number: int,
    slot: int,
    stdout: int,
    stderr: int,
    lock: int,
    lock_number: int,
    environment: Mapping[bytes, bytes],
) -> int:
    """Start the command for this line, and return its process id.

    The command has its own OS session, so that only ``map`` receives Ctrl-C and a hangup of the terminal. The
    command's standard input is empty.

    Args:
        template: The command.
        line: The line.
        number: The value of ``{#}``.
        slot: The value of ``{%}``.
        stdout: Descriptor for the command's standard output.
        stderr: Descriptor for the command's standard error.
        lock: Descriptor of the claim's worker session. The command inherits this descriptor.
        lock_number: Number of the inherited descriptor in the command.
        environment: The command's environment.

    Raises:
        UnusableLineError: No command can be started for this line.
        CannotRunError: The program cannot be run.
        OSError: The system has no more processes, memory or descriptors.
    """
    program, argv = template.fill(line, number=number, slot=slot)
    actions: list[_SpawnAction] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_DUP2, stderr, 2),
        (os.POSIX_SPAWN_DUP2, lock, lock_number),
    ]
    try:
        return _spawn(program, argv, environment, actions)
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise UnusableLineError("with this line the command is longer than the system allows") from None
        if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise
        message = f"cannot run {os.fsdecode(argv[0])!r}: {error.strerror}"
        if error.errno == errno.ENOEXEC:
            message += " (a script needs a first line such as #!/bin/sh)"
        raise (UnusableLineError if template.program is None else CannotRunError)(message) from None


def _spawn(
    program: bytes, argv: list[bytes], environment: Mapping[bytes, bytes], actions: Sequence[_SpawnAction]
) -> int:
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores these signals, and the command would ignore them, too
    try:
        return os.posix_spawn(
            program, argv, environment, file_actions=actions, setsid=True, setsigmask=[], setsigdef=defaults
        )
    except NotImplementedError:  # an old system without POSIX_SPAWN_SETSID
        return os.posix_spawn(
            program, argv, environment, file_actions=actions, setpgroup=0, setsigmask=[], setsigdef=defaults
        )


def reserve_descriptor() -> int:
    """Open /dev/null under a descriptor number, to reserve this number for the lock that every command inherits.

    The number is high and not round, because scripts open files under low numbers, and often under 99, 100 or 200.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        for lowest in (_LOCK_DESCRIPTOR_MIN, 20):
            with contextlib.suppress(OSError):  # the number is higher than the limit of open files allows
                return fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, lowest)
        return os.dup(null)
    finally:
        os.close(null)


def describe_end(status: int) -> str:
    """Describe the wait status of a process that has ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = f" ({signal.Signals(number).name})"
        except ValueError:
            name = ""
        return f"killed by signal {number}{name}"
    return f"exit status {os.WEXITSTATUS(status)}"


def ensure_open_files_limit(jobs: int, *, waiting: int = 0) -> None:
    """Increase this process's limit of open files, if ``jobs`` commands need more.

    Args:
        jobs: Number of commands that run at a time.
        waiting: Number of outputs that may wait for the output of an earlier line.

    Raises:
        CannotRunError: The hard limit is too low.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # While a job starts, it needs both ends of two pipes, and a worker session. A waiting output needs a worker session
    # and two temporary files.
    needed = 5 * jobs + 3 * waiting + 64
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CannotRunError(f"{jobs} parallel commands need {needed} open files, but the limit is {hard} (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
