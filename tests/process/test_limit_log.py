"""The checker of the logs of processes with limits finds each kind of fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import limit_log

TASKS = {("i", "a"): "p", ("i", "b"): "p"}


def faults(folder: Path, *logs: list[list[Any]], **trouble: Any) -> list[str]:
    paths = []
    for number, events in enumerate(logs):
        paths.append(folder / f"log-{number}")
        paths[-1].write_text("".join(json.dumps(event) + "\n" for event in events))
    arguments = {"killed": {}, "cancelled": {}, **trouble}
    return limit_log.check(paths, TASKS, {"p": 1}, **arguments).faults


def claim(began: int, ended: int, wanted: int, *tasks: str) -> list[Any]:
    return ["claim", began, ended, wanted, [["i", task] for task in tasks]]


def settled(began: int, ended: int, how: str, task: str) -> list[list[Any]]:
    return [["settle", began, how, "i", task], ["settled", ended, how, "i", task]]


def test_two_tasks_that_run_at_the_same_time_break_the_limit(tmp_path: Path) -> None:
    log = [claim(1, 2, 1, "a"), claim(3, 4, 1, "b"), *settled(5, 6, "complete", "a"), *settled(7, 8, "complete", "b")]
    assert len(faults(tmp_path, log)) == 1


def test_a_call_that_finds_no_task_although_a_slot_is_free_is_a_fault(tmp_path: Path) -> None:
    log = [claim(1, 2, 1, "a"), *settled(3, 4, "complete", "a"), claim(5, 6, 1), claim(7, 8, 1, "b")]
    assert len(faults(tmp_path, log)) == 1


def test_calls_that_may_have_met_a_full_partition_are_no_faults(tmp_path: Path) -> None:
    one = [claim(1, 4, 1, "a"), *settled(7, 10, "release", "a"), claim(12, 13, 1, "a")]
    other = [claim(2, 3, 1), claim(8, 9, 1), claim(14, 15, 1)]
    assert faults(tmp_path, one, other) == []


def test_the_slot_of_a_killed_process_may_be_used_later(tmp_path: Path) -> None:
    one = [claim(1, 2, 1, "a")]
    other = [claim(5, 6, 1), claim(8, 9, 1, "a")]
    assert len(faults(tmp_path, one, other)) == 1
    assert faults(tmp_path, one, other, killed={tmp_path / "log-0": (3, 4)}) == []


def test_a_cancelled_instance_has_no_waiting_tasks(tmp_path: Path) -> None:
    log = [claim(1, 2, 1, "a"), *settled(5, 6, "lost", "a"), claim(7, 8, 1)]
    assert len(faults(tmp_path, log)) == 1
    assert faults(tmp_path, log, cancelled={"i": (3, 4)}) == []
