"""Generate the asynchronous interface and the asynchronous methods of the store from the synchronous code, so that
nobody has to write a method twice.

``sqlite_claims/aio/interface.py`` contains the Protocols of ``sqlite_claims/interface.py`` with coroutines.
``sqlite_claims/aio/methods.py`` contains the methods of ``SqliteClaimStore`` and its transactions. Each of these
methods makes one call on the store's thread. ``make generate`` writes the two files, and a test checks that they are up
to date.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "sqlite_claims"
LINE_LENGTH = 120

NOTE = "Written by scripts/make_aio.py; not to be edited."

INTERFACE_HEAD = f'''\
"""What every asynchronous claim store does: the Protocols of ``sqlite_claims.interface``, with coroutines.

{NOTE}
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol, Self

from ..interface import IfExists, Settled
from ..model import (
    AvailableTask,
    ClaimedTask,
    Duration,
    InstanceInfo,
    InstanceState,
    NewTask,
    StoreStats,
    TaskClaim,
    TaskInfo,
    TaskState,
    WorkerInfo,
)
from .session import AsyncWorkerSession
'''

METHODS_HEAD = f'''\
"""The methods of ``AsyncSqliteClaimStore`` and its transactions that are one call on the store's thread each.

{NOTE}
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterable

from ..interface import IfExists, Settled
from ..model import (
    AvailableTask,
    ClaimedTask,
    Duration,
    InstanceInfo,
    InstanceState,
    NewTask,
    StoreStats,
    TaskClaim,
    TaskInfo,
    TaskState,
    WorkerInfo,
)
from .calls import StoreCalls, WriterCalls
from .interface import AsyncClaimWriter, AsyncTaskClaimStore
from .session import AsyncWorkerSession, bare
'''

NAMES = {
    "ClaimWriter": "AsyncClaimWriter",
    "Transaction": "AsyncTransaction",
    "TaskClaimStore": "AsyncTaskClaimStore",
    "WorkerSession": "AsyncWorkerSession",
    "Iterator": "AsyncIterator",
    "AbstractContextManager": "AbstractAsyncContextManager",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "aging_interval": "get_aging_interval",
}

# Docstrings that differ from those of the synchronous classes and methods.
DOCSTRINGS = {
    "Transaction": '''\
"""What ``transaction()`` gives: its methods run within one transaction, which ends with the ``async with`` block.

    What is called on the store itself within the block, also by tasks that the block starts, sees what the transaction
    has done so far and can't write; calls from elsewhere wait until it has ended.
    """''',
    "TaskClaimStore": '''\
"""``TaskClaimStore`` for programs on an event loop. Each method means the same and is a coroutine, except that
    ``list_*`` give asynchronous iterators, that ``transaction()`` is for ``async with``, and that the property
    ``aging_interval`` is ``get_aging_interval()``.

    A call that is cancelled before it has begun is not made. One that has begun happens, but a claim that its caller
    did not get is given back.
    """''',
    "aging_interval": '''\
"""Seconds of waiting that are worth one priority level; ``None``: no aging. A property of the file, which
        has to be read to tell it: hence a coroutine."""''',
    "wait_for_tasks": '''\
"""Wait until a task that these admit can be claimed: ``True``, at once where one already can. ``False`` at the
        timeout. Another may claim it first. Other calls go on meanwhile."""''',
    "transaction": '''\
"""Several writes, and the caller's own SQL in the same file, all or nothing. ``timeout`` bounds waiting for
        the writer and holding it: past it all is rolled back, whatever the block is doing, and the next call, or the
        end, raises ``StoreBusyError``. A call that raises undoes only itself."""''',
    "close": '''\
"""End the use of the store, after the calls that were made before. May be called twice."""''',
}

# Methods that are written by hand in aio/store.py, because they wait, or open or close an object.
BY_HAND = {"wait_for_tasks", "wait_for_instance", "open_session", "transaction", "path", "close"}
# Methods that claim tasks. If the caller is cancelled, the claims must be released.
CLAIMING = {"claim_task", "claim_available_tasks"}
# Long reads, which run on a separate thread. The store's method with the same name and a leading underscore returns the
# ``LongRead`` object that the thread runs.
APART = {"backup", "check"}


def interface() -> str:
    """Return the text of aio/interface.py."""
    source = (PACKAGE / "interface.py").read_text("utf-8")
    parts = [INTERFACE_HEAD]
    for node in _classes(source, {"ClaimWriter", "Transaction", "TaskClaimStore"}):
        bases = ", ".join(_renamed(source, base) for base in node.bases)
        parts.append(f"\n\nclass {NAMES[node.name]}({bases}):\n    {_docstring(source, node)}\n")
        for method in _methods(node):
            body = _docstring(source, method)
            parts.append(f"\n{_signature(source, method)}" + (f"\n        {body}\n" if body else " ...\n"))
    return "".join(parts)


def methods() -> str:
    """Return the text of aio/methods.py."""
    parts = [METHODS_HEAD]
    for module, name, heading in (
        ("front.py", "Writer", "AsyncWriter(WriterCalls, AsyncClaimWriter)"),
        ("front.py", "Store", "AsyncStoreMethods(StoreCalls, AsyncWriter, AsyncTaskClaimStore)"),
    ):
        source = (PACKAGE / module).read_text("utf-8")
        (node,) = _classes(source, {name})
        parts.append(f'\n\nclass {heading}:\n    """Each method of ``{name}`` as one call."""\n')
        parts.extend(
            f"\n{_signature(source, method)}\n{_call(method)}"
            for method in _methods(node)
            if not method.name.startswith("_") and method.name not in BY_HAND
        )
    return "".join(parts)


def _classes(source: str, names: set[str]) -> Iterator[ast.ClassDef]:
    return (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name in names)


def _methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    return (member for member in node.body if isinstance(member, ast.FunctionDef))


def _docstring(source: str, node: ast.ClassDef | ast.FunctionDef) -> str:
    """Return the docstring with its quotes as in the source, or ``""`` if there is no docstring."""
    first = node.body[0]
    if node.name in DOCSTRINGS:
        return DOCSTRINGS[node.name]
    return (ast.get_source_segment(source, first) or "") if ast.get_docstring(node) else ""


def _signature(source: str, node: ast.FunctionDef) -> str:
    """Return the asynchronous method's definition up to the colon, in the formatter's layout."""
    returns = _renamed(source, node.returns)
    lists = returns.startswith("AsyncIterator[")
    gives_manager = returns.startswith("AbstractAsyncContextManager[")
    start = f"{'' if lists or gives_manager else 'async '}def {NAMES.get(node.name, node.name)}("
    parts = ["self"]
    spec = node.args
    defaults: list[ast.expr | None] = [None] * (len(spec.args) - len(spec.defaults)) + list(spec.defaults)
    for argument, default in list(zip(spec.args, defaults, strict=True))[1:]:
        parts.append(_parameter(source, argument, default))
    if spec.kwonlyargs:
        parts.append("*")
    for argument, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        parts.append(_parameter(source, argument, default))
    end = f") -> {returns}:"
    return _laid_out(4, start, parts, end)


def _parameter(source: str, argument: ast.arg, default: ast.expr | None) -> str:
    text = f"{argument.arg}: {_renamed(source, argument.annotation)}"
    return text if default is None else f"{text} = {ast.get_source_segment(source, default)}"


def _renamed(source: str, node: ast.expr | None) -> str:
    """Return the source of an annotation, with each synchronous name replaced by its asynchronous name."""
    assert node is not None
    text = ast.get_source_segment(source, node)
    assert text is not None
    found = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    for name in found & NAMES.keys():
        text = text.replace(name, NAMES[name])
    return text


def _call(method: ast.FunctionDef) -> str:
    """Return the asynchronous method's body, which is one call of the method of the same name on the store's thread."""
    assert method.returns is not None
    returns = ast.unparse(method.returns)
    arguments = [argument.arg for argument in method.args.args[1:]]
    arguments += [f"{argument.arg}={_passed(argument.arg)}" for argument in method.args.kwonlyargs]
    if returns.startswith("Iterator["):
        before, through = "return ", "_listed"
    else:
        before = "await " if returns == "None" else "return await "
        through = "_claim" if method.name in CLAIMING else "_apart" if method.name in APART else "_call"
    if any(ast.unparse(decorator) == "property" for decorator in method.decorator_list):
        return f"        {before}self.{through}(lambda on: on.{method.name})\n"
    name = f"_{method.name}" if method.name in APART else method.name
    start, end = f"{before}self.{through}(lambda on: on.{name}(", "))"
    line = f"        {start}{', '.join(arguments)}{end}"
    if len(line) <= LINE_LENGTH:
        return f"{line}\n"
    inner = _laid_out(12, f"lambda on: on.{name}(", arguments, ")")
    return f"        {before}self.{through}(\n{inner}\n        )\n"


def _passed(name: str) -> str:
    return f"bare({name})" if name == "session" else name


def _laid_out(indent: int, start: str, parts: list[str], end: str) -> str:
    """Return the text in the first of three layouts that fits: all on one line, all parts on a second line, or each
    part on a separate line."""
    space = " " * indent
    line = f"{space}{start}{', '.join(parts)}{end}"
    if len(line) <= LINE_LENGTH:
        return line
    within = f"{space}    {', '.join(parts)}"
    if len(within) <= LINE_LENGTH:
        return f"{space}{start}\n{within}\n{space}{end}"
    each = "".join(f"{space}    {part},\n" for part in parts)
    return f"{space}{start}\n{each}{space}{end}"


FILES = {PACKAGE / "aio" / "interface.py": interface, PACKAGE / "aio" / "methods.py": methods}

if __name__ == "__main__":
    for path, text in FILES.items():
        path.write_text(text(), "utf-8")
