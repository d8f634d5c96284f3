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
    for name in sqlite_claims.__all__:
        groups[_group(getattr(sqlite_claims, name))].append(name)
    parts = [HEAD]
    for title, names in groups.items():
        parts.append(f"## {title}\n")
        parts.extend("\n".join(_entry(name, getattr(sqlite_claims, name))) for name in sorted(names))
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
    return "Workers" if module in ("workers", "mapping") else "Stores"


def _entry(name: str, value: Any) -> Iterator[str]:
    if not inspect.isclass(value):
        yield f"### {name}{_signature(value)}\n"
        yield f"{_doc(value)}\n"
        return
    if issubclass(value, BaseException):
        bases = ", ".join(base.__name__ for base in value.__bases__)
        yield f"### {name}\n\nDerives from `{bases}`. {_doc(value)}\n"
        return
    if issubclass(value, enum.Enum):
        yield f"### {name}\n\n{_doc(value)}\n\nValues: {', '.join(f'`{member.name}`' for member in value)}.\n"
        return
    yield f"### {name}\n"
    yield f"{_doc(value)}\n"
    if dataclasses.is_dataclass(value):
        fields = [field for field in dataclasses.fields(value) if not field.name.startswith("_")]
        yield "".join(f"* `{field.name}: {field.type}{_default(field)}`\n" for field in fields)
    elif "__init__" in vars(value) and not getattr(value, "_is_protocol", False):
        yield f"`{name}{_signature(value.__init__, bound=True)}`\n"
        if value.__init__.__doc__:
            yield f"{_doc(value.__init__)}\n"
    base = next((base for base in value.__mro__[1:] if base.__name__ in sqlite_claims.__all__), object)
    shared = sorted(key for key in dir(base) if not key.startswith("_"))
    members = [(key, member) for key, member in inspect.getmembers_static(value) if not key.startswith("_")]
    for key, member in members:
        if isinstance(member, property):
            found, shown = _doc(member), f"`{key}`"
        elif inspect.isfunction(member):
            found, shown = _doc(getattr(value, key)), f"`{key}{_signature(member, bound=True)}`"
        else:
            continue
        if key not in shared:
            yield f"**{shown}**\n\n{found}\n"
        elif inspect.isfunction(member) and _signature(member) != _signature(getattr(base, key)):
            yield f"**{shown}**\n\nAs in `{base.__name__}`{'' if found == _doc(getattr(base, key)) else f'. {found}'}\n"
    if shared:
        yield f"All of `{base.__name__}`: {', '.join(f'`{key}`' for key in shared)}.\n"


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
