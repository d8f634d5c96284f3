"""The locks that this process holds for its worker sessions, and for the instances that it feeds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from .lock_holders import namespace
from .locks import FEEDS, command_byte, take, try_exclusive


class OwnedLock:
    """A lock that lives as long as its descriptor."""

    def __init__(self, descriptor: int, forget: Callable[[Any], None]) -> None:
        """``forget``: called with this object when it is closed."""
        self._descriptor = descriptor
        self._forget = forget

    def move(self, descriptor: int) -> None:
        """Take the lock on a descriptor of another file instead."""
        raise NotImplementedError

    def drop(self) -> None:
        """Release this process's hold on the lock and nothing else: after a fork, in the child, the parent keeps it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # closed by other code: the lock is released all the same
                os.close(descriptor)

    __del__ = drop

    def close(self) -> None:
        """Release the lock for good. May be called twice."""
        if self._descriptor >= 0:
            self.drop()
            self._forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SqliteWorkerSession(OwnedLock):
    """The session of one worker. Claims bound to it are lost, whatever their lease, as soon as its process is dead.

    ``fileno()`` is the descriptor that keeps the session alive. Pass it to a child command (``pass_fds``), and the
    session lives as long as either process does. A session that is closed while it holds claims leaves them to be
    recorded as lost: settle or release them first.
    """

    def __init__(self, id: int, worker_id: str, descriptor: int, forget: Callable[[SqliteWorkerSession], None]) -> None:
        super().__init__(descriptor, forget)
        self.id = id
        self.worker_id = worker_id

    @property
    def is_open(self) -> bool:
        """Whether claims can still be made with the session."""
        return self._descriptor >= 0

    def fileno(self) -> int:
        """Return the descriptor that keeps the session alive; -1 once it is closed."""
        return self._descriptor

    def lend(self, pid: int) -> None:
        """Record that the process ``pid`` has inherited ``fileno()``.

        The session then ends when that process and this one have ended, even if processes that it has left behind, such
        as a daemon, still hold the descriptor.
        """
        with suppress(OSError):  # no room for one more lock: then processes left behind keep the session alive
            take(self._descriptor, fcntl.F_WRLCK, command_byte(self.id, namespace(), pid))

    def move(self, descriptor: int) -> None:
        """Take the lock in another file. ``fileno()`` keeps its number, and the given descriptor is closed."""
        if self._descriptor >= 0 and try_exclusive(descriptor, self.id):
            os.dup2(descriptor, self._descriptor, inheritable=os.get_inheritable(self._descriptor))
        os.close(descriptor)


class InstanceFeed(OwnedLock):
    """The mark that this process adds tasks to an instance as long as its input lasts.

    ``prune`` leaves a fed instance alone, even if all its tasks so far have ended. The kernel releases the lock when
    the process ends.
    """

    def __init__(self, instance: int, descriptor: int, forget: Callable[[InstanceFeed], None]) -> None:
        super().__init__(descriptor, forget)
        self._instance = instance

    def move(self, descriptor: int) -> None:
        """Take the lock in another file, on the given descriptor."""
        take(descriptor, fcntl.F_RDLCK, FEEDS + self._instance)
        self.drop()
        self._descriptor = descriptor
