"""Writes docs/reference.md from the docstrings of the public names, so that it can't drift from them.

A test compares the file with what ``reference()`` returns; ``make generate`` writes it.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlite_claims
from sqlite_claims import testing
from sqlite_claims.interface import Transaction
from sqlite_claims.sqlite.sessions.session_file import WorkerSession

# What methods give, and nobody makes.
GIVEN = {"Transaction": Transaction, "WorkerSession": WorkerSession}
TARGET = Path(__file__).parents[1] / "docs" / "reference.md"
HEAD = """\
# Reference

Written from the docstrings by `make generate`; not to be edited. [Fine points of meaning](semantics.md) settles what
they leave open.

All durations are a `timedelta`, or seconds as `int` or `float`.
"""


def reference() -> str:
    """The text of docs/reference.md."""
    groups: dict[str, list[str]] = {"Stores": [], "Workers": [], "Records": [], "Errors": []}
    public = {name: getattr(sqlite_claims, name) for name in sqlite_claims.__all__} | GIVEN
    for name in sorted(public):
        groups[_group(public[name])].append("\n".join(_entry(name, public[name])))
    parts = [HEAD]
    for title, entries in groups.items():
        parts.extend([f"## {title}\n", *entries])
    parts.append("## For tests\n\nIn `sqlite_claims.testing`.\n")
    parts.extend(
        "\n".join(_entry(name, value))
        for name, value in sorted(vars(testing).items())
        if getattr(value, "__module__", None) == testing.__name__ and not name.startswith("_")
    )
    return "\n".join(parts)


def _group(value: Any) -> str:
    module = value.__module__.split(".")[1]
    if inspect.isclass(value) and issubclass(value, BaseException) and module == "errors":
        return "Errors"
    if module == "model":
        return "Records"
    return "Workers" if module == "workers" else "Stores"


def _entry(name: str, value: Any) -> Iterator[str]:
    yield f"### {name}\n"
    if not inspect.isclass(value):
        yield f"`{name}{_signature(value)}`\n\n{_doc(value)}\n"
    elif issubclass(value, BaseException):
        yield f"Derives from `{', '.join(base.__name__ for base in value.__bases__)}`. {_doc(value)}\n"
    elif issubclass(value, enum.Enum):
        yield f"{_doc(value)}\n\nValues: {', '.join(f'`{member.name}`' for member in value)}.\n"
    else:
        yield f"{_doc(value)}\n"
        yield from _making(name, value)
        yield from _members(name, value)


def _making(name: str, value: type) -> Iterator[str]:
    """How one is made: a record's fields, or the arguments of others."""
    if dataclasses.is_dataclass(value):
        fields = [field for field in dataclasses.fields(value) if not field.name.startswith("_")]
        yield "".join(f"* `{field.name}: {field.type}{_default(field)}`\n" for field in fields)
    elif "__init__" in vars(value) and name not in GIVEN and not getattr(value, "_is_protocol", False):
        yield f"`{name}{_signature(vars(value)['__init__'], bound=True)}`\n"
        if vars(value)["__init__"].__doc__:
            yield f"{_doc(vars(value)['__init__'])}\n"


def _members(name: str, value: type) -> Iterator[str]:
    """Methods and properties. What means the same in a public base, or without coroutines, stands there alone."""
    same: list[str] = []
    bases = [base for base in value.__mro__[1:] if base.__name__ in sqlite_claims.__all__]
    base = bases[0] if bases else getattr(sqlite_claims, name.removeprefix("Async"), value)
    if value is Transaction:
        base = sqlite_claims.TaskClaimStore
    for key, member in inspect.getmembers_static(value):
        if key.startswith("_") or not (isinstance(member, property) or inspect.isfunction(member)):
            continue
        text, told = _doc(getattr(value, key)), _doc(getattr(base, key, None))
        if isinstance(member, property):
            text, signature, known = _doc(member), "", ""
        else:
            signature = _signature(member, bound=True)
            known = _signature(getattr(base, key), bound=True) if hasattr(base, key) else ""
        if base is value or text != told or signature != known:
            yield f"**`{key}{signature}`**\n"
            yield f"{text}\n" if base is value or text != told else f"As in `{base.__name__}`.\n"
        else:
            same.append(key)
    if same:
        yield f"As in `{base.__name__}`: {', '.join(f'`{key}`' for key in same)}.\n"


def _doc(value: Any) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", inspect.getdoc(value) or "", flags=re.DOTALL)


def _default(field: dataclasses.Field[Any]) -> str:
    return "" if field.default is dataclasses.MISSING else f" = {_shown(field.default)}"


def _shown(value: object) -> str:
    text = repr(value)
    return "..." if text.startswith("<") else text


def _signature(function: Any, *, bound: bool = False) -> str:
    """Written here, because ``str(Signature)`` differs between versions of Python."""
    found = inspect.signature(function)
    parts: list[str] = []
    for parameter in list(found.parameters.values())[bound:]:
        starred = parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts
        if starred and not any(part.startswith("*") for part in parts):
            parts.append("*")
        prefix = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
        text = f"{prefix}{parameter.name}{_annotation(parameter.annotation, ': ')}"
        parts.append(text if parameter.default is parameter.empty else f"{text} = {_shown(parameter.default)}")
    return f"({', '.join(parts)}){_annotation(found.return_annotation, ' -> ')}"


def _annotation(value: Any, before: str) -> str:
    if value is inspect.Signature.empty:
        return ""
    return before + (value if isinstance(value, str) else getattr(value, "__name__", str(value)))


if __name__ == "__main__":
    TARGET.write_text(reference(), "utf-8")
