"""Support for ``os.fork`` with open stores. After the fork, both processes may continue to use the stores.

SQLite records its locks in tables in the memory of the process, and a fork copies these tables. If a connection is open
during the fork, the child's copy of the tables lists locks that the kernel has not given to the child. Then even a new
connection of the child commits without any lock. So this module closes every connection before the fork. The parent and
the child each open a new connection when they next use the store. If the connections can't be closed in time, or if the
fork bypasses Python's hooks, the child must not use the files at all.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

from ..errors import StoreClosedError

# How long a fork may wait for transactions of other threads. The limit is needed because such a thread may itself wait
# for the forking thread.
WAIT_S = 1.0


class Forkable(Protocol):
    """An open store, or any other object with a connection that must be closed before a fork."""

    path: str

    def before_fork(self, wait: float) -> bool:
        """Close the connection, and prevent other threads from opening the connection again. Return ``False`` if
        closing takes longer than ``wait`` seconds."""

    def after_fork_in_parent(self) -> None:
        """Let the threads of the parent use the connection again."""

    def after_fork_in_child(self, usable: bool) -> None:
        """Drop the objects that belong to the parent. If ``usable`` is false, the child must never use the connection
        again."""


_stores: weakref.WeakSet[Forkable] = weakref.WeakSet()
_registry_lock = threading.RLock()
_ready: list[Forkable] = []
_not_ready: list[Forkable] = []
_poisoned: set[str] = set()
pid = os.getpid()
"""The id of this process, recorded at import and at each fork that this module handles."""


def register(store: Forkable) -> None:
    """Register an open store, so that the store's connection is closed before a fork."""
    with _registry_lock:
        _stores.add(store)


def check(path: str) -> None:
    """Raise an error if this process must not use the file."""
    if os.getpid() != pid:
        _adopt_unhooked_fork()
    if _poisoned and path in _poisoned:
        raise StoreClosedError(
            f"{path}: this process was forked while the store was in use in its parent, "
            "and SQLite's locks don't survive that; use the spawn start method, or fork with no transaction open"
        )


def _adopt_unhooked_fork() -> None:
    """Handle a fork that ran no hooks. After such a fork, all open connections belong to the parent."""
    global pid
    pid = os.getpid()
    for store in list(_stores):
        _poisoned.add(store.path)
        store.after_fork_in_child(usable=False)


def _before() -> None:
    _registry_lock.acquire()
    _ready.clear()
    _not_ready.clear()
    for store in list(_stores):
        (_ready if store.before_fork(WAIT_S) else _not_ready).append(store)


def _after_in_parent() -> None:
    for store in _ready:
        store.after_fork_in_parent()
    _release()


def _after_in_child() -> None:
    global pid
    pid = os.getpid()
    # If the connection of one store stayed open, all stores on the same file are unusable, because SQLite has one lock
    # table for each file.
    _poisoned.update(store.path for store in _not_ready)
    for store in _ready:
        store.after_fork_in_child(usable=store.path not in _poisoned)
    for store in _not_ready:
        store.after_fork_in_child(usable=False)
    _release()


def _release() -> None:
    _ready.clear()
    _not_ready.clear()
    _registry_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def leak(connection: object) -> None:
    """Prevent the child from ever finalizing the parent's connection, because closing the connection would act on the
    parent's files."""
    import ctypes  # imported here, since only an unusual fork needs ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
