"""Checks of the values that callers pass. Each function returns the value in the form that the package uses internally.

The checks run before every operation. Therefore each function first tests quickly for the most common case.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from .errors import InvalidArgumentError, StoreUnavailableError

S = TypeVar("S", bound=StrEnum)

NAME_BYTES_MAX = 256
TASKS_PER_CALL_MAX = 100_000
LIMIT_MAX = 2**31 - 1
METADATA_BYTES_MAX = 4096
# The end of year 9999, the last second that a datetime can show.
WALL_US_MAX = 253_402_300_799 * 1_000_000


def shown(value: object) -> str:
    """Return the ``repr`` of a value, cut to a length that fits into a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def name(argument: str, value: object, *, empty: bool = False) -> str:
    """Check that a name is valid UTF-8, has no NUL, and has 1 to 256 bytes. ``empty``: also allow an empty name."""
    if type(value) is str and 0 < len(value) <= NAME_BYTES_MAX and value.isascii() and "\0" not in value:
        return value
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{argument} must be a str, not {type(value).__name__}: {shown(value)}")
    if type(value) is not str:
        value = str.__str__(value)
    if not value and not empty:
        raise InvalidArgumentError(f"{argument} must not be empty")
    if not value.isascii():
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise InvalidArgumentError(f"{argument} is not valid UTF-8: {shown(value)}") from None
    else:
        size = len(value)
    if size > NAME_BYTES_MAX:
        raise InvalidArgumentError(f"{argument} is {size} bytes long; at most {NAME_BYTES_MAX}: {shown(value)}")
    if "\0" in value:
        raise InvalidArgumentError(f"{argument} must not contain NUL: {shown(value)}")
    return value


def names(argument: str, values: object) -> tuple[str, ...]:
    """Check a collection of names, and return them sorted and without duplicates. A ``str`` is not a collection."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"{argument} must be a collection of str, not {shown(values)}")
    return tuple(sorted({name(f"each of {argument}", value) for value in values}))


def kinds(values: Collection[str] | None) -> frozenset[str] | None:
    """Check the kinds that a worker handles. ``None``: all kinds. ``""`` is the kind of tasks without a kind."""
    if values is None:
        return None
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"kinds must be a collection of str or None, not {shown(values)}")
    found = frozenset(name("each of kinds", value, empty=True) for value in values)
    if "*" in found:
        raise InvalidArgumentError("kinds must not contain '*', which is reserved; kinds=None is all of them")
    return found


def data(argument: str, value: object, bytes_max: int | None = None) -> bytes:
    """Check a bytes-like value, and return it as ``bytes``. ``bytes_max``: the largest allowed size."""
    if type(value) is not bytes:
        try:
            value = memoryview(value).tobytes()  # type: ignore[arg-type]
        except TypeError:
            raise InvalidArgumentError(
                f"{argument} must be bytes-like, not {type(value).__name__}: {shown(value)}"
            ) from None
    if bytes_max is not None and len(value) > bytes_max:
        raise InvalidArgumentError(f"{argument} is {len(value):,} bytes long; at most {bytes_max:,}")
    return value


def text(argument: str, value: object, bytes_max: int | None = None) -> str:
    """Check a ``str``, and return it. Characters that UTF-8 cannot encode are replaced by escape sequences.

    ``bytes_max``: the largest allowed size in UTF-8."""
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{argument} must be a str, not {type(value).__name__}: {shown(value)}")
    encoded = value.encode("utf-8", "backslashreplace")
    if bytes_max is not None and len(encoded) > bytes_max:
        raise InvalidArgumentError(f"{argument} is {len(encoded):,} bytes long; at most {bytes_max:,}")
    return encoded.decode()


def boolean(argument: str, value: object) -> bool:
    """Check that a value is exactly ``True`` or ``False``. Numbers such as 1 are refused."""
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{argument} must be a bool, not {shown(value)}")
    return value


def limit_name(argument: str, value: object) -> str:
    """Check the ``limit`` of a task. An empty partition is left out: the result for ``"account:"`` is ``"account"``."""
    checked = name(argument, value)
    rule, colon, partition = checked.partition(":")
    if not rule:
        raise InvalidArgumentError(f"{argument} must name a limit before the first ':', not {shown(value)}")
    return checked if partition or not colon else rule


def rule_name(argument: str, value: object) -> str:
    """Check the name of a limit, without a partition."""
    checked = name(argument, value)
    if ":" in checked:
        raise InvalidArgumentError(
            f"{argument} must not contain ':', because a limit is set for all its partitions, not {shown(value)}"
        )
    return checked


def integer(argument: str, value: object, low: int, high: int | None = None) -> int:
    """Check an ``int`` (not a ``bool``) from ``low`` to ``high``."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidArgumentError(f"{argument} must be an int, not {type(value).__name__}: {shown(value)}")
    if value < low or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InvalidArgumentError(f"{argument} must be {bounds}, not {shown(value)}")
    return value


