"""``TaskFunction``: a handler that also makes the tasks that it runs."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, get_args

from .. import arguments, validate
from ..errors import InvalidArgumentError, TaskFailedError
from ..interface import IfExists, TaskOptions
from ..model import NewTask, TaskInfo
from .codecs import Codec, encoded
from .context import FailTask, Runner, TaskContext
from .execute import describe

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

CallNext = Callable[..., Any]
"""The first argument of a middleware. Its argument is the context. Default: the middleware's context."""
Middleware = Callable[[CallNext, TaskContext], Any]

DEFAULT = "*"
_NEW_TASK_OPTIONS = frozenset(field.name for field in fields(NewTask)) - {"task_id", "input", "kind"}
_ENQUEUE_OPTIONS = frozenset({"instance_id", "if_exists"})


class Enqueues(Protocol[T_co]):
    """A store or a transaction. ``T_co`` is ``TaskRef``, or an awaitable of a ``TaskRef``."""

    def enqueue(
        self,
        kind: str | None,
        input: bytes | None = None,
        *,
        instance_id: str | None = None,
        if_exists: IfExists = "error",
        **options: Unpack[TaskOptions],
    ) -> T_co: ...


class FunctionOptions(TaskOptions, total=False):
    """The options of the tasks that a ``TaskFunction`` makes."""

    depends_on: Iterable[str]
    instance_id: str | None
    if_exists: IfExists


