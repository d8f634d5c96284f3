"""Builds dataclasses and TypedDicts from JSON values, and checks the type of every field."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

T = TypeVar("T")


def build(kind: type[T], value: object) -> T:
    """Return an object of the class ``kind``. Its fields are in ``value``, which ``json.loads`` has returned.

    Raises ``ValueError`` if a field is missing or unknown, or has the wrong type. If the field's type is a tuple, a
    list is converted to a tuple. A ``float`` field may contain an ``int``.
    """
    built: T = _convert(kind, value)
    return built


def _convert(hint: Any, value: object) -> Any:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        for option in get_args(hint):
            with suppress(ValueError):
                return _convert(option, value)
    elif origin is Literal:
        if value in get_args(hint):
            return value
    elif origin in (list, tuple):
        if isinstance(value, list):
            return origin(_convert(get_args(hint)[0], item) for item in value)
    elif origin is dict:
        if isinstance(value, dict):
            return {key: _convert(get_args(hint)[1], item) for key, item in value.items()}
    elif is_dataclass(hint) or is_typeddict(hint):
        return hint(**_convert_fields(hint, value))
    elif type(value) is hint or (hint is float and type(value) is int):
        return value
    raise ValueError(f"not a {hint}: {type(value).__name__}")


def _convert_fields(hint: Any, value: object) -> dict[str, Any]:
    hints = get_type_hints(hint)
    if not isinstance(value, dict) or not value.keys() <= hints.keys():
        raise ValueError(f"not the fields of {hint.__name__}")
    required = getattr(hint, "__required_keys__", hints.keys())
    if not required <= value.keys():
        raise ValueError(f"a field of {hint.__name__} is missing")
    return {name: _convert(hints[name], item) for name, item in value.items()}
