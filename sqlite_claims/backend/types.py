"""The types that several Protocols of an engine use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from ..interface import WorkerSession

S = TypeVar("S", bound=WorkerSession)
S_co = TypeVar("S_co", bound=WorkerSession, covariant=True)
T_co = TypeVar("T_co", covariant=True)


class Failure(NamedTuple):
    """The arguments of ``fail_task``. ``retry_in_us``: the delay before a retry; ``None``: as the retry policy says."""

    error: str
    retry: bool = True
    retry_in_us: int | None = None
    detail: bytes = b""
    timed_out: bool = False


class ProgressReport(NamedTuple):
    """The arguments of ``report_progress``. ``None``: the stored value stays."""

    done: float | None
    total: float | None
    note: str | None
    checkpoint: bytes | None


Tags = tuple[str, ...]
"""The tags of a worker, sorted and without duplicates."""
Kinds = frozenset[str] | None
"""The kinds that a worker handles. ``None``: all kinds."""
Steps = Iterable[None]
"""The work that remains after an operation has taken effect. Each item is one short transaction. The transactions raise
no errors. If a transaction fails, the next search for work, or the next prune, does the remaining work."""
