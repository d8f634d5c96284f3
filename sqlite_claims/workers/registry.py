"""The mapping from a kind to the handler that runs the tasks of this kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

from .. import validate
from ..errors import InvalidArgumentError
from .context import TaskContext

Handler = Callable[[TaskContext], bytes | Awaitable[bytes | None] | None]
H = TypeVar("H", bound=Handler)

DEFAULT = "*"


class TaskRegistry(Mapping[str, Handler]):
    """A mapping from kind to handler. The decorator ``task`` adds handlers::

        registry = TaskRegistry()

        @registry.task("resize")
        def resize(task: TaskContext) -> bytes: ...

    The kind ``"*"`` stands for all kinds that have no handler in the registry, and for tasks without a kind.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def task(self, kind: str = DEFAULT) -> Callable[[H], H]:
        """Return a decorator that registers a function as the handler of a kind. The decorator returns the function
        unchanged.

        Args:
            kind: the kind of the tasks that the function runs. Default: ``"*"``.

        Returns:
            The decorator, which raises ``InvalidArgumentError`` if the kind has a handler already.

        Raises:
            InvalidArgumentError: ``kind`` is not a valid name.
        """
        validate.name("kind", kind)

        def register(handler: H) -> H:
            if kind in self._handlers:
                raise InvalidArgumentError(f"kind {kind!r} has a handler already: {self._handlers[kind]!r}")
            self._handlers[kind] = _checked(kind, handler)
            return handler

        return register

    def __getitem__(self, kind: str) -> Handler:
        return self._handlers[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)


Handlers = Mapping[str, Handler] | Handler
"""The type of the ``handlers`` argument: a mapping from kind to handler, or one handler for all tasks."""


class HandlerTable:
    """The checked handlers of a worker. The table is a copy, so later changes of the ``handlers`` mapping have no
    effect."""

    __slots__ = ("_by_kind", "_default", "kinds")

    def __init__(self, handlers: Handlers) -> None:
        if isinstance(handlers, Mapping):
            self._by_kind = {_kind(kind): _checked(kind, handler) for kind, handler in handlers.items()}
        elif callable(handlers):
            self._by_kind = {DEFAULT: handlers}
        else:
            raise InvalidArgumentError(
                f"handlers must be a mapping from kind to callable, a TaskRegistry or a callable, "
                f"not {validate.shown(handlers)}"
            )
        if not self._by_kind:
            raise InvalidArgumentError("handlers is empty: give at least one handler")
        self._default = self._by_kind.get(DEFAULT)
        # The kinds of tasks to claim. None means tasks of every kind.
        self.kinds = None if self._default is not None else frozenset(self._by_kind)

    def items(self) -> list[tuple[str, Handler]]:
        """Return all pairs of a kind and its handler."""
        return list(self._by_kind.items())

    def find(self, kind: str) -> Handler | None:
        """Return the handler for tasks of this kind (``""``: tasks without a kind), or ``None`` if there is no
        handler."""
        return self._by_kind.get(kind, self._default)


def _kind(kind: object) -> str:
    return validate.name("each kind of handlers", kind, empty=True)


def _checked(kind: str, handler: H) -> H:
    if not callable(handler):
        raise InvalidArgumentError(f"the handler of kind {kind!r} must be callable, not {validate.shown(handler)}")
    return handler
