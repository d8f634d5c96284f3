"""Import paths, ``"module:attribute"``: how handlers reach another process without a pickle."""

from __future__ import annotations

import functools
import importlib
import os
import re
import runpy
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .. import validate
from ..errors import BackendError, InvalidArgumentError
from .execute import describe

# The name under which worker processes run the program's main file: multiprocessing's, so that its own children, made
# by a handler, find it again.
_MAIN_COPY = "__mp_main__"
# In a worker process: whether it still imports its handlers, and the program's main file where some are defined there.
_imports_handlers = False
_main_file: str | None = None

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class UnguardedError(BackendError):
    """Raised for code that would start worker processes while a worker process imports it. Shown without traceback."""


def load(path: str) -> Any:
    """The object at this path. Imports its module, and lets pass whatever that raises."""
    module, _, attribute = path.partition(":")
    return _walk(importlib.import_module(module), attribute)


@contextmanager
def for_handlers(main_file: str | None) -> Iterator[None]:
    """In a worker process: the program's main file is imported where it has handlers, and no worker processes can be
    started before the end of the block, in which the handlers are imported."""
    global _imports_handlers, _main_file
    _imports_handlers = True
    _main_file = main_file
    try:
        if main_file is not None:
            _import_main(main_file)
        yield
    finally:
        _imports_handlers = False


def refuse_while_importing() -> None:
    """Raises ``UnguardedError`` in a worker process that still imports its handlers."""
    if _imports_handlers:
        raise UnguardedError(
            "worker processes are started by a module that the worker processes import themselves: put what starts "
            'them under `if __name__ == "__main__":`'
        )


def _import_main(path: str) -> None:
    """As multiprocessing does it: the program's own file runs, but not under the name "__main__"."""
    module = types.ModuleType(_MAIN_COPY)
    try:
        module.__dict__.update(runpy.run_path(path, run_name=_MAIN_COPY))
    except UnguardedError:
        raise
    except BaseException as error:  # noqa: BLE001 - the supervisor shows it
        raise UnguardedError(
            "a worker process could not import the program's main file, where its handlers are (what must run in the "
            f'program alone belongs under `if __name__ == "__main__":` there): {describe(error)}'
        ) from None
    sys.modules["__main__"] = sys.modules[_MAIN_COPY] = module


def main_file() -> str | None:
    """The file, folder or archive that the program's main module came from and can be run from once more."""
    if _main_file is not None:
        return _main_file
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if not isinstance(file, str):
        return None
    try:
        path = os.path.abspath(file)
    except OSError:  # the current folder is gone
        return None
    if os.path.isfile(path):
        return path
    archive = os.path.dirname(path)  # of "app.pyz/__main__.py"
    return archive if getattr(main, "__spec__", None) is not None and os.path.isfile(archive) else None


def path_of(argument: str, thing: object) -> str:
    """The path of a function or class, or the path itself; verified to lead back to the very object.

    Raises ``InvalidArgumentError`` for lambdas, inner functions, bound methods, and what was made in a session that no
    file stands behind: another process could not import them.
    """
    if isinstance(thing, str):
        if not _PATH.fullmatch(thing):
            raise InvalidArgumentError(f"{argument} must look like 'module:attribute', not {validate.shown(thing)}")
        return thing
    module, attribute = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if isinstance(module, str) and isinstance(attribute, str) and module in sys.modules:
        name = _importable_name(module)
        try:
            if name is not None and _walk(sys.modules[module], attribute) is thing:
                return f"{name}:{attribute}"
        except AttributeError:
            pass
    raise InvalidArgumentError(
        f"{argument}: another process cannot import {validate.shown(thing)}; put a function into a module, or give its "
        "path, 'module:attribute'"
    )


def _importable_name(module: str) -> str | None:
    """The name under which another process finds this module; ``None`` if it can't."""
    if module not in ("__main__", _MAIN_COPY):
        return module
    spec = getattr(sys.modules[module], "__spec__", None)
    if spec is not None and spec.name not in ("__main__", _MAIN_COPY):
        return str(spec.name)  # run by `python -m`
    return "__main__" if main_file() is not None else None


def paths_of(handlers: object) -> str | dict[str, str]:
    """Handlers as a path, or as a path for each kind."""
    if isinstance(handlers, Mapping):
        if not handlers:
            raise InvalidArgumentError("handlers is empty: a worker with it would do nothing")
        for kind in handlers:
            validate.name("each kind of handlers", kind, empty=True)
        return {kind: path_of(f"the handler of kind {kind!r}", handler) for kind, handler in handlers.items()}
    return path_of("handlers", handlers)


def _walk(start: object, attribute: str) -> Any:
    return functools.reduce(getattr, attribute.split("."), start)
