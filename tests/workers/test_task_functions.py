"""Handlers that the registry's decorator has made: codecs, and the methods that make tasks."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import pickle  # noqa: TID251 - a codec of the test, which stores its own data
from typing import TYPE_CHECKING, Any

import pytest

from sqlite_claims import (
    FailTask,
    InvalidArgumentError,
    NewTask,
    RetryPolicy,
    RetryTask,
    TaskFailedError,
    TaskState,
)
from sqlite_claims.workers import CheckpointingRunner, PooledWorker, TaskContext, TaskFunction, TaskRegistry

if TYPE_CHECKING:
    from decimal import Decimal

registry = TaskRegistry()
AT_ONCE = RetryPolicy(initial_delay=0)


@registry.task("add", codec="json", max_attempts=1)
def add(a: int, b: int = 2, *, scale: int = 1) -> int:
    """Add two numbers."""
    return (a + b) * scale


@registry.task("raw", priority=1)
def raw(task: TaskContext) -> bytes:
    return task.input.upper()


@registry.task("with context", codec="json")
def with_context(prefix: str, task: TaskContext, *more: str) -> list[str]:
    return [prefix, task.task_id, *more]


@registry.task("coroutine", codec="json")
async def coroutine(a: int, task: TaskContext | None = None) -> dict[str, object]:
    await asyncio.sleep(0)
    return {"a": a, "task": task and task.task_id}


@registry.task("positional only", codec="json")
def positional_only(a: int = 1, task: TaskContext | None = None, /) -> list[object]:
    return [a, task and task.task_id]


@registry.task("nothing", codec="json")
def nothing() -> None: ...


@registry.task("only for type checkers", codec="json", max_attempts=1)
def only_for_type_checkers(amount: Decimal, task: TaskContext) -> str:
    return f"{amount} {task.kind}"


def run(store: Any, *tasks: NewTask, handlers: Any = registry) -> list[Any]:
    store.add_instance("i", tasks)
    PooledWorker(store, handlers).run(until_idle=True)
    return [store.get_task("i", task.task_id) for task in tasks]


# -- the function itself


def test_a_decorated_function_stays_callable_and_keeps_its_name_and_docstring() -> None:
    assert add(1, b=3, scale=2) == 8
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add two numbers.", __name__)  # type: ignore[attr-defined]
    assert str(inspect.signature(add)) == "(a: 'int', b: 'int' = 2, *, scale: 'int' = 1) -> 'int'"
    assert asyncio.run(coroutine(3)) == {"a": 3, "task": None}


def test_a_decorated_function_can_be_copied_and_sent_to_another_process() -> None:
    assert copy.deepcopy(add) is add
    assert pickle.loads(pickle.dumps(add)) is add  # noqa: S301 - the data of this test


def test_a_function_can_handle_two_kinds() -> None:
    two = TaskRegistry()
    outer = two.task("one", codec="json")(two.task("two", codec="json")(add))
    assert (outer.new("t", 1).kind, two["two"].new("t", 1).kind) == ("one", "two")
    assert outer(1) == 3


# -- codecs


def test_the_arguments_and_the_result_pass_through_the_codec(store: Any) -> None:
    task = add.new("t", 1, scale=3)
    assert json.loads(task.input or b"") == {"args": [1], "kwargs": {"scale": 3}}
    (info,) = run(store, task)
    assert info.output == b"9"
    assert add.result(info) == 9


def test_a_parameter_annotated_as_context_gets_the_context(store: Any) -> None:
    tasks = [
        with_context.new("t", "x", "y", "z"),
        coroutine.new("c", 7),
        coroutine.new("k", a=8),
        only_for_type_checkers.new("d", "1.5"),
        positional_only.new("p"),
    ]
    results = [info.output for info in run(store, *tasks)]
    assert [json.loads(result) for result in results] == [
        ["x", "t", "y", "z"],
        {"a": 7, "task": "c"},
        {"a": 8, "task": "k"},
        "1.5 only for type checkers",
        [1, "p"],
    ]


def test_a_result_of_none_is_encoded_too(store: Any) -> None:
    (info,) = run(store, nothing.new("t"))
    assert info.output == b"null"
    assert nothing.result(info) is None


def test_the_runner_decodes_and_encodes_too(store: Any) -> None:
    store.add_instance("i", [add.new("t", 1), coroutine.new("c", 7)])
    CheckpointingRunner(store, registry).run("i")
    assert add.result(store.get_task("i", "t")) == 3
    assert coroutine.result(store.get_task("i", "c")) == {"a": 7, "task": "c"}


@pytest.mark.parametrize("handlers", [{"add": add}, dict(registry), add], ids=["mapping", "dict", "one function"])
def test_a_decorated_function_keeps_its_codec_outside_of_its_registry(store: Any, handlers: Any) -> None:
    assert run(store, add.new("t", 1), handlers=handlers)[0].output == b"3"


def test_an_object_can_be_the_codec(store: Any) -> None:
    own = TaskRegistry()

    @own.task("set", codec=pickle)
    def unique(values: list[int]) -> set[int]:
        return set(values)

    (info,) = run(store, unique.new("t", [1, 2, 2]), handlers=own)
    assert unique.result(info) == {1, 2}


WRONG = b'{"args": [1, 2, 3], "kwargs": {}}'  # too many arguments


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"[1]",
        b'{"args": "a", "kwargs": {}}',
        b'{"args": [1], "kwargs": []}',
        b'{"args": [1, 2]}',
        WRONG,
    ],
)
def test_an_input_that_does_not_decode_fails_for_good(store: Any, data: bytes) -> None:
    (info,) = run(store, NewTask("t", data, kind="coroutine", max_attempts=3))
    assert (info.state, info.failures) == (TaskState.FAILED, 1)
    assert info.error.startswith("the input does not decode to arguments of the handler: ")


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_a_result_that_the_codec_refuses_fails_for_good(store: Any, is_coroutine: bool) -> None:
    own = TaskRegistry()

    @own.task("t", codec="json")
    def wrong() -> object:
        return later() if is_coroutine else object()

    async def later() -> object:
        return object()

    (info,) = run(store, wrong.new("t"), handlers=own)
    assert (info.state, info.failures) == (TaskState.FAILED, 1)
    assert info.error.startswith(
        "the codec cannot encode the handler's result: TypeError: JSON cannot represent object"
    )


def test_exceptions_of_a_function_with_a_codec_mean_the_same_as_without(store: Any) -> None:
    own = TaskRegistry()

    @own.task("t", codec="json")
    def fails(how: str) -> None:
        raise FailTask("for good") if how == "good" else ValueError("a bug")

    tasks = [fails.options(retry=AT_ONCE, max_attempts=2).new(how, how) for how in ("good", "bug")]
    good, bug = run(store, *tasks, handlers=own)
    assert (good.failures, good.error) == (1, "for good")
    assert (bug.failures, bug.error.partition("\n")[0]) == (2, "ValueError: a bug")


@pytest.mark.parametrize("codec", ["pickle", 1, json.dumps, object()])
def test_a_bad_codec_is_refused(codec: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="codec must be 'json' or an object"):
        registry.task("x", codec=codec)


def test_a_codec_that_returns_no_bytes_is_refused_where_a_task_is_made() -> None:
    text = TaskRegistry().task("x", codec=json)(nothing)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="dumps must return bytes, not str"):
        text.new("t")


def test_a_function_whose_arguments_cannot_be_read_is_refused() -> None:
    class Odd:
        __signature__ = "none"

        def __call__(self) -> None: ...

    with pytest.raises(InvalidArgumentError, match="cannot read the arguments"):
        TaskRegistry().task("x", codec="json")(Odd())


# -- new, options, result


def test_new_makes_a_task_with_the_options_of_the_decorator() -> None:
    assert raw.new("t", b"in") == NewTask("t", b"in", kind="raw", priority=1)
    assert raw.new("t") == raw.new("t", input=None) == NewTask("t", None, kind="raw", priority=1)


def test_the_default_handler_makes_tasks_without_a_kind(store: Any) -> None:
    own = TaskRegistry()
    default = own.task(codec="json")(add)
    assert default.new("t", 1).kind is None
    assert run(store, default.new("t", 1), handlers=own)[0].output == b"3"


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"c": 1}), ((1,), {"a": 1}), ((1,), {"task_id": 1})]
)
def test_arguments_that_do_not_fit_the_function_are_refused(args: Any, kwargs: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="the arguments do not fit the handler of kind 'add'"):
        add.new("t", *args, **kwargs)
    with pytest.raises(InvalidArgumentError, match="the arguments do not fit the handler of kind 'raw'"):
        raw.new("t", b"", 2)


def test_the_context_is_no_argument_of_a_new_task() -> None:
    with pytest.raises(InvalidArgumentError, match="the arguments do not fit"):
        coroutine.new("t", 1, task=None)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_arguments_that_the_codec_refuses_are_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"the codec cannot encode the arguments .* JSON cannot represent"):
        add.new("t", value)


def test_options_gives_a_copy_with_other_options() -> None:
    urgent = add.options(priority=1, tags=iter(["b", "a"]), if_exists="skip", instance_id="i")
    assert urgent.new("t", 1) == NewTask(
        "t", urgent.new("t", 1).input, kind="add", max_attempts=1, priority=1, tags=("a", "b")
    )
    assert urgent.options(max_attempts=2).new("t", 1).tags == ("a", "b")
    assert add.new("t", 1).priority == 3
    assert urgent(1) == 3
    assert isinstance(urgent, TaskFunction)
    assert raw.options(depends_on=["a"]).new("t").depends_on == ("a",)


BAD: list[dict[str, Any]] = [
    {"priority": 9},
    {"tags": "gpu"},
    {"max_attempts": 0},
    {"instance_id": ""},
    {"if_exists": "replace"},
    {"delay": -1},
]


@pytest.mark.parametrize("options", BAD)
def test_bad_options_are_refused_by_the_decorator_and_by_options(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        registry.task("x", **options)
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        add.options(**options)


@pytest.mark.parametrize("name", ["colour", "kind", "task_id", "input", "codec"])
def test_unknown_options_are_refused_by_the_decorator_and_by_options(name: str) -> None:
    options: dict[str, Any] = {name: "json"}
    with pytest.raises(TypeError, match=f"'{name}' is not an option"):
        add.options(**options)
    if name not in ("kind", "codec"):
        with pytest.raises(TypeError, match=f"'{name}' is not an option"):
            registry.task("x", **options)


def test_result_without_an_output_is_an_error(store: Any) -> None:
    store.add_instance("i", [add.new("t", 1), NewTask("bad", b"", kind="add")])
    with pytest.raises(TaskFailedError, match="task 't' of instance 'i' has no result, because the task is ready") as e:
        add.result(store.get_task("i", "t"))
    assert (e.value.instance_id, e.value.task_id) == ("i", "t")
    PooledWorker(store, registry).run(until_idle=True)
    with pytest.raises(TaskFailedError, match="the task is failed: the input does not decode"):
        add.result(store.get_task("i", "bad"))


def test_result_without_a_codec_is_the_output(store: Any) -> None:
    (info,) = run(store, raw.new("t", b"in"))
    assert raw.result(info) == b"IN"
    with pytest.raises(InvalidArgumentError, match="the codec cannot decode the output of task 't'"):
        add.result(info)


# -- RetryTask


def test_retry_task_is_a_failed_attempt_with_its_own_delay(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    def handler(task: TaskContext) -> bytes:
        if task.attempt == 1:
            raise RetryTask(0, "come back")
        if task.attempt == 2:
            raise RetryTask
        return b"done"

    never = RetryPolicy(initial_delay=3600, jitter=0)
    store.add_instance("i", [NewTask("t", retry=never), NewTask("last", max_attempts=1)])
    worker = PooledWorker(store, handler)
    with worker.spawn() as handle:
        while (info := store.get_task("i", "t")).failures < 2 or not store.get_task("i", "last").finished_at:
            store.wait_for_instance("i", 0.01)
        handle.shutdown()
    assert (info.state, info.failures) == (TaskState.SCHEDULED, 2)
    assert info.error.startswith("RetryTask\n")
    last = store.get_task("i", "last")
    assert (last.state, last.error) == (TaskState.FAILED, "come back")
    messages = [record.getMessage() for record in caplog.records if record.task_id == "t"]  # type: ignore[attr-defined]
    assert messages[0] == ("task 't' of instance 'i' failed, 1 of 3 attempts, will be retried at once: come back")
    assert "will be retried in about 3600 s: RetryTask" in messages[1]


def test_the_log_names_the_delay_of_retry_task(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    def handler(_: TaskContext) -> bytes:
        raise RetryTask(5, "soon")

    store.add_instance("i", [NewTask("t")])
    with PooledWorker(store, handler).spawn() as handle:
        while not caplog.records:
            store.wait_for_instance("i", 0.01)
        handle.shutdown()
    (record,) = caplog.records
    assert record.getMessage().endswith("failed, 1 of 3 attempts, will be retried in 5 s: soon")
    assert record.exc_info is not None
    assert store.get_task("i", "t").state is TaskState.SCHEDULED


@pytest.mark.parametrize("delay", [-1, "1", True, float("nan")])
def test_the_delay_of_retry_task_is_checked_when_it_is_made(delay: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="delay"):
        RetryTask(delay)
