"""Import paths, ``"module:attribute"``, by which worker processes import the handlers; nothing is pickled."""

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

# The name under which worker processes import the program's main file. It is multiprocessing's name, so that processes
# which a handler starts with multiprocessing find the module.
_MAIN_COPY = "__mp_main__"
# In a worker process: whether it is importing its handlers, and the program's main file if handlers are defined there.
_imports_handlers = False
_main_file: str | None = None

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class UnguardedError(BackendError):
    """The imported code starts worker processes itself. The message explains it; no traceback is shown."""


def load(path: str) -> Any:
    """Import the object at this path. Raises any exception that the import raises."""
    module, _, attribute = path.partition(":")
    return _walk(importlib.import_module(module), attribute)


@contextmanager
def for_handlers(main_file: str | None) -> Iterator[None]:
    """In a worker process, around the import of the handlers: no worker processes can be started within the block.

    First imports the program's main file, if handlers are defined there.
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
    """Raise ``UnguardedError`` in a worker process that is importing its handlers."""
    if _imports_handlers:
        raise UnguardedError(
            "worker processes are started by a module that the worker processes import themselves: put the code that "
            'starts them under `if __name__ == "__main__":`'
        )


def _import_main(path: str) -> None:
    """Run the program's main file under another name than "__main__", as multiprocessing does."""
    module = types.ModuleType(_MAIN_COPY)
    try:
        module.__dict__.update(runpy.run_path(path, run_name=_MAIN_COPY))
    except UnguardedError:
        raise
    except BaseException as error:  # noqa: BLE001 - the supervisor shows it
        raise UnguardedError(
            "a worker process could not import the program's main file, in which handlers are defined (put the code "
            f'that only the program must run under `if __name__ == "__main__":`): {describe(error)}'
        ) from None
    sys.modules["__main__"] = sys.modules[_MAIN_COPY] = module


def main_file() -> str | None:
    """Return the file, folder or archive from which the program's main module can be run again, if there is one."""
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
    archive = os.path.dirname(path)  # of "app.pyz/__main__.py"
    return archive if getattr(main, "__spec__", None) is not None and os.path.isfile(archive) else None


def path_of(argument: str, thing: object) -> str:
    """Return the import path of a function or class. ``thing`` may also be such a path.

    Raises ``InvalidArgumentError`` if another process could not import this very object: lambdas, inner functions,
    bound methods, and objects defined in an interactive session.
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
    """Return the name under which another process can import this module; ``None`` if it cannot."""
    if module not in ("__main__", _MAIN_COPY):
        return module
    spec = getattr(sys.modules[module], "__spec__", None)
    if spec is not None and spec.name not in ("__main__", _MAIN_COPY):
        return str(spec.name)  # run by `python -m`
    return "__main__" if main_file() is not None else None


def paths_of(handlers: object) -> str | dict[str, str]:
    """Return the import path of the handlers, or the path of each kind's handler."""
    if isinstance(handlers, Mapping):
        if not handlers:
            raise InvalidArgumentError("handlers is empty: give at least one handler")
        for kind in handlers:
            validate.name("each kind of handlers", kind, empty=True)
        return {kind: path_of(f"the handler of kind {kind!r}", handler) for kind, handler in handlers.items()}
    return path_of("handlers", handlers)


def _walk(start: object, attribute: str) -> Any:
    return functools.reduce(getattr, attribute.split("."), start)
