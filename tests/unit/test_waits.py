"""Waiting methods of all stores wait exactly as long as the caller's timeout."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sqlite_claims import NewTask
from sqlite_claims.front import waiting
from sqlite_claims.memory import InMemoryClaimStore

WAITS: list[Callable[[InMemoryClaimStore, float], object]] = [
    lambda store, timeout: store.wait_for_tasks(timeout),
    lambda store, timeout: store.wait_for_instance("i", timeout),
]


@pytest.mark.parametrize("timeout", [0.25, 0.5, 3600])
@pytest.mark.parametrize("wait", WAITS, ids=["for tasks", "for an instance"])
def test_a_wait_in_vain_lasts_exactly_its_timeout(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[[InMemoryClaimStore, float], object], timeout: float
) -> None:
    """A simulated clock replaces the machine's. The simulated clock moves only while the store waits, and each wait
    lasts at most 1/4 s."""
    now, waited = 1000.0, 0.0

    def pass_time(seconds: float) -> None:
        nonlocal now, waited
        now += min(seconds, 0.25)
        waited += min(seconds, 0.25)

    def wait_backend(*_: object, timeout_s: float, **__: Any) -> None:
        pass_time(timeout_s)

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: now, sleep=pass_time))
    with InMemoryClaimStore() as store:
        store.add_instance("i", [NewTask("t")])
        store.claim_task("i", "t", "w", None)
        monkeypatch.setattr(store._backend, "wait_ready", wait_backend)
        monkeypatch.setattr(store._backend, "wait_commit", wait_backend)
        assert not wait(store, timeout)
        assert timeout <= waited < timeout + 0.01
