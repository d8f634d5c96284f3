"""Iterators over records that are read in pages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

from .. import validate

T = TypeVar("T")


class Paged(Iterator[T], Generic[T]):
    """An iterator over records. Each page of records is read when the iteration reaches the page. The
    attribute ``pages`` iterates over whole pages."""

    def __init__(self, pages: Iterator[list[T]]) -> None:
        self.pages = pages
        self._records = chain.from_iterable(pages)

    def __next__(self) -> T:
        return next(self._records)


def first(number: int, pages: Iterator[list[T]]) -> Paged[T]:
    """Return an iterator over the first ``number`` records. The pages after these records are not read."""

    def cut() -> Iterator[list[T]]:
        remaining = number
        while remaining and (page := next(pages, None)) is not None:
            yield page[:remaining]
            remaining -= min(remaining, len(page))

    return Paged(cut())


def maximum(limit: int | None) -> int:
    """Return the checked maximum number of records. ``None``: no maximum."""
    return validate.LIMIT_MAX if limit is None else validate.limit(limit)
