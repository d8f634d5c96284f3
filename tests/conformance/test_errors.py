"""In every store, an error about an instance or a task has the name of that instance or task as an attribute."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import AlreadyExistsError, BackendError, ClaimLostError, InvalidStateError, NewTask, NotFoundError

# Each case is a call that fails, the class of the error, and the instance and task that the error names.
CASES: list[tuple[Callable[[Any, Any], object], type[BackendError], str | None, str | None]] = [
    (lambda store, _: store.get_task("i", "gone"), NotFoundError, "i", "gone"),
    (lambda store, _: store.get_instance("gone"), NotFoundError, "gone", None),
    (lambda store, _: store.claim_task("i", "gone", "w", 1), NotFoundError, "i", "gone"),
    (lambda store, _: store.release_task_claim("i", "t", "w"), NotFoundError, "i", "t"),
    (lambda store, _: store.release_task_claim("i", "held", "v"), ClaimLostError, "i", "held"),
    (lambda store, claim: store.complete_task(claim, b""), ClaimLostError, "i", "lost"),
    (lambda store, _: store.pause_instance("gone"), NotFoundError, "gone", None),
    (lambda store, _: store.retry_task("i", "gone"), NotFoundError, "i", "gone"),
    (lambda store, _: store.retry_task("i", "t"), InvalidStateError, "i", "t"),
    (lambda store, _: store.resume_instance("over"), InvalidStateError, "over", None),
    (lambda store, _: store.add_instance("i"), AlreadyExistsError, "i", None),
    (lambda store, _: store.add_tasks("i", [NewTask("t")]), AlreadyExistsError, "i", "t"),
    (lambda store, _: store.add_tasks("gone", [NewTask("t")]), NotFoundError, "gone", None),
    (lambda store, _: store.add_tasks("over", [NewTask("t")]), InvalidStateError, "over", None),
    (lambda store, _: store.find_available_tasks("", 1), BackendError, None, None),
]


@pytest.mark.parametrize(("call", "kind", "instance_id", "task_id"), CASES)
def test_an_error_names_its_instance_and_task(
    store: Any,
    call: Callable[[Any, Any], object],
    kind: type[BackendError],
    instance_id: str | None,
    task_id: str | None,
) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("held"), NewTask("lost")])
    store.add_instance("over")
    store.cancel_instance("over")
    store.claim_task("i", "held", "w", 30)
    lost = store.claim_task("i", "lost", "w", 30)
    store.release_task(lost)
    with pytest.raises(kind) as raised:
        call(store, lost)
    for error in (raised.value, copy.copy(raised.value)):
        assert (error.instance_id, error.task_id) == (instance_id, task_id)
