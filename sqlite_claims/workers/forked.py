"""Ends a process that a handler has forked, before it runs code of the worker.

When a handler forks, the child returns from the handler too: by ``return``, an exception or ``sys.exit``. It would then
settle its parent's claim and run its parent's next tasks. So it has to exit at once.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import traceback

# Linux clears a page with this advice in a forked child. The mmap module has no name for it.
_MADV_WIPEONFORK = 18
# A child may take this long to write its error and flush its buffers. A lock of another thread may prevent it.
_LEAVE_S_MAX = 5


class HomeProcess:
    """Remembers the process that it was made in, and detects that the current process is a forked child of that.

    It reads a page of memory that the kernel clears in a forked child. So a check after every call of a handler costs
    no system call, and also detects a fork that did not run Python's hooks.
    """

    __slots__ = ("_page", "_pid", "recursion_limit")

    def __init__(self) -> None:
        # It applies to the whole process. If a handler lowers it, the worker restores it for its own calls.
        self.recursion_limit = sys.getrecursionlimit()
        self._pid = os.getpid()
        self._page: mmap.mmap | None = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._page[0] = 1
        try:
            self._page.madvise(_MADV_WIPEONFORK)
        except OSError:
            self._page = None  # an old kernel

    def is_left(self) -> bool:
        """Return whether this code runs in a forked child of the process."""
        return not self._page[0] if self._page is not None else os.getpid() != self._pid

    def leave_if_forked(self, error: BaseException | None = None) -> None:
        """In a forked child: end it, with the exit status that ``error`` would have caused."""
        if self.is_left():
            leave(error)


def leave(error: BaseException | None = None) -> None:
    """End this process at once, without calling its exit functions, since they are its parent's."""
    status = 0 if error is None else 1
    try:
        message = ""
        if isinstance(error, SystemExit):
            status, message = exit_status(error)
        # Another thread may have held a lock at the fork, for example of a buffer. The alarm ends the wait for it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.alarm(_LEAVE_S_MAX)
        if message:
            sys.stderr.write(f"{message}\n")
        elif error is not None and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status)


def exit_status(error: SystemExit) -> tuple[int, str]:
    """Return the exit status and the message with which the interpreter would end at this exception."""
    code = error.code
    if code is None:
        return 0, ""
    if isinstance(code, int):
        return code & 0xFF, ""
    return 1, str(code)
