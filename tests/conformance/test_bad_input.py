"""Each method rejects each bad argument with an error that names the argument, and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sqlite_claims import (
    BackendError,
    InMemoryClaimStore,
    InvalidArgumentError,
    InvalidStateError,
    NewTask,
    StoreClosedError,
)
from sqlite_claims.testing import ManualClock

NAMES = [None, 5, b"name", ["name"], "", "a\0b", "\ud800", "x" * 257, "ä" * 129]
DURATIONS = [-1, -0.000001, math.nan, math.inf, -math.inf, 1e300, 10**30, True, "5", timedelta(seconds=-1)]
LIMITS = [-1, -(2**70), 1.0, "1", True, None]
COLLECTIONS = ["text", b"bytes", 5]
BAD_KINDS = [*COLLECTIONS, ["*"], [None], [5], ["a\0b"], ["x" * 257], ["\ud800"]]
BAD_TAGS = [*COLLECTIONS, [""], [None], [5], ["a\0b"], ["x" * 257], ["\ud800"]]
STATES = ["ready", b"ready", 5, ["nonsense"], [None], [5]]
CLAIMS = [None, "claim", ("i", "t", 1), 5]

# For each method: good values for all arguments, then bad values for each single argument.
CLAIM = object()
METHODS: dict[str, tuple[dict[str, Any], dict[str, list[Any]]]] = {
    "claim_task": (
        {"instance_id": "i", "task_id": "t", "worker_id": "w", "ttl": 30},
        {"instance_id": NAMES, "task_id": NAMES, "worker_id": NAMES, "ttl": DURATIONS, "session": [5, "w", object()]},
    ),
    "release_task_claim": (
        {"instance_id": "i", "task_id": "held", "worker_id": "w"},
        {"instance_id": NAMES, "task_id": NAMES, "worker_id": NAMES},
    ),
    "extend_task_claim": (
        {"instance_id": "i", "task_id": "held", "worker_id": "w", "additional_duration": 30},
        {
            "instance_id": NAMES,
            "task_id": NAMES,
            "worker_id": NAMES,
            "additional_duration": [*DURATIONS, None, timedelta(days=3_000_000)],
        },
    ),
    "find_available_tasks": (
        {"worker_id": "w", "limit": 1},
        {"worker_id": NAMES, "limit": LIMITS, "tags": BAD_TAGS, "kinds": BAD_KINDS},
    ),
    "claim_available_tasks": (
        {"worker_id": "w", "limit": 1, "ttl": 30},
        {
            "worker_id": NAMES,
            "limit": LIMITS,
            "ttl": DURATIONS,
            "tags": BAD_TAGS,
            "kinds": BAD_KINDS,
            "session": [5, "w", object()],
        },
    ),
    "renew_task_claim": ({"claim": CLAIM, "ttl": 30}, {"claim": CLAIMS, "ttl": DURATIONS}),
    "complete_task": ({"claim": CLAIM, "output": b""}, {"claim": CLAIMS, "output": ["text", 5, None, [1]]}),
    "fail_task": (
        {"claim": CLAIM, "error": "no"},
        {"claim": CLAIMS, "error": [None, b"no", 5, ValueError("no")], "retry": [1, "no", None], "retry_in": DURATIONS},
    ),
    "release_task": ({"claim": CLAIM}, {"claim": CLAIMS, "delay": DURATIONS}),
    "renew_task_claims": ({"claims": [], "ttl": 30}, {"ttl": DURATIONS}),
    "add_instance": (
        {"instance_id": "new", "tasks": []},
        {
            "instance_id": NAMES,
            "tasks": [None, 5, "text", ["t"], [None], [("t", b"")]],
            "definition_hash": [name for name in NAMES if name != ""],
            "if_exists": [None, "", "ignore", True, 5, ["skip"]],
        },
    ),
    "add_tasks": (
        {"instance_id": "i", "tasks": [NewTask("new")]},
        {
            "instance_id": NAMES,
            "tasks": [None, 5, "text", ["t"], [None], [("t", b"")]],
            "if_exists": [None, "", "ignore", True, 5, ["skip"]],
        },
    ),
    "pause_instance": ({"instance_id": "i"}, {"instance_id": NAMES}),
    "resume_instance": ({"instance_id": "i"}, {"instance_id": NAMES}),
    "cancel_instance": ({"instance_id": "i"}, {"instance_id": NAMES, "reason": [5, b"no", ["no"]]}),
    "retry_task": ({"instance_id": "i", "task_id": "t"}, {"instance_id": NAMES, "task_id": NAMES}),
    "get_task": ({"instance_id": "i", "task_id": "t"}, {"instance_id": NAMES, "task_id": NAMES}),
    "explain_task": ({"instance_id": "i", "task_id": "t"}, {"instance_id": NAMES, "task_id": NAMES}),
    "get_instance": ({"instance_id": "i"}, {"instance_id": NAMES}),
    "wait_for_instance": (
        {"instance_id": "i", "timeout": 0},
        {"instance_id": NAMES, "timeout": [*DURATIONS, None]},
    ),
    "wait_for_tasks": ({"timeout": 0}, {"timeout": [*DURATIONS, None], "tags": BAD_TAGS, "kinds": BAD_KINDS}),
    "list_instances": ({}, {"states": STATES, "limit": [bad for bad in LIMITS if bad is not None]}),
    "list_tasks": (
        {},
        {
            "instance_id": [name for name in NAMES if name is not None],
            "states": STATES,
            "kinds": BAD_KINDS,
            "limit": [bad for bad in LIMITS if bad is not None],
        },
    ),
    "list_claims": ({}, {"worker_id": [name for name in NAMES if name is not None]}),
    "transaction": ({}, {"timeout": [*DURATIONS, None]}),
    "set_aging_interval": ({"interval": 60}, {"interval": [*DURATIONS, 0, 0.0, timedelta(0), 1e-9]}),
    "prune": ({"older_than": 60}, {"older_than": [*DURATIONS, None], "limit": LIMITS}),
    "open_session": ({"worker_id": "w"}, {"worker_id": NAMES}),
}


def _call(store: Any, method: str, given: dict[str, Any]) -> Any:
    held = store.get_task("i", "held").claim
    return _use(getattr(store, method)(**{name: held if value is CLAIM else value for name, value in given.items()}))


def _use(result: Any) -> Any:
    """Call a method and use the result, because a method that returns an iterator checks its arguments only at the
    first step."""
    if hasattr(result, "__next__"):
        return list(result)
    if hasattr(result, "__enter__") and not hasattr(result, "worker_id"):
        with result:
            pass
    return result


@pytest.fixture
def furnished(store: Any) -> Any:
    store.add_instance("i", [NewTask("t"), NewTask("held")])
    store.claim_task("i", "held", "w", 30)
    return store


CASES = [(method, argument) for method, (_, arguments) in METHODS.items() for argument in arguments]


def _is_refused(act: Callable[..., Any], argument: str, given: dict[str, Any]) -> bool:
    try:
        act(**given)
    except InvalidArgumentError as error:
        return argument in str(error)
    return False


@pytest.mark.parametrize(("method", "argument"), CASES)
def test_a_bad_argument_is_refused_by_its_name_and_nothing_has_changed(
    furnished: Any, seen: Callable[[], Any], method: str, argument: str
) -> None:
    good, arguments = METHODS[method]
    before = seen()

    def call(**given: Any) -> None:
        _call(furnished, method, given)

    taken = [ascii(bad) for bad in arguments[argument] if not _is_refused(call, argument, good | {argument: bad})]
    assert taken == []
    assert seen() == before


IN_TRANSACTION = [
    "claim_task", "release_task_claim", "extend_task_claim", "claim_available_tasks", "renew_task_claim",
    "complete_task", "fail_task", "release_task", "renew_task_claims", "add_instance", "add_tasks",
    "pause_instance", "resume_instance", "cancel_instance", "retry_task", "get_task", "get_instance",
]  # fmt: skip


@pytest.mark.parametrize("method", IN_TRANSACTION)
def test_a_transaction_refuses_bad_arguments_too_and_goes_on(
    furnished: Any, seen: Callable[[], Any], method: str
) -> None:
    good, arguments = METHODS[method]
    held = furnished.get_task("i", "held").claim
    before = seen()
    with furnished.transaction() as tx:
        for argument, values in arguments.items():
            given = {name: held if value is CLAIM else value for name, value in good.items()}
            with pytest.raises(InvalidArgumentError, match=argument):
                getattr(tx, method)(**given | {argument: values[0]})
    assert seen() == before


# Cases in which several values together are bad. Each case is a method and its arguments.
GRAPHS = [
    [NewTask("a"), NewTask("a")],
    [NewTask("a", depends_on=["b"]), NewTask("b", depends_on=["a"])],
    [NewTask("a", depends_on=["b"]), NewTask("b", depends_on=["c"]), NewTask("c", depends_on=["b"])],
    [NewTask("a", depends_on=["nowhere"])],
]
BATCHES = [None, 5, "text", [None], [5], ["claim"], [("t", b"")], [("claim",)], [(CLAIM, 5)]]
MORE_CASES: list[tuple[str, dict[str, Any]]] = [
    *(("add_instance", {"instance_id": "new", "tasks": graph}) for graph in GRAPHS),
    *(("add_tasks", {"instance_id": "i", "tasks": graph}) for graph in GRAPHS),
    *(("complete_tasks", {"results": batch}) for batch in BATCHES),
    *(("fail_tasks", {"failures": batch}) for batch in BATCHES),
    *(("renew_task_claims", {"claims": batch, "ttl": 30}) for batch in BATCHES),
    *(("release_tasks", {"claims": batch}) for batch in BATCHES),
]


def _message(on: Any, held: Any, method: str, given: dict[str, Any]) -> str:
    """Return the error message of a store or transaction for these arguments."""

    def with_claim(value: Any) -> Any:
        if isinstance(value, list):
            return [with_claim(part) for part in value]
        if isinstance(value, tuple):
            return tuple(with_claim(part) for part in value)
        return held if value is CLAIM else value

    with pytest.raises(InvalidArgumentError) as raised:
        _use(getattr(on, method)(**{name: with_claim(value) for name, value in given.items()}))
    return str(raised.value)


@pytest.fixture
def oracle(clock: ManualClock) -> InMemoryClaimStore:
    store = InMemoryClaimStore(clock=clock)
    store.add_instance("i", [NewTask("t"), NewTask("held")])
    store.claim_task("i", "held", "w", 30)
    return store


@pytest.mark.parametrize("method", dict.fromkeys([*METHODS, *(method for method, _ in MORE_CASES)]))
def test_every_store_says_the_same_of_a_bad_argument(furnished: Any, oracle: InMemoryClaimStore, method: str) -> None:
    good, arguments = METHODS.get(method, ({}, {}))
    cases = [good | {argument: bad} for argument, values in arguments.items() for bad in values]
    cases += [given for name, given in MORE_CASES if name == method]
    held, oracles = (store.get_task("i", "held").claim for store in (furnished, oracle))
    expected = [_message(oracle, oracles, method, given) for given in cases]
    assert [_message(furnished, held, method, given) for given in cases] == expected
    with furnished.transaction() as tx:
        if hasattr(tx, method):
            assert [_message(tx, held, method, given) for given in cases] == expected


@pytest.mark.parametrize("method", ["claim_task", "claim_available_tasks"])
def test_every_store_says_the_same_of_a_closed_session(furnished: Any, oracle: InMemoryClaimStore, method: str) -> None:
    said = []
    for store in (furnished, oracle):
        session = store.open_session("w")
        session.close()
        said.append(_message(store, None, method, METHODS[method][0] | {"session": session}))
    assert said[0] == said[1]


@pytest.mark.parametrize("method", METHODS)
def test_a_closed_store_refuses_everything(furnished: Any, method: str) -> None:
    held = furnished.get_task("i", "held").claim
    furnished.close()
    given = {name: held if value is CLAIM else value for name, value in METHODS[method][0].items()}
    with pytest.raises(StoreClosedError):
        _use(getattr(furnished, method)(**given))
    furnished.close()


def test_a_closed_store_refuses_its_lists_properties_and_checks_too(bench: Any) -> None:
    store = bench.store
    store.add_instance("i", [NewTask("t")])
    store.add_instance("j", [NewTask("t")])
    store.close()
    for ask in (
        lambda: store.find_available_tasks("w", 0),
        lambda: store.claim_available_tasks("w", kinds=[]),
        lambda: list(store.list_workers()),
        lambda: store.aging_interval,
        store.stats,
        store.check,
        lambda: store.backup("/nowhere/copy.db"),
    ):
        with pytest.raises(StoreClosedError):
            ask()


def test_a_store_is_not_closed_within_a_transaction(bench: Any) -> None:
    store = bench.store
    with store.transaction() as tx:
        with pytest.raises(InvalidStateError):
            store.close()
        tx.add_instance("i")
    assert store.get_instance("i").instance_id == "i"


def test_leaving_the_with_block_closes_the_store(bench: Any) -> None:
    with bench.store as store:
        store.add_instance("i")
    with pytest.raises(StoreClosedError):
        store.get_instance("i")


def test_every_error_of_ours_has_one_base() -> None:
    import sqlite_claims

    errors = [getattr(sqlite_claims, name) for name in sqlite_claims.__all__ if name.endswith("Error")]
    assert len(errors) == 13
    assert all(issubclass(error, BackendError) for error in errors)
