"""Open a store by its path, or later by its URL: the one place that tells the two apart."""

from __future__ import annotations

import os
import re
from typing import Any

from . import validate
from .errors import InvalidArgumentError
from .sqlite.store import SqliteClaimStore

# RFC 3986's form of a scheme. A path that has this form can be written as ``./``.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_store(url_or_path: str | os.PathLike[str], **options: Any) -> SqliteClaimStore:
    """Open the store at a path.

    Args:
        url_or_path: The path of a file. A URL is refused: there is no other engine yet.
        options: Those of ``SqliteClaimStore``.
    """
    return SqliteClaimStore(file_path(url_or_path), **options)


def file_path(url_or_path: str | os.PathLike[str]) -> str:
    """Return the absolute path of the file that a store is, and refuse a URL."""
    if isinstance(url_or_path, str) and (url := _URL.match(url_or_path)):
        scheme = url.group(1).lower()
        if scheme in ("postgresql", "postgres"):
            raise InvalidArgumentError("url_or_path must be a path: stores in PostgreSQL are not there yet")
        raise InvalidArgumentError(f"url_or_path must be a path, not a URL of the unknown scheme {scheme!r}")
    return validate.store_path(url_or_path)