def limit(value: object) -> int:
    """Check a maximum number. A number above ``LIMIT_MAX`` is replaced by ``LIMIT_MAX``."""
    return min(integer("limit", value, 0), LIMIT_MAX)


def number(argument: str, value: object, low: float, high: float = math.inf) -> float:
    """Check a finite ``int`` or ``float`` (not a ``bool``) from ``low`` to ``high``."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InvalidArgumentError(f"{argument} must be a number, not {type(value).__name__}: {shown(value)}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result) or not low <= result <= high:
        bounds = f"of at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise InvalidArgumentError(f"{argument} must be a finite number {bounds}, not {shown(value)}")
    return result


def duration_us(argument: str, value: object, *, wall_us: int = 0) -> int:
    """Check a ``timedelta`` or a number of seconds, and return it in microseconds.

    The duration must be finite and not negative. ``wall_us`` plus the duration must not be after the year 9999.
    """
    if isinstance(value, timedelta):
        us = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        if us < 0:
            raise InvalidArgumentError(f"{argument} must not be negative: {shown(value)}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if not value >= 0:  # the condition is also true for NaN
            raise InvalidArgumentError(f"{argument} must be a duration of at least 0 s, not {shown(value)}")
        if value > WALL_US_MAX // 1_000_000:
            raise InvalidArgumentError(f"{argument} reaches past the year 9999: {shown(value)}")
        us = round(value * 1_000_000)
    else:
        raise InvalidArgumentError(
            f"{argument} must be a timedelta or seconds as int or float, not {type(value).__name__}: {shown(value)}"
        )
    if us + wall_us > WALL_US_MAX:
        raise InvalidArgumentError(f"{argument} reaches past the year 9999: {shown(value)}")
    return us


def timeout_us(argument: str, value: object) -> int:
    """Check a duration that must be longer than 0, and return it in microseconds."""
    us = duration_us(argument, value)
    if us == 0:
        raise InvalidArgumentError(f"{argument} must be a duration of more than 0 s, not {shown(value)}")
    return us


def moment(argument: str, value: object) -> datetime:
    """Check an aware ``datetime``, and return it in UTC."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidArgumentError(f"{argument} must be an aware datetime, not {shown(value)}")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidArgumentError(f"{argument} is not in the years 1 to 9999: {shown(value)}") from None


def metadata(value: object) -> dict[str, str]:
    """Check the metadata of a task: a mapping of ``str`` to ``str`` with at most 4 KiB as JSON. Return a copy."""
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"metadata must be a mapping of str to str, not {shown(value)}")
    checked = {_utf8("each key of metadata", key): _utf8("each value of metadata", text) for key, text in value.items()}
    size = len(metadata_json(checked).encode())
    if size > METADATA_BYTES_MAX:
        raise InvalidArgumentError(f"metadata is {size:,} bytes long as JSON; at most {METADATA_BYTES_MAX:,}")
    return checked


def metadata_json(checked: Mapping[str, str]) -> str:
    """Return checked metadata as JSON, in the form that stores keep and whose size is limited."""
    return json.dumps(dict(checked), ensure_ascii=False, separators=(",", ":"))


def _utf8(argument: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{argument} must be a str, not {type(value).__name__}: {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{argument} is not valid UTF-8: {shown(value)}") from None
    return str.__str__(value)


def states(argument: str, values: object, kind: type[S]) -> frozenset[S] | None:
    """Check a collection of states or of strings that name states. ``None``: all states."""
    if values is None:
        return None
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"{argument} must be a collection of {kind.__name__}, not {shown(values)}")
    try:
        return frozenset(kind(value) for value in values)
    except ValueError as error:
        raise InvalidArgumentError(f"{argument}: {error}") from None


def store_path(path: object) -> str:
    """Return the absolute path of a store's file, with links resolved.

    Raises:
        InvalidArgumentError: The value is not a valid path of a store.
        StoreUnavailableError: The path is relative, and the current folder has been removed.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise InvalidArgumentError(f"path must be a str or a path, not {type(path).__name__}: {path!r}")
    text = os.fsdecode(path)
    if text in ("", ":memory:"):
        raise InvalidArgumentError(
            f"path must not be {text!r}: a store is a file that other processes can open, too "
            "(for tests: InMemoryClaimStore)"
        )
    if "\0" in text:
        raise InvalidArgumentError(f"path must not contain NUL: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"path must be valid UTF-8, because SQLite requires it: {text!r}") from None
    try:
        return os.path.realpath(text)
    except OSError as error:
        raise StoreUnavailableError(f"{text}: the current folder no longer exists ({error.strerror})") from error
