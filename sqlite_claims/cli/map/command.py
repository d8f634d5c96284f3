"""The commands that ``map`` runs: made from the template and a line, started without a shell, one session each."""

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
from typing import Any

from ...errors import BackendError
from .lines import LINE_BYTES_MAX

_PLACE = b"{}"
_HASH_BYTES_MAX = 256
_LOCK_AT = 231


class CannotRunError(BackendError):
    """The command itself can't be run, whatever the line."""


class LineUnfitError(BackendError):
    """This line can't be made a command's argument."""


class Template:
    """A command with a place for the line: ``{}`` anywhere in its arguments, or after them where there is none."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Raises ``CannotRunError`` where the program is not there or not executable."""
        self._argv = [os.fsencode(argument) for argument in argv]
        self._digest = blake2b(b"\0".join(self._argv), digest_size=16).hexdigest()
        self._shown = os.fsencode(shlex.join(argv)).decode("utf-8", "backslashreplace")
        if not any(_PLACE in argument for argument in self._argv):
            self._argv.append(_PLACE)
        # Looked up once: commands start faster, and a wrong name shows before anything has been done.
        self._program = None if _PLACE in self._argv[0] else _find(self._argv[0])

    def __str__(self) -> str:
        return self._shown

    @property
    def instance_id(self) -> str:
        """The name of the instance that holds this command's tasks, where none is given."""
        return f"map-{self._digest}"

    @property
    def definition_hash(self) -> str:
        """Tells commands apart; bears the command, as far as there is room, for people who look."""
        text = f"{self._digest} {self._shown}".encode().replace(b"\0", b"")
        return text[:_HASH_BYTES_MAX].decode("utf-8", "ignore")

    def fill(self, line: bytes) -> tuple[bytes, list[bytes]]:
        """The program's path and the arguments for this line. Raises ``LineUnfitError``."""
        if len(line) > LINE_BYTES_MAX:
            raise LineUnfitError(f"the line is longer than an argument may be ({LINE_BYTES_MAX:,} bytes)")
        if b"\0" in line:
            raise LineUnfitError("the line has a NUL byte, which no argument may have")
        argv = [argument.replace(_PLACE, line) for argument in self._argv]
        if self._program is not None:
            return self._program, argv
        try:
            return _find(argv[0]), argv
        except CannotRunError as error:
            raise LineUnfitError(str(error)) from None

    def start(
        self, line: bytes, *, stdout: int, stderr: int, keep: tuple[int, int], environment: Mapping[bytes, bytes]
    ) -> int:
        """Start it in a session of its own (so that a terminal's Ctrl-C, and its end, are the caller's to handle), with
        nothing on its standard input. ``keep``: a descriptor to hold open in it, and the number that it has there.
        Returns the process id.

        Raises ``LineUnfitError``, ``CannotRunError``, and other ``OSError``s: no more processes, no memory.
        """
        program, argv = self.fill(line)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_DUP2, stderr, 2),
            (os.POSIX_SPAWN_DUP2, *keep),
        ]
        try:
            return _spawn(program, argv, environment, actions)
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise LineUnfitError("with this line the command is longer than the system allows") from None
            if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
                raise
            told = f"cannot run {os.fsdecode(argv[0])!r}: {error.strerror}"
            if error.errno == errno.ENOEXEC:
                told += " (a script needs a first line like #!/bin/sh)"
            raise (LineUnfitError if self._program is None else CannotRunError)(told) from None


def _spawn(
    program: bytes, argv: list[bytes], environment: Mapping[bytes, bytes], actions: list[tuple[Any, ...]]
) -> int:
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]  # which Python ignores, and a program would inherit
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
        hint = f"; to run {words[0]!r}, give its arguments as words of their own, not within one pair of quotes"
    raise CannotRunError(f"cannot run {name!r}: there is no such program{hint}")


def reserve_descriptor() -> int:
    """A descriptor of nothing whose number in our commands is the one of their task's lock. It is a high one, because
    scripts open others over the low ones, and those that examples like: 9, 99, 100, 200."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        for lowest in (_LOCK_AT, 20):
            with contextlib.suppress(OSError):  # more than the system allows
                return fcntl.fcntl(nothing, fcntl.F_DUPFD_CLOEXEC, lowest)
        return os.dup(nothing)
    finally:
        os.close(nothing)


def describe_end(status: int) -> str:
    """What a wait status says, for people."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = f" ({signal.Signals(number).name})"
        except ValueError:
            name = ""
        return f"killed by signal {number}{name}"
    return f"exit status {os.WEXITSTATUS(status)}"


def room_for(jobs: int) -> None:
    """See that this process may open what ``jobs`` commands need. Raises ``CannotRunError``."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 5 * jobs + 64  # two pipes, both ends for a moment, and the session
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CannotRunError(f"{jobs} commands at a time need {needed} open files; this system allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
