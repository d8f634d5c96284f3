"""The checker reports each kind of contradiction, and reports nothing for histories that are possible."""

from __future__ import annotations

import pytest

from .checker import NS, Call, History

A, B = 1, 2  # the ids of two processes


def grant(pid: int, token: int, began: float, ended: float, lease: float = 10.0) -> Call:
    return Call(pid, "claim", _ns(began), lease=lease, ended=_ns(ended), outcome="done", granted=[("t", token)])


def call(pid: int, name: str, token: int, began: float, ended: float, outcome: str = "done") -> Call:
    return Call(pid, name, _ns(began), "t", token, 10.0, _ns(ended), outcome)


def _ns(seconds: float) -> int:
    return round(seconds * NS)


def faults(*calls: Call, gone: dict[int, float] | None = None, stored: str | None = None) -> list[str]:
    return list(History(calls, gone or {}, {} if stored is None else {"t": stored}).faults())


CONTRADICTIONS = {
    "granted twice": ([grant(A, 1, 0, 1), grant(B, 1, 20, 21)], None),
    "after a larger one": ([grant(A, 2, 0, 1), grant(B, 1, 20, 21)], None),
    "while 1 held 1": ([grant(A, 1, 0, 1), grant(B, 2, 3, 4)], None),
    "after its claim had ended": ([grant(A, 1, 0, 1), grant(B, 2, 20, 21), call(A, "renew", 1, 22, 23)], None),
    "done after its claim had ended": (
        [grant(A, 1, 0, 1), call(A, "release", 1, 2, 3), call(A, "complete", 1, 4, 5)],
        "1:1",
    ),
    "nothing had ended it": ([grant(A, 1, 0, 1), call(A, "renew", 1, 2, 3, "lost")], None),
    "although token 1 had completed it": (
        [grant(A, 1, 0, 1), call(A, "complete", 1, 2, 3), grant(B, 2, 20, 21)],
        "1:1",
    ),
    "the store holds None": ([grant(A, 1, 0, 1), call(A, "complete", 1, 2, 3)], None),
    "which nobody gave": ([grant(A, 1, 0, 1), call(A, "renew", 1, 2, 3)], "1:1"),
    "completed more than once": (
        [
            grant(A, 1, 0, 1),
            call(A, "complete", 1, 2, 30),
            grant(B, 2, 20, 21),
            call(B, "complete", 2, 22, 23),
        ],
        "2:2",
    ),
    "nobody had tried": ([grant(A, 1, 0, 1)], "1:1"),
}


@pytest.mark.parametrize("message", CONTRADICTIONS)
def test_a_contradiction_is_told(message: str) -> None:
    calls, stored = CONTRADICTIONS[message]
    assert any(message in fault for fault in faults(*calls, stored=stored))


def test_a_renewed_claim_is_not_to_be_taken_over() -> None:
    renewed = [grant(A, 1, 0, 1), call(A, "renew", 1, 8, 9)]
    assert faults(*renewed, grant(B, 2, 12, 13))
    assert not faults(*renewed, grant(B, 2, 19, 20))


POSSIBLE = {
    "taken over after its expiry": [grant(A, 1, 0, 1), grant(B, 2, 10, 11), call(A, "complete", 1, 12, 13, "lost")],
    "taken over as it expires": [grant(A, 1, 0, 1), grant(B, 2, 9, 11)],
    "done while it is taken over": [grant(A, 1, 0, 1), call(A, "renew", 1, 9, 30), grant(B, 2, 10, 11)],
    "given up by a call that was cut short": [
        grant(A, 1, 0, 1),
        Call(A, "release", _ns(2), "t", 1),
        grant(B, 2, 3, 4),
    ],
    "lost to a claim that was cut short": [
        grant(A, 1, 0, 1),
        Call(B, "claim", _ns(11), lease=10.0),
        call(A, "renew", 1, 12, 13, "lost"),
    ],
    "refused calls change nothing": [
        grant(A, 1, 0, 1),
        call(A, "complete", 1, 2, 3, "refused"),
        call(A, "renew", 1, 4, 5),
    ],
}


@pytest.mark.parametrize("what", POSSIBLE)
def test_a_possible_history_is_accepted(what: str) -> None:
    assert faults(*POSSIBLE[what]) == []


def test_a_killed_process_holds_nothing() -> None:
    assert faults(grant(A, 1, 0, 1), grant(B, 2, 3, 4), gone={A: _ns(2)}) == []
    assert faults(grant(A, 1, 0, 1), grant(B, 2, 3, 4), gone={A: _ns(5)})


def test_a_completion_that_was_cut_short_may_be_there_or_not() -> None:
    calls = [grant(A, 1, 0, 1), Call(A, "complete", _ns(2), "t", 1)]
    assert faults(*calls, stored="1:1") == []
    assert faults(*calls) == []
