"""Check with pyright that every public name has a complete type. Usage: ``python scripts/check_types.py``.

``pyright --verifytypes`` treats every module without a leading underscore as public. In this project, fewer names are
public: the names in ``__all__`` of the package and of ``aio``, and the names without a leading underscore in
``errors``, ``interface`` and ``testing``. The members of public classes and of their base classes are also public.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlite_claims
from sqlite_claims import aio, errors, interface, testing

ROOT = Path(__file__).parents[1]


def public_names() -> set[str]:
    """Return the full names of the public objects and of the bases of the public classes."""
    modules: list[ModuleType] = [sqlite_claims, aio]
    objects: list[Any] = [getattr(module, name) for module in modules for name in module.__all__]
    for module in (errors, interface, testing):
        objects += [value for name, value in vars(module).items() if not name.startswith("_")]
    names = set()
    for value in objects:
        for part in inspect.getmro(value) if inspect.isclass(value) else [value]:
            if getattr(part, "__module__", "").startswith("sqlite_claims"):
                names.add(f"{part.__module__}.{part.__qualname__}")
    return names


def main() -> None:
    """Print each public name whose type is unknown or ambiguous. Exit with status 1 if there is such a name."""
    command = [str(Path(sys.executable).with_name("basedpyright")), "--pythonpath", sys.executable]
    command += ["--verifytypes", "sqlite_claims", "--ignoreexternal", "--outputjson"]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=False
    )
    public = public_names()
    checked = 0
    bad = []
    for symbol in json.loads(run.stdout)["typeCompleteness"]["symbols"]:
        name = symbol["name"]
        if name in public or name.rpartition(".")[0] in public:
            checked += 1
            if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]:
                bad.append(name)
    for name in bad:
        print(f"{name}: its type is unknown or ambiguous")
    print(f"{checked - len(bad)} of {checked} public names have a complete type")
    if bad or not checked:
        sys.exit(1)


if __name__ == "__main__":
    main()
