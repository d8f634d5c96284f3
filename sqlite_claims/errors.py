"""The errors that stores and workers raise. SQLite's own exceptions never reach a caller.

An operation that raises one of these errors has changed nothing in the store, unless the error's message contains
``committed`` or ``removed or replaced``.

```text
BackendError
  InvalidArgumentError    an argument is wrong (also a ValueError)
  NotFoundError           no such instance, task or claim
  AlreadyExistsError      an instance, a task or a file of that name exists
  InvalidStateError       the operation is not possible in the current state of the store, instance or task
  ClaimLostError          the claim is no longer valid
  StoreBusyError          the writer was not free in time; try again
  StoreUnavailableError   the file can't be opened or written
  StoreFullError          the disk is full
  StoreCorruptError       the file is damaged, or is not a store
  SchemaVersionError      this library cannot use the version of the store's tables
  StoreClosedError        the store was closed, or the process was forked
  TaskFailedError         the result of a failed task was requested
```
"""

from __future__ import annotations


class BackendError(Exception):
    """The base class of all errors of a claim store.

    ``instance_id`` and ``task_id`` are the names of the instance and the task that the error concerns, or ``None``.
    """

    def __init__(self, *args: object, instance_id: str | None = None, task_id: str | None = None) -> None:
        super().__init__(*args)
        self.instance_id: str | None = instance_id
        self.task_id: str | None = task_id


class InvalidArgumentError(BackendError, ValueError):
    """An argument is wrong. The message names the argument and the given value."""


class NotFoundError(BackendError):
    """There is no such instance, task or claim."""


class ClaimLostError(BackendError):
    """The claim is no longer valid, or another worker holds the claim on the task.

    Reasons: the claim was settled or released, another worker has taken the task over, or the instance was cancelled.
    """


class AlreadyExistsError(BackendError):
    """An instance, a task or a file of that name exists already."""


class InvalidStateError(BackendError):
    """The store, instance or task is in a state that does not allow this operation."""


class StoreBusyError(BackendError):
    """The file's writer was not free within the timeout. Nothing was changed, so the call can be repeated."""


class StoreFullError(BackendError):
    """The disk, or the quota, is full."""


class StoreUnavailableError(BackendError):
    """The file can't be opened or written.

    Common causes: a missing file, missing permissions, a read-only or network file system, or files of the store that
    were removed or replaced.
    """


class StoreCorruptError(BackendError):
    """The file is not an SQLite database, or is damaged."""


class SchemaVersionError(BackendError):
    """This library cannot use the version of the store's tables.

    The version is too new for this library, or so old that a program must open the store for writing once before any
    program can read the store.
    """


class StoreClosedError(BackendError):
    """The store was closed, or this process was forked in a way that makes the store unsafe to use."""


class TaskFailedError(BackendError):
    """The result of a failed task was requested."""
