"""Open a store by its path. No other module distinguishes paths from URLs."""

from __future__ import annotations

import os
import re
from typing import Literal

from . import validate
from .clock import SYSTEM_CLOCK, Clock
from .errors import InvalidArgumentError
from .sqlite.store import SqliteClaimStore

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_store(
    url_or_path: str | os.PathLike[str],
    *,
    create: bool = True,
    read_only: bool = False,
    durability: Literal["full", "process"] = "full",
    busy_timeout: float = 10.0,
    use_c_core: bool | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> SqliteClaimStore:
    """Open the store in a file. All arguments except ``url_or_path`` are arguments of ``SqliteClaimStore``.

    Args:
        url_or_path: The path of the file. A URL is refused, because no engine supports URLs yet.
    """
    return SqliteClaimStore(
        file_path(url_or_path, argument="url_or_path"),
        create=create,
        read_only=read_only,
        durability=durability,
        busy_timeout=busy_timeout,
        use_c_core=use_c_core,
        clock=clock,
    )


def file_path(path: str | os.PathLike[str], *, argument: str = "path") -> str:
    """Return the absolute path of a store's file, and refuse a URL."""
    if isinstance(path, str) and (url := _URL.match(path)):
        scheme = url.group(1)
        if scheme.lower() in ("postgresql", "postgres"):
            raise InvalidArgumentError(f"{argument} must be the path of a file: there is no store in PostgreSQL yet")
        raise InvalidArgumentError(
            f"{argument} must be the path of a file, not a URL of the scheme {scheme!r}; begin a path with ./"
        )
    return validate.store_path(path)
