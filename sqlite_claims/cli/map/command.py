"""The commands that ``map`` runs. Each command is made from the template and a line, and started without a shell."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from ...errors import BackendError
from .lines import LINE_BYTES_MAX

_PLACEHOLDER = b"{}"
_HASH_BYTES_MAX = 256
_LOCK_DESCRIPTOR_MIN = 231
_SpawnAction = tuple[int, int, str, int, int] | tuple[int, int, int]


class CannotRunError(BackendError):
    """The command cannot be run for any line."""


class UnusableLineError(BackendError):
    """The command cannot be run for this line."""


class Template:
    """A command with the placeholder ``{}`` for the line. Without a placeholder, the line is the last argument."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Create a template. Raises ``CannotRunError`` if the program does not exist or is not executable."""
        self._argv = [os.fsencode(argument) for argument in argv]
        self._digest = blake2b(b"\0".join(self._argv), digest_size=16).hexdigest()
        self._text = os.fsencode(shlex.join(argv)).decode("utf-8", "backslashreplace")
        if not any(_PLACEHOLDER in argument for argument in self._argv):
            self._argv.append(_PLACEHOLDER)
        # The path of the program is searched only once. So commands start faster, and a wrong name is reported before a
        # task is stored.
        self._program = None if _PLACEHOLDER in self._argv[0] else _find(self._argv[0])

    def __str__(self) -> str:
        return self._text

    @property
    def instance_id(self) -> str:
        """The default name of the instance with this command's tasks."""
        return f"map-{self._digest}"

    @property
    def definition_hash(self) -> str:
        """A hash of the command, followed by the beginning of the command for people to read."""
        text = f"{self._digest} {self._text}".encode().replace(b"\0", b"")
        return text[:_HASH_BYTES_MAX].decode("utf-8", "ignore")

    def fill(self, line: bytes) -> tuple[bytes, list[bytes]]:
        """Return the program's path and the arguments for this line.

        Raises ``UnusableLineError`` if the line cannot be an argument.
        """
        if len(line) > LINE_BYTES_MAX:
            raise UnusableLineError(f"the line is longer than an argument may be ({LINE_BYTES_MAX:,} bytes)")
        if b"\0" in line:
            raise UnusableLineError("the line contains a NUL byte, which an argument cannot contain")
        argv = [argument.replace(_PLACEHOLDER, line) for argument in self._argv]
        if self._program is not None:
            return self._program, argv
        try:
            return _find(argv[0]), argv
        except CannotRunError as error:
            raise UnusableLineError(str(error)) from None

    def start(
        self,
        line: bytes,
        *,
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
            line: The line.
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
        program, argv = self.fill(line)
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
            raise (UnusableLineError if self._program is None else CannotRunError)(message) from None


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


def _find(program: bytes) -> bytes:
    path = shutil.which(program)
    if path is not None:
        return path
    name = os.fsdecode(program)
    if b"/" in program and os.path.isdir(program):
        raise CannotRunError(f"cannot run {name!r}: it is a folder")
    if b"/" in program and os.path.exists(program):
        raise CannotRunError(f"cannot run {name!r}: it is not executable")
    hint = ""
    if len(words := name.split()) > 1 and shutil.which(words[0]):
        hint = f"; to run {words[0]!r}, give its arguments as separate words, not all in one pair of quotes"
    raise CannotRunError(f"cannot run {name!r}: program not found{hint}")


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


def ensure_open_files_limit(jobs: int) -> None:
    """Increase this process's limit of open files, if ``jobs`` commands need more.

    Raises ``CannotRunError`` if the hard limit is too low.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 5 * jobs + 64  # while a job starts, it needs both ends of two pipes, and a worker session
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CannotRunError(f"{jobs} parallel commands need {needed} open files, but the limit is {hard} (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
