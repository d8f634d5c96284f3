"""Import paths, ``"module:attribute"``: how handlers reach another process without a pickle."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Mapping
from typing import Any

from .. import validate
from ..errors import InvalidArgumentError

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def load(path: str) -> Any:
    """The object at this path. Imports its module, and lets pass whatever that raises."""
    module, _, attribute = path.partition(":")
    return _walk(importlib.import_module(module), attribute)


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
        importable = module != "__main__" or getattr(sys.modules[module], "__file__", None) is not None
        try:
            if importable and _walk(sys.modules[module], attribute) is thing:
                return f"{module}:{attribute}"
        except AttributeError:
            pass
    raise InvalidArgumentError(
        f"{argument}: another process cannot import {validate.shown(thing)}; put a function into a module, or give its "
        "path, 'module:attribute'"
    )


def paths_of(handlers: object) -> str | dict[str, str]:
    """Handlers as a path, or as a path for each kind."""
    if isinstance(handlers, Mapping):
        return {kind: path_of(f"the handler of kind {kind!r}", handler) for kind, handler in handlers.items()}
    return path_of("handlers", handlers)


def _walk(start: object, attribute: str) -> Any:
    return functools.reduce(getattr, attribute.split("."), start)
