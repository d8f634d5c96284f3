"""The Protocols of a claim store. All stores inherit the docstrings of the methods in this package.

Every method may raise the following errors, in addition to the errors in its own docstring:

* ``InvalidArgumentError``: an argument is wrong; the message names the argument.
* ``StoreClosedError``: the store was closed.
* ``StoreBusyError``: another process or thread held the writer for longer than ``busy_timeout``.
* ``StoreFullError``, ``StoreUnavailableError``, ``StoreCorruptError``: the disk or the file has a problem.
* ``InvalidStateError``: a writing method was called on a store opened with ``read_only=True``.

If a method raises an error, it has changed nothing.
"""

from .claims import FailureArguments, Handover, Settled
from .sessions import WorkerSession
from .store import TaskClaimStore, WorkerStore
from .tasks import IfExists, TaskOptions
from .transaction import ClaimWriter, Transaction

__all__ = [
    "ClaimWriter",
    "FailureArguments",
    "Handover",
    "IfExists",
    "Settled",
    "TaskClaimStore",
    "TaskOptions",
    "Transaction",
    "WorkerSession",
    "WorkerStore",
]