class TaskFunction(Generic[P, R]):
    """A function that ``TaskRegistry.task`` has registered as a handler.

    A call of the object calls the function. The other methods make tasks that run the function, and decode their
    results. The ``args`` and ``kwargs`` of these methods are the arguments of the function, without the
    ``TaskContext``. If the handler has no codec, the only argument is ``input=None``.
    """

    def __init__(self, function: Callable[P, R], kind: str, codec: Codec | None, options: Mapping[str, Any]) -> None:
        update_wrapper(self, function)
        if inspect.iscoroutinefunction(function) and hasattr(inspect, "markcoroutinefunction"):
            inspect.markcoroutinefunction(self)
        self._function = function
        self._kind = kind
        self._codec = codec
        self._options = check_options(kind, options)
        self._signature = _signature_of(function if codec is not None else _without_codec)
        parameters = self._signature.parameters.values()
        self._context_names = [parameter.name for parameter in parameters if _takes_context(parameter)]
        self._added_signature = self._signature.replace(
            parameters=[parameter for parameter in parameters if parameter.name not in self._context_names]
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function directly, without a task."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<TaskFunction {self._function!r} for kind {self._kind!r}>"

    def __reduce__(self) -> str:
        return str(self.__qualname__)  # type: ignore[attr-defined] # update_wrapper has set the attribute

    def options(self, **options: Unpack[FunctionOptions]) -> TaskFunction[P, R]:
        """Return a copy whose tasks have other options. The copy runs the same function.

        Args:
            options: the options to change: those of ``NewTask``, and ``instance_id`` and ``if_exists`` of ``enqueue``.

        Returns:
            The copy. It keeps all options that are not given.

        Raises:
            InvalidArgumentError: an option has a bad value.
            TypeError: there is no such option.
        """
        return TaskFunction(self._function, self._kind, self._codec, {**self._options, **options})

    def enqueue(self, store: Enqueues[T], /, *args: object, **kwargs: object) -> T:
        """Add a task that calls the function with these arguments, as the only task of a new instance.

        Args:
            store: the store, or a transaction of a store.
            args: positional arguments of the function.
            kwargs: keyword arguments of the function.

        Returns:
            The ``TaskRef`` of the task. If the store is asynchronous, an awaitable of the ``TaskRef``.

        Raises:
            InvalidArgumentError: the arguments do not fit the function, or the codec cannot encode the arguments.
            AlreadyExistsError: the instance exists, or an open task has the same ``unique_key``. With the option
                ``if_exists="skip"``, the reference of the existing task is returned instead.
        """
        return store.enqueue(_kind_of_tasks(self._kind), self._encode(args, kwargs), **self._options)

    def new(self, task_id: str, /, *args: object, **kwargs: object) -> NewTask:
        """Return a task that calls the function with these arguments, for ``add_instance`` and ``add_tasks``.

        Args:
            task_id: the name of the task within its instance.
            args: positional arguments of the function.
            kwargs: keyword arguments of the function.

        Returns:
            The task. The options ``instance_id`` and ``if_exists`` have no effect on the task.

        Raises:
            InvalidArgumentError: the arguments do not fit the function, or the codec cannot encode the arguments.
        """
        options = {name: value for name, value in self._options.items() if name not in _ENQUEUE_OPTIONS}
        return NewTask(task_id, self._encode(args, kwargs), kind=_kind_of_tasks(self._kind), **options)

    def result(self, task: TaskInfo) -> Any:
        """Return the result of a completed task, as the codec decodes it. Without a codec: the output.

        Args:
            task: the task, as ``get_task`` returns it.

        Returns:
            The value that the function returned.

        Raises:
            TaskFailedError: the task has no output, because the task is not completed.
            InvalidArgumentError: the codec cannot decode the output.
        """
        names = {"instance_id": task.instance_id, "task_id": task.task_id}
        title = f"task {task.task_id!r} of instance {task.instance_id!r}"
        if task.output is None:
            error = f": {task.error}" if task.error else ""
            raise TaskFailedError(f"{title} has no result, because the task is {task.state}{error}", **names)
        if self._codec is None:
            return task.output
        try:
            return self._codec.loads(task.output)
        except Exception as error:
            raise InvalidArgumentError(
                f"the codec cannot decode the output of {title}: {_head(error)}", **names
            ) from error

    def _encode(self, args: tuple[object, ...], kwargs: dict[str, object]) -> bytes | None:
        """Return the input of a task that calls the function with these arguments."""
        try:
            bound = self._added_signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArgumentError(
                f"the arguments do not fit the handler of kind {self._kind!r}: {error}"
            ) from None
        if self._codec is None:
            plain_input: bytes | None = bound.arguments.get("input")
            return plain_input
        try:
            return encoded(self._codec, {"args": list(args), "kwargs": kwargs})
        except Exception as error:
            raise InvalidArgumentError(
                f"the codec cannot encode the arguments for the handler of kind {self._kind!r}: {_head(error)}"
            ) from error

    def _runner(self, middleware: tuple[Middleware, ...]) -> Runner:
        """Return the function that the worker calls with the context of an attempt."""
        codec = self._codec
        if codec is None:
            plain: Callable[..., Any] = self._function
            return around(middleware, plain)
        call = around(middleware, self._call_with_input)

        def run(task: TaskContext) -> bytes | Awaitable[bytes]:
            value = call(task)
            return _encode_later(codec, value) if isinstance(value, Awaitable) else _encode_result(codec, value)

        return run

    def _call_with_input(self, task: TaskContext) -> object:
        assert self._codec is not None
        try:
            call = self._codec.loads(task.input)
            args, kwargs = call["args"], call["kwargs"]
            if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
                raise TypeError("args must be a list, and kwargs must be a dict")
            bound = self._added_signature.bind(*args, **kwargs)
        except Exception as error:
            raise FailTask(f"the input does not decode to arguments of the handler: {_head(error)}") from error
        if self._context_names:
            bound = inspect.BoundArguments(self._signature, bound.arguments)
            bound.arguments.update(dict.fromkeys(self._context_names, task))
            bound.apply_defaults()
        return self._function(*bound.args, **bound.kwargs)


def around(middleware: tuple[Middleware, ...], runner: Runner) -> Runner:
    """Return a function that calls the runner through the middleware. The first middleware is the outermost."""
    for function in reversed(middleware):
        runner = _around_one(function, runner)
    return runner


def _around_one(middleware: Middleware, runner: Runner) -> Runner:
    def run(task: TaskContext) -> object:
        def call_next(context: TaskContext = task) -> object:
            return runner(context)

        return middleware(call_next, task)

    return run


async def _encode_later(codec: Codec, value: Awaitable[object]) -> bytes:
    return _encode_result(codec, await value)


def _encode_result(codec: Codec, value: object) -> bytes:
    try:
        return encoded(codec, value)
    except Exception as error:
        raise FailTask(f"the codec cannot encode the handler's result: {_head(error)}") from error


def _without_codec(input: bytes | None = None) -> None:
    """Have the signature of the arguments with which a task without a codec is added."""


def _kind_of_tasks(kind: str) -> str | None:
    """Return the kind of the tasks that a handler's methods make. The default handler makes tasks without a kind."""
    return None if kind == DEFAULT else kind


def check_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a task, and return them in the form in which ``NewTask`` keeps them."""
    for name in options:
        if name not in _NEW_TASK_OPTIONS | _ENQUEUE_OPTIONS:
            raise TypeError(
                f"{name!r} is not an option of a task: give options of NewTask (except task_id, input and kind), "
                "instance_id or if_exists"
            )
    if (instance_id := options.get("instance_id")) is not None:
        validate.name("instance_id", instance_id)
    if "if_exists" in options:
        arguments.skips_existing(options["if_exists"])
    for_task = {name: value for name, value in options.items() if name in _NEW_TASK_OPTIONS}
    task = NewTask("task", kind=_kind_of_tasks(kind), **for_task)
    return {name: getattr(task, name) if name in for_task else value for name, value in options.items()}


def _signature_of(function: Callable[..., object]) -> inspect.Signature:
    with suppress(Exception):  # the annotations contain names that exist only for type checkers
        return inspect.signature(function, eval_str=True)
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"cannot read the arguments of {validate.shown(function)}: {error}") from None


def _takes_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    if isinstance(annotation, str):  # the annotation could not be evaluated
        return annotation.strip("'\"").rpartition(".")[2] == TaskContext.__name__
    return annotation is TaskContext or TaskContext in get_args(annotation)


def _head(error: Exception) -> str:
    """Return the type and the message of an error, without its traceback."""
    return describe(error).partition("\n")[0]
