"""The locks of this process for its worker sessions, and for the instances to which the process is adding tasks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from .lock_holders import namespace
from .locks import FEEDS, command_byte, take, try_exclusive


class OwnedLock:
    """A lock that is held as long as the lock's descriptor is open."""

    def __init__(self, descriptor: int, forget: Callable[[Any], None]) -> None:
        """``forget``: a function that is called with this object when the object is closed."""
        self._descriptor = descriptor
        self._forget = forget

    def move(self, descriptor: int) -> None:
        """Take the lock again, on ``descriptor``, which belongs to a different file."""
        raise NotImplementedError

    def drop(self) -> None:
        """Close this process's descriptor of the lock. In a forked child, this leaves the parent's lock in place."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # other code has closed the descriptor, so the lock is released already
                os.close(descriptor)

    __del__ = drop

    def close(self) -> None:
        """Release the lock. A second call does nothing."""
        if self._descriptor >= 0:
            self.drop()
            self._forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SqliteWorkerSession(OwnedLock):
    """The session of one worker. When the worker's process dies, the claims of the session are lost at once.

    ``fileno()`` is the descriptor that keeps the session alive. If a child process inherits the descriptor
    (``pass_fds``), the session stays alive until both processes have ended. If a session is closed while it has claims,
    these claims are recorded as lost, so settle or release them first.
    """

    def __init__(self, id: int, worker_id: str, descriptor: int, forget: Callable[[SqliteWorkerSession], None]) -> None:
        super().__init__(descriptor, forget)
        self.id = id
        self.worker_id = worker_id

    @property
    def is_open(self) -> bool:
        """True if new claims can still be made with the session."""
        return self._descriptor >= 0

    def fileno(self) -> int:
        """Return the descriptor that keeps the session alive; -1 once the session is closed."""
        return self._descriptor

    def lend(self, pid: int) -> None:
        """Record that the process ``pid`` has inherited ``fileno()``.

        The session then ends when the process ``pid`` and this process have ended. Descendants of ``pid`` that are
        still running, such as a daemon, may still have the descriptor open then.
        """
        with suppress(OSError):  # without this lock, the command's descendants keep the session alive
            take(self._descriptor, fcntl.F_WRLCK, command_byte(self.id, namespace(), pid))

    def move(self, descriptor: int) -> None:
        """Take the lock in a different file. ``fileno()`` keeps its number, and ``descriptor`` is closed."""
        if self._descriptor >= 0 and try_exclusive(descriptor, self.id):
            os.dup2(descriptor, self._descriptor, inheritable=os.get_inheritable(self._descriptor))
        os.close(descriptor)


class InstanceFeed(OwnedLock):
    """A lock that marks an instance as fed: this process is still adding tasks to the instance.

    ``prune`` doesn't remove a fed instance, even if all tasks added so far have ended. The kernel releases the lock
    when the process ends.
    """

    def __init__(self, instance: int, descriptor: int, forget: Callable[[InstanceFeed], None]) -> None:
        super().__init__(descriptor, forget)
        self._instance = instance

    def move(self, descriptor: int) -> None:
        """Take the lock in a different file, on the given descriptor."""
        take(descriptor, fcntl.F_RDLCK, FEEDS + self._instance)
        self.drop()
        self._descriptor = descriptor
