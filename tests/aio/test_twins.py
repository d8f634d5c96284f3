"""The asynchronous store has all methods of the synchronous store, and the generated files are up to date."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sqlite_claims import AsyncSqliteClaimStore, AsyncTaskClaimStore, SqliteClaimStore, TaskClaimStore
from sqlite_claims.aio import AsyncOpenTransaction
from sqlite_claims.aio import interface as async_interface
from sqlite_claims.front import OpenTransaction
from sqlite_claims.interface import Transaction

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_aio.py"
# Properties of the synchronous store, and the methods that replace them in the asynchronous store, because a property
# cannot be awaited.
OTHER_NAMES = {"aging_interval": "get_aging_interval"}
MANAGERS = {"__enter__": "__aenter__", "__exit__": "__aexit__"}


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_aio", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


@pytest.mark.parametrize("package", ["interface", "methods"])
def test_the_generated_files_are_what_the_generator_makes(package: str) -> None:
    folder = SCRIPT.parents[1] / "sqlite_claims" / "aio" / package
    texts = {path: text for path, text in generator().texts().items() if path.parent == folder}
    assert texts
    assert texts.keys() == set(folder.glob("*.py")) - {folder / "__init__.py"}
    for path, text in texts.items():
        assert path.read_text("utf-8") == text, "run `make generate`"


PAIRS: list[tuple[type[Any], type[Any]]] = [
    (SqliteClaimStore, AsyncSqliteClaimStore),
    (OpenTransaction, AsyncOpenTransaction),
    (TaskClaimStore, AsyncTaskClaimStore),
    (Transaction, async_interface.AsyncTransaction),
]


@pytest.mark.parametrize(("kind", "counterpart"), PAIRS, ids=lambda kind: kind.__name__)
def test_every_public_name_has_an_async_counterpart_and_no_other_exists(kind: type, counterpart: type) -> None:
    assert sorted(OTHER_NAMES.get(name, name) for name in public(kind)) == public(counterpart)
    for name, other in MANAGERS.items():
        assert hasattr(kind, name) == hasattr(counterpart, other)


@pytest.mark.parametrize(("kind", "counterpart"), PAIRS, ids=lambda kind: kind.__name__)
def test_async_counterparts_take_the_same_arguments_with_the_same_defaults(kind: type, counterpart: type) -> None:
    for name in [*(name for name in public(kind) if callable(getattr(kind, name))), "__init__"]:
        if name == "__init__" and "Open" in kind.__name__:
            continue  # only stores create objects of this class
        taken, others_taken = (inspect.signature(getattr(of, name)).parameters for of in (kind, counterpart))
        assert [(p.name, p.kind, p.default) for p in taken.values()] == [
            (p.name, p.kind, p.default) for p in others_taken.values()
        ], name


@pytest.mark.parametrize("counterpart", [counterpart for _, counterpart in PAIRS], ids=lambda kind: kind.__name__)
def test_every_method_is_a_coroutine_apart_from_those_for_async_with_and_async_for(counterpart: type) -> None:
    others = {
        name
        for name in public(counterpart)
        if callable(getattr(counterpart, name)) and not inspect.iscoroutinefunction(getattr(counterpart, name))
    }
    expected = {"transaction", "list_instances", "list_tasks", "list_claims", "list_workers"}
    assert others == expected & set(public(counterpart))
