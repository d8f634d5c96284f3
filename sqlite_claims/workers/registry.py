"""The mapping from a kind to the handler that runs the tasks of this kind."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, overload

from .. import validate
from ..errors import InvalidArgumentError
from ..model import Duration
from .codecs import Codec, checked_codec
from .context import Runner, TaskContext
from .task_function import DEFAULT, Middleware, TaskFunction, check_options

HandlerResult = bytes | Awaitable[bytes | None] | None
Handler = Callable[[TaskContext], HandlerResult] | TaskFunction[..., Any]
Lifespan = Callable[[], Iterator[object] | AsyncIterator[object]]
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=HandlerResult)
L = TypeVar("L", bound=Lifespan)
M = TypeVar("M", bound=Middleware)


class _Entry(NamedTuple):
    """A handler, and the middleware of the registries from which ``include`` has copied the handler."""

    handler: TaskFunction[..., Any]
    middleware: tuple[Middleware, ...] = ()


class TaskRegistry(Mapping[str, TaskFunction[..., Any]]):
    """A mapping from kind to handler. The decorator ``task`` adds handlers::

        registry = TaskRegistry()

        @registry.task("resize")
        def resize(task: TaskContext) -> bytes: ...

    The kind ``"*"`` stands for all kinds that have no handler in the registry, and for tasks without a kind.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._lifespans: list[Lifespan] = []
        self._middleware: list[Middleware] = []

    @overload
    def task(
        self,
        kind: str = ...,
        *,
        codec: None = ...,
        timeout: Duration | None = ...,
        limit: str | None = ...,
        **defaults: Any,
    ) -> Callable[[Callable[[TaskContext], T]], TaskFunction[[TaskContext], T]]: ...
    @overload
    def task(
        self,
        kind: str = ...,
        *,
        codec: Literal["json"] | Codec,
        timeout: Duration | None = ...,
        limit: str | None = ...,
        **defaults: Any,
    ) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...
    def task(
        self,
        kind: str = DEFAULT,
        *,
        codec: Literal["json"] | Codec | None = None,
        timeout: Duration | None = None,
        limit: str | None = None,
        **defaults: Any,
    ) -> Callable[[Callable[..., Any]], TaskFunction[..., Any]]:
        """Return a decorator that registers a function as the handler of a kind.

        With a codec, the function is called with the arguments that the task was added with, and the codec encodes the
        function's result. A parameter with the annotation ``TaskContext`` gets the context. Without a codec, the
        function takes the ``TaskContext`` and returns ``bytes`` or ``None``.

        The options ``timeout``, ``limit`` and ``defaults`` are the options of the tasks that the methods of the
        decorated function add. Tasks that are added in other ways do not get these options.

        Args:
            kind: the kind of the tasks that the function runs. Default: ``"*"``.
            codec: ``"json"``, or an object with the methods ``dumps(value) -> bytes`` and ``loads(bytes)``. Default:
                ``None``, no codec.
            timeout: the time that an attempt may take, in seconds or as a ``timedelta``. Default: ``None``, the
                worker's ``task_timeout``.
            limit: the limit that the tasks count against. Default: ``None``, no limit.
            defaults: further options of ``NewTask``, and ``instance_id`` and ``if_exists`` of ``enqueue``.

        Returns:
            The decorator. The decorator returns a ``TaskFunction``, and raises ``InvalidArgumentError`` if the kind has
            a handler already.

        Raises:
            InvalidArgumentError: an argument has a bad value.
            TypeError: ``defaults`` contains an unknown option.
        """
        validate.name("kind", kind)
        checked = checked_codec(codec)
        options = {"timeout": timeout, "limit": limit}
        defaults.update({name: value for name, value in options.items() if value is not None})
        check_options(kind, defaults)

        def register(handler: Callable[..., Any]) -> TaskFunction[..., Any]:
            if kind in self._entries:
                raise InvalidArgumentError(f"kind {kind!r} has a handler already: {self._entries[kind].handler!r}")
            _check_callable(kind, handler)
            function = handler._function if isinstance(handler, TaskFunction) else handler
            registered = TaskFunction(function, kind, checked, defaults)
            self._entries[kind] = _Entry(registered)
            return registered

        return register

    def include(self, other: TaskRegistry) -> None:
        """Add the handlers that another registry has now, and the other registry's lifespans.

        The other registry's middleware is called around the other registry's handlers, inside the middleware of this
        registry. Later changes of the other registry have no effect.

        Args:
            other: the registry to include.

        Raises:
            InvalidArgumentError: both registries have a handler of the same kind. Then nothing is included.
        """
        if not isinstance(other, TaskRegistry):
            raise InvalidArgumentError(f"other must be a TaskRegistry, not {validate.shown(other)}")
        for kind in other:
            if kind in self._entries:
                raise InvalidArgumentError(f"kind {kind!r} has a handler already: {self._entries[kind].handler!r}")
        for kind, entry in other._entries.items():
            self._entries[kind] = entry._replace(middleware=(*other._middleware, *entry.middleware))
        # A registry may come along with two other registries, but its lifespans still run only once.
        self._lifespans += [lifespan for lifespan in other._lifespans if lifespan not in self._lifespans]

    def lifespan(self, function: L) -> L:
        """Register a generator function that runs around the worker's run. Use this method as a decorator.

        The code before the ``yield`` runs once in each worker process, before the first task. The code after the
        ``yield`` runs when the run ends. Lifespans nest in the order of their registration.

        Args:
            function: a generator function, or an async generator function, without arguments and with one ``yield``.
                The event loop of the coroutine handlers runs an async generator function.

        Returns:
            The function, unchanged.

        Raises:
            InvalidArgumentError: the function is not a generator function, or has arguments.
        """
        if not (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
            raise InvalidArgumentError(f"a lifespan must be a generator function, not {validate.shown(function)}")
        if inspect.signature(function).parameters:
            raise InvalidArgumentError(f"a lifespan must have no arguments: {validate.shown(function)}")
        self._lifespans.append(function)
        return function

    def middleware(self, function: M) -> M:
        """Register a function that is called around each call of this registry's handlers. Use this method as a
        decorator.

        The first registered middleware is the outermost. The result of the middleware is the handler's result, before
        the codec encodes it.

        Args:
            function: a function ``function(call_next, context)``. The function calls ``call_next(context)``, which runs
                the handler, and returns the handler's result. If the handler is a coroutine function, ``call_next``
                returns an awaitable, so the middleware may be a coroutine function, too.

        Returns:
            The function, unchanged.

        Raises:
            InvalidArgumentError: the function is not callable.
        """
        if not callable(function):
            raise InvalidArgumentError(f"a middleware must be callable, not {validate.shown(function)}")
        self._middleware.append(function)
        return function

    def __getitem__(self, kind: str) -> TaskFunction[..., Any]:
        return self._entries[kind].handler

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _runners(self) -> dict[str, Runner]:
        """Return the function for each kind that calls the kind's handler through its middleware."""
        own = tuple(self._middleware)
        return {kind: entry.handler._runner((*own, *entry.middleware)) for kind, entry in self._entries.items()}

    def _needs_itself(self) -> bool:
        """Return whether a worker needs this registry, because the handlers alone lack lifespans or middleware."""
        has_middleware = self._middleware or any(entry.middleware for entry in self._entries.values())
        return bool(self._lifespans or has_middleware)


Handlers = Mapping[str, Handler] | Handler
"""The type of the ``handlers`` argument: a mapping from kind to handler, or one handler for all tasks."""


class HandlerTable:
    """The checked handlers of a worker. The table is a copy, so later changes of the ``handlers`` mapping have no
    effect."""

    __slots__ = ("_by_kind", "_default", "kinds", "lifespans")

    def __init__(self, handlers: Handlers) -> None:
        self.lifespans: tuple[Lifespan, ...] = ()
        if isinstance(handlers, TaskRegistry):
            self._by_kind = handlers._runners()
            self.lifespans = tuple(handlers._lifespans)
        elif isinstance(handlers, Mapping):
            self._by_kind = {_kind(kind): _runner(kind, handler) for kind, handler in handlers.items()}
        elif callable(handlers):
            self._by_kind = {DEFAULT: _runner(DEFAULT, handlers)}
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

    def find(self, kind: str) -> Runner | None:
        """Return the function that runs the handler for tasks of this kind, or ``None`` if there is no handler.

        The kind ``""`` stands for tasks without a kind."""
        return self._by_kind.get(kind, self._default)


def _kind(kind: object) -> str:
    return validate.name("each kind of handlers", kind, empty=True)


def _runner(kind: str, handler: Handler) -> Runner:
    _check_callable(kind, handler)
    return handler._runner(()) if isinstance(handler, TaskFunction) else handler


def _check_callable(kind: str, handler: object) -> None:
    if not callable(handler):
        raise InvalidArgumentError(f"the handler of kind {kind!r} must be callable, not {validate.shown(handler)}")
