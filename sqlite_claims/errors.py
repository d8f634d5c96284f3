"""The error tree. SQLite's own exceptions never reach a caller; these do.

An operation that raises one of these has changed nothing in the store.
"""

from __future__ import annotations


class BackendError(Exception):
    """Base of every error that a claim store raises."""


class InvalidArgumentError(BackendError, ValueError):
    """An argument is not what the method takes; the message names it and what was given."""


class NotFoundError(BackendError):
    """There is no such instance, task or claim."""


class ClaimLostError(BackendError):
    """The claim is no longer the caller's: released, settled, taken over, cancelled, or somebody else's."""


class AlreadyExistsError(BackendError):
    """An instance or task of that name is stored already."""


class InvalidStateError(BackendError):
    """The store, instance or task is not in a state that allows this."""


class StoreBusyError(BackendError):
    """Another writer kept the file's write lock for longer than the caller would wait."""


class StoreFullError(BackendError):
    """The disk, or the quota, is full."""


class StoreUnavailableError(BackendError):
    """The file cannot be opened or written: missing, no permission, read-only or network file system."""


class StoreCorruptError(BackendError):
    """The file is not an SQLite database, or is damaged."""


class SchemaVersionError(BackendError):
    """The file holds our tables in a version newer than this library knows."""


class StoreClosedError(BackendError):
    """The store was closed, or this process was forked in a way that makes its use unsafe."""


class TaskFailedError(BackendError):
    """A task whose result was asked for has failed."""
