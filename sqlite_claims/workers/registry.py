"""Which function runs which kind of task."""

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
    """Handlers by kind, collected with a decorator::

        registry = TaskRegistry()

        @registry.task("resize")
        def resize(task: TaskContext) -> bytes: ...

    ``"*"`` is the default handler: for kinds without one of their own and for tasks without a kind.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def task(self, kind: str = DEFAULT) -> Callable[[H], H]:
        """Decorator: this function runs tasks of ``kind``. Raises ``InvalidArgumentError`` where one does already."""
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
"""What workers take: a mapping from kind to handler, a ``TaskRegistry``, or one callable for everything."""


class HandlerTable:
    """Checked handlers, as they were when the worker was made."""

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
            raise InvalidArgumentError("handlers is empty: a worker with it would do nothing")
        self._default = self._by_kind.get(DEFAULT)
        # None asks the store for every kind.
        self.kinds = None if self._default is not None else frozenset(self._by_kind)

    def items(self) -> list[tuple[str, Handler]]:
        """Each kind and its handler."""
        return list(self._by_kind.items())

    def find(self, kind: str) -> Handler | None:
        """The handler for tasks of this kind (``""``: without one), if there is one."""
        return self._by_kind.get(kind, self._default)


def _kind(kind: object) -> str:
    return validate.name("each kind of handlers", kind, empty=True)


def _checked(kind: str, handler: H) -> H:
    if not callable(handler):
        raise InvalidArgumentError(f"the handler of kind {kind!r} must be callable, not {validate.shown(handler)}")
    return handler
