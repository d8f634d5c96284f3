"""The errors that stores and workers raise. SQLite's own exceptions never reach a caller.

An operation that raises one of these has changed nothing in the store, unless its message says ``committed`` or
``removed or replaced``.

```text
BackendError
  InvalidArgumentError    an argument is wrong (also a ValueError)
  NotFoundError           no such instance, task or claim
  AlreadyExistsError      an instance, a task or a file of that name exists
  InvalidStateError       not possible in the present state of the store, instance or task
  ClaimLostError          the claim is no longer the task's
  StoreBusyError          the writer was not free in time: try again
  StoreUnavailableError   the file can't be opened or written
  StoreFullError          the disk is full
  StoreCorruptError       the file is damaged, or no store
  SchemaVersionError      the file is of another version of this library
  StoreClosedError        the store was closed, or its process forked
  TaskFailedError         the result of a failed task was asked for
```
"""

from __future__ import annotations


class BackendError(Exception):
    """The base class of all errors of a claim store.

    ``instance_id`` and ``task_id`` name the instance and the task that the error is about, if it is about one; else
    they are ``None``.
    """

    def __init__(self, *args: object, instance_id: str | None = None, task_id: str | None = None) -> None:
        super().__init__(*args)
        self.instance_id: str | None = instance_id
        self.task_id: str | None = task_id


class InvalidArgumentError(BackendError, ValueError):
    """An argument is wrong. The message names it and the value that was given."""


class NotFoundError(BackendError):
    """There is no such instance, task or claim."""


class ClaimLostError(BackendError):
    """The claim is no longer the task's.

    It was released or settled, another worker has taken the task over, the instance was cancelled, or another worker
    holds the claim.
    """


class AlreadyExistsError(BackendError):
    """An instance, a task or a file of that name exists already."""


class InvalidStateError(BackendError):
    """The store, instance or task is in a state that does not allow this operation."""


class StoreBusyError(BackendError):
    """The file's writer was not free within the timeout. Nothing was changed; the call can be repeated."""


class StoreFullError(BackendError):
    """The disk, or the quota, is full."""


class StoreUnavailableError(BackendError):
    """The file can't be opened or written.

    Common causes: it is missing, permissions, a read-only or network file system, or its files were removed or
    replaced.
    """


class StoreCorruptError(BackendError):
    """The file is not an SQLite database, or is damaged."""


class SchemaVersionError(BackendError):
    """The store's tables are of another version of this library.

    They are newer, or so old that the store must be opened for writing once before it can be read.
    """


class StoreClosedError(BackendError):
    """The store was closed, or this process was forked in a way that makes its use unsafe."""


class TaskFailedError(BackendError):
    """The result of a task was asked for, and the task has failed."""
