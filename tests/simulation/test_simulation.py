"""Simulated machines with several processes on one file: kills between any two statements, calls of other processes
between any two transactions, sleeps, reboots, clock steps. After each step, the file must agree with the oracle."""

from __future__ import annotations

import os

import pytest

from ..tiers import first_is_fast
from . import history
from .history import STEPS

# In each history, about 700 calls are compared with the oracle.
_SEEDS_PER_TEST = 10
_TESTS = 8


def _play(seeds: range) -> history.Outcome:
    total = history.Outcome()
    for seed in seeds:
        steps = history.draw(seed)
        outcome = history.play(seed, steps)
        if outcome.kind:
            pytest.fail(history.report(seed, steps, outcome), pytrace=False)
        total.calls += outcome.calls
        total.kills += outcome.kills
    return total


@pytest.mark.parametrize("nth", first_is_fast(range(_TESTS)))
def test_many_processes_on_one_file_say_what_the_oracle_says(nth: int) -> None:
    total = _play(range(nth * _SEEDS_PER_TEST, (nth + 1) * _SEEDS_PER_TEST))
    # With fewer calls, the histories would have tested almost nothing.
    assert total.calls > 40 * STEPS
    assert total.kills["undone"]
    assert total.kills["nobody told"]


@pytest.mark.soak
def test_a_million_calls_say_what_the_oracle_says() -> None:
    wanted = int(os.environ.get("SQLITE_CLAIMS_SIMULATED_CALLS", "1000000"))
    first = int.from_bytes(os.urandom(4), "big")
    total, seed = history.Outcome(), first
    while total.calls < wanted:
        batch = _play(range(seed, seed + _SEEDS_PER_TEST))
        total.calls += batch.calls
        total.kills += batch.kills
        seed += _SEEDS_PER_TEST
    print(f"{total.calls:,} calls, seeds {first} to {seed - 1}, kills: {dict(total.kills)}")
