"""The named SQL statements of ``sql/*.sql``. No SQL text stands anywhere else in Python, but in ``baseline.py``, whose
file is no store.

A block starts with ``-- name: some_name``; comment lines in it are for readers and are dropped, so that the text which
SQLite's statement cache hashes on every call is short.
"""

from __future__ import annotations

import re
from importlib.resources import files

_FOLDER = files(__package__) / "sql"
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


class Statements:
    """Attribute access to the statements by name."""

    def __init__(self) -> None:
        for entry in sorted(_FOLDER.iterdir(), key=lambda entry: entry.name):
            if not entry.name.endswith(".sql") or entry.name[0].isdigit():
                continue
            parts = _NAME.split(entry.read_text("utf-8"))
            for name, body in zip(parts[1::2], parts[2::2], strict=True):
                if name in self.__dict__:
                    raise ValueError(f"statement {name} stands twice")
                lines = (line.split("-- ")[0].strip() for line in body.splitlines())
                self.__dict__[name] = " ".join(line for line in lines if line).rstrip(";")

    def __getattr__(self, name: str) -> str:
        raise AttributeError(f"no statement is named {name!r}")

    def all(self) -> dict[str, str]:
        """Every statement by its name."""
        return dict(self.__dict__)


sql = Statements()


def migrations() -> list[tuple[int, str]]:
    """Schema versions and their scripts, in order."""
    scripts = [entry for entry in _FOLDER.iterdir() if entry.name[0].isdigit()]
    return sorted((int(entry.name.split("_")[0]), entry.read_text("utf-8")) for entry in scripts)
