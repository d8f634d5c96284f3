"""``os.fork`` with open stores: after it, both processes may go on using them.

SQLite keeps its locks in process-wide tables that a fork copies: with a connection open across it, the child believes
it holds locks that the kernel knows nothing of, and even a new connection of the child commits without any. So every
connection is closed before the fork and reopened by either side when next needed. If that can't be done in time, or
if the fork bypasses Python's hooks, the child must not use those files at all.
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
    """An open store, or another object with a connection, for which a fork has to be prepared."""

    path: str

    def before_fork(self, wait: float) -> bool:
        """Close the connection and keep other threads from opening it. Returns ``False`` if that takes longer than
        ``wait`` seconds."""

    def after_fork_in_parent(self) -> None:
        """Let threads use the connection again."""

    def after_fork_in_child(self, usable: bool) -> None:
        """Drop what belongs to the parent. If not ``usable``, never use the connection again."""


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
    """Raise if this process must not use the file."""
    if os.getpid() != pid:
        _adopt_unhooked_fork()
    if _poisoned and path in _poisoned:
        raise StoreClosedError(
            f"{path}: this process was forked while the store was in use in its parent, "
            "and SQLite's locks don't survive that; use the spawn start method, or fork with no transaction open"
        )


def _adopt_unhooked_fork() -> None:
    """Handle a fork that ran no hooks: all open connections belong to the parent."""
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
    # One store that stayed open makes every other store on that file unusable: the lock tables are per file.
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
