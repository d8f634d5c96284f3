"""Random histories: all stores give the same answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims.sqlite import lanes
from sqlite_claims.sqlite.operations import adding

from .machine import explore

# Number of histories in `make test`. Each history has 60 steps.
FEW = 20
# Number of histories in `make soak`, which also plays more and longer histories.
SLOW = 100


@pytest.mark.parametrize(
    ("own_lanes", "histories"),
    [
        ("none", FEW),
        pytest.param("none", SLOW, marks=pytest.mark.soak),
        pytest.param("many", SLOW, marks=pytest.mark.soak),
    ],
)
def test_whatever_is_done_to_them_all_stores_say_the_same(
    make_bench: Callable[..., Any],
    implementations: list[str],
    monkeypatch: pytest.MonkeyPatch,
    own_lanes: str,
    histories: int,
) -> None:
    if own_lanes == "many":
        # With this limit, some tasks of an instance are in shared lanes, some in own lanes. Sometimes no own lane is
        # free.
        monkeypatch.setattr(adding, "OWN_LANES_FROM", 4)
        monkeypatch.setattr(lanes, "OWN_MAX", 6)
    explore(
        make_bench,
        implementations,
        all_drawn=histories > FEW,
        derandomize=True,
        max_examples=histories,
        stateful_step_count=60,
    )


@pytest.mark.soak
def test_whatever_is_done_to_them_for_long_all_stores_say_the_same(
    make_bench: Callable[..., Any], implementations: list[str]
) -> None:
    explore(
        make_bench,
        implementations,
        derandomize=False,
        max_examples=int(os.environ.get("SQLITE_CLAIMS_MODEL_EXAMPLES", "2000")),
        stateful_step_count=120,
    )
