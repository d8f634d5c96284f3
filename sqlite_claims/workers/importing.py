"""Import paths of the form ``"module:attribute"``. Worker processes import the handlers by these paths, so the
supervisor does not have to pickle the handlers."""

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
from .registry import TaskRegistry

# The name under which worker processes import the program's main file. The module multiprocessing uses the same name,
# so processes that a handler starts with multiprocessing find the main file's module.
_MAIN_COPY = "__mp_main__"
# Two variables of a worker process. The first is True while the process imports its handlers. The second is the path of
# the program's main file if the main file defines handlers.
_imports_handlers = False
_main_file: str | None = None

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class UnguardedError(BackendError):
    """The code that a worker process imports tries to start worker processes. The supervisor shows the message, without
    a traceback."""


def load(path: str) -> Any:
    """Import the object with this import path. Raises any exception that the import raises."""
    module, _, attribute = path.partition(":")
    return _walk(importlib.import_module(module), attribute)


@contextmanager
def for_handlers(main_file: str | None) -> Iterator[None]:
    """Return a context manager for the import of the handlers in a worker process. Within the block, no worker
    processes can be started.

    Before the block, the context manager imports the program's main file if the main file defines handlers.
    """
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
    """Raise ``UnguardedError`` if the current process is a worker process that is importing its handlers."""
    if _imports_handlers:
        raise UnguardedError(
            "worker processes are started by a module that the worker processes import themselves: put the code that "
            'starts them under `if __name__ == "__main__":`'
        )


def _import_main(path: str) -> None:
    """Run the program's main file as a module that is not named "__main__", as multiprocessing does."""
    module = types.ModuleType(_MAIN_COPY)
    try:
        module.__dict__.update(runpy.run_path(path, run_name=_MAIN_COPY))
    except UnguardedError:
        raise
    except BaseException as error:  # noqa: BLE001 - the supervisor shows the error
        raise UnguardedError(
            "a worker process could not import the program's main file, in which handlers are defined (put the code "
            f'that only the program must run under `if __name__ == "__main__":`): {describe(error)}'
        ) from None
    sys.modules["__main__"] = sys.modules[_MAIN_COPY] = module


def main_file() -> str | None:
    """Return the file, folder or archive from which the program's main module can be run again, or ``None``."""
    if _main_file is not None:
        return _main_file
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if not isinstance(file, str):
        return None
    try:
        path = os.path.abspath(file)
    except OSError:  # the current folder was removed
        return None
    if os.path.isfile(path):
        return path
    archive = os.path.dirname(path)  # for example "app.pyz" of "app.pyz/__main__.py"
    return archive if getattr(main, "__spec__", None) is not None and os.path.isfile(archive) else None


def path_of(argument: str, thing: object) -> str:
    """Return the import path of ``thing``, a function or class. If ``thing`` is an import path, return it unchanged.

    Raises ``InvalidArgumentError`` if a different process could not import exactly this object. Examples are lambdas,
    inner functions, bound methods, and objects that were defined in an interactive interpreter.
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
        f"{argument}: another process cannot import {validate.shown(thing)}; define it in a module, or give its import "
        "path, 'module:attribute'"
    )


def _importable_name(module: str) -> str | None:
    """Return the name under which a different process can import this module, or ``None`` if there is no such name."""
    if module not in ("__main__", _MAIN_COPY):
        return module
    spec = getattr(sys.modules[module], "__spec__", None)
    if spec is not None and spec.name not in ("__main__", _MAIN_COPY):
        return str(spec.name)  # the module was run by `python -m`
    return "__main__" if main_file() is not None else None


def paths_of(handlers: object) -> str | dict[str, str]:
    """Return the import path of the handlers, or a mapping from kind to the import path of the kind's handler."""
    if isinstance(handlers, TaskRegistry) and handlers._needs_itself():
        return _path_of_registry(handlers)
    if isinstance(handlers, Mapping):
        if not handlers:
            raise InvalidArgumentError("handlers is empty: give at least one handler")
        for kind in handlers:
            validate.name("each kind of handlers", kind, empty=True)
        return {kind: path_of(f"the handler of kind {kind!r}", handler) for kind, handler in handlers.items()}
    return path_of("handlers", handlers)


def _path_of_registry(registry: TaskRegistry) -> str:
    """Return the import path of a registry that is a global variable of an imported module."""
    for module, namespace in [(name, vars(module)) for name, module in sys.modules.items() if module is not None]:
        for attribute, value in list(namespace.items()):
            if value is registry and (name := _importable_name(module)) is not None:
                return f"{name}:{attribute}"
    raise InvalidArgumentError(
        "handlers: another process cannot import this registry, whose lifespans and middleware it needs; make the "
        "registry a global variable of a module, or give its import path, 'module:attribute'"
    )


def _walk(start: object, attribute: str) -> Any:
    return functools.reduce(getattr, attribute.split("."), start)
