"""The Protocol of a transaction, and the Protocol of all methods that stores and transactions share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from .aging import SharedAging
from .claims import SharedClaims
from .instances import SharedInstances
from .limits import SharedLimits
from .schedules import SharedSchedules
from .tasks import SharedTasks


class ClaimWriter(SharedClaims, SharedTasks, SharedInstances, SharedLimits, SharedSchedules, SharedAging, Protocol):
    """The methods that stores and transactions share: all writing methods, ``get_task`` and ``get_instance``."""


class Transaction(ClaimWriter, Protocol):
    """An open transaction. ``store.transaction()`` returns the transaction.

    Only the thread that opened the transaction may use it. The transaction ends with the ``with`` block.
    """

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run your own SQL on your own tables in the same file.

        SQLite's exceptions for this SQL are raised unchanged.

        Args:
            sql: One or more statements, without transaction control.
            params: Values for the placeholders: a sequence for ``?``, a dictionary for ``:name``.

        Returns:
            All rows, as tuples.

        Raises:
            InvalidArgumentError: The SQL contains transaction control, or would change the store's tables or the
                connection.
        """
