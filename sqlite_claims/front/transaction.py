"""The methods that stores and transactions share, and the transaction."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from ..backend import TransactionBackend
from ..errors import InvalidArgumentError
from ..interface import ClaimWriter, Transaction
from .aging import SharedAgingFront
from .claims import SharedClaimsFront
from .instances import SharedInstancesFront
from .limits import SharedLimitsFront
from .schedules import SharedSchedulesFront
from .tasks import SharedTasksFront


class Writer(
    SharedClaimsFront,
    SharedTasksFront,
    SharedInstancesFront,
    SharedLimitsFront,
    SharedSchedulesFront,
    SharedAgingFront,
    ClaimWriter,
):
    """The methods that a store and its transactions share."""


class OpenTransaction(Writer, Transaction):
    """A transaction that lasts as long as its ``with`` block. Only the thread that entered the block may use it."""

    _backend: TransactionBackend

    def __init__(self, backend: TransactionBackend) -> None:
        self._backend = backend

    def __enter__(self) -> Self:
        self._backend.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._backend.end(commit=kind is None)

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        if not isinstance(sql, str):
            raise InvalidArgumentError(f"sql must be a str, not {type(sql).__name__}")
        return self._backend.execute(sql, params)
