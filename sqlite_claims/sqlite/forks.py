"""What ``os.fork`` does to open stores, and how both sides may go on.

SQLite keeps its locks in process-wide tables that a fork copies: with a connection open across it, the child believes
it holds locks that the kernel knows nothing of, and even a new connection of the child commits without any. So every
connection is closed before the fork and reopened by either side when next needed. Where that can't be done in time, or
the fork goes round Python's hooks, the child must not touch those files at all.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

from ..errors import StoreClosedError

# How long a fork may wait for other threads' transactions; they may wait for the forking thread in turn.
WAIT_S = 1.0


class Forkable(Protocol):
    """An open store, as a fork sees it."""

    path: str

    def before_fork(self, wait: float) -> bool:
        """Close the connection and keep others out; ``False`` where that could not be done in ``wait`` seconds."""

    def after_fork_in_parent(self) -> None:
        """Let others in again."""

    def after_fork_in_child(self, usable: bool) -> None:
        """Drop what belongs to the parent; where not ``usable``, never touch the connection again."""


_stores: weakref.WeakSet[Forkable] = weakref.WeakSet()
_registry_lock = threading.RLock()
_ready: list[Forkable] = []
_not_ready: list[Forkable] = []
_poisoned: set[str] = set()
pid = os.getpid()
"""The process whose forks have been followed."""


def register(store: Forkable) -> None:
    """Remember an open store."""
    with _registry_lock:
        _stores.add(store)


def check(path: str) -> None:
    """Raise where this process must not touch the file."""
    if os.getpid() != pid:
        _adopt_unhooked_fork()
    if _poisoned and path in _poisoned:
        raise StoreClosedError(
            f"{path}: this process was forked while the store was in use in its parent, "
            "and SQLite's locks don't survive that; use the spawn start method, or fork with no transaction open"
        )


def _adopt_unhooked_fork() -> None:
    """A fork that ran no hooks: whatever was open belongs to the parent."""
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
    # One store that stayed open spoils every other on that file: the lock tables are by file, not by connection.
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
    """Keep the parent's connection from ever being finalised here: closing it would act on the parent's files."""
    import ctypes  # only ever needed here

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
