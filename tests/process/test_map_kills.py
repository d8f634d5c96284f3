"""A killed ``map``: the processes and files that it leaves behind, and the next ``map`` on the same instance."""

from __future__ import annotations

import os
import signal

import pytest

from sqlite_claims.model import TaskState

from .map_runs import Runs, runs, wait_for

__all__ = ["runs"]

LINES = [f"line{number}" for number in range(30)]


def test_a_killed_run_and_its_commands_make_only_the_lines_that_were_running_run_twice(runs: Runs) -> None:
    runs.hold("line10", "line11", "line12")
    killed = runs.start("-j", "3", lines=LINES)
    runs.wait_for("start", "line10", "line11", "line12")
    os.killpg(killed.pid, signal.SIGKILL)
    for line in ("line10", "line11", "line12"):
        os.kill(runs.pid_of(line), signal.SIGKILL)
    killed.wait()
    before = runs.count("end")

    again = runs.start("-j", "3", lines=LINES)
    wait_for(lambda: all(runs.count("start")[line] == 2 for line in ("line10", "line11", "line12")))
    runs.let_go("line10", "line11", "line12")
    assert runs.finish(again).status == 0

    assert len(before) >= 10
    assert runs.count("end") == dict.fromkeys(LINES, 1)
    assert {line for line, starts in runs.count("start").items() if starts > 1} == {"line10", "line11", "line12"}


@pytest.mark.slow
def test_a_command_that_outlives_its_killed_parent_is_not_started_beside_itself(runs: Runs) -> None:
    runs.hold("line0")
    killed = runs.start("-j", "2", lines=["line0"])
    runs.wait_for("start", "line0")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()

    again = runs.start("-j", "2", lines=LINES)
    runs.wait_for("end", *LINES[1:])
    assert runs.tasks()[b"line0"].state is TaskState.CLAIMED
    runs.let_go("line0")
    assert runs.finish(again).status == 0

    assert runs.overlapping() == []
    assert runs.count("start") == {**dict.fromkeys(LINES, 1), "line0": 2}


@pytest.mark.slow
def test_a_script_that_uses_descriptors_of_its_own_keeps_its_task(runs: Runs) -> None:
    runs.hold("line0")
    script = "exec 3</dev/null 4<&3 5<&3 6<&3 7<&3 8<&3 9<&3; " + f'exec "{runs.act}" "$1"'
    command = ["sh", "-c", script, "sh"]
    killed = runs.start(lines=["line0"], command=command)
    runs.wait_for("start", "line0")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()

    again = runs.start(lines=LINES, command=command)
    runs.wait_for("end", *LINES[1:])
    assert runs.tasks()[b"line0"].state is TaskState.CLAIMED
    runs.let_go("line0")
    assert runs.finish(again).status == 0
    assert runs.overlapping() == []


@pytest.mark.slow
def test_two_runs_share_one_input_and_each_waits_for_the_other(runs: Runs) -> None:
    runs.hold("line0", "line1")
    first = runs.start("-j", "1", lines=LINES)
    runs.wait_for("start", "line0")
    second = runs.start("-j", "1", lines=LINES)
    runs.wait_for("start", "line1")
    runs.let_go("line1")
    runs.wait_for("end", *LINES[1:])
    assert second.poll() is None
    runs.let_go("line0")

    assert runs.finish(first).status == 0
    assert runs.finish(second).status == 0
    assert runs.count("start") == dict.fromkeys(LINES, 1)


def test_a_running_map_takes_over_what_a_killed_one_was_running(runs: Runs) -> None:
    runs.hold("line0", "line1")
    killed = runs.start("-j", "1", lines=LINES)
    runs.wait_for("start", "line0")
    other = runs.start("-j", "1", lines=LINES)
    runs.wait_for("start", "line1")
    os.killpg(killed.pid, signal.SIGKILL)
    os.kill(runs.pid_of("line0"), signal.SIGKILL)
    runs.let_go("line1")
    wait_for(lambda: runs.count("start")["line0"] == 2)
    runs.let_go("line0")

    assert runs.finish(other).status == 0
    assert runs.count("end") == dict.fromkeys(LINES, 1)


def test_two_commands_on_one_file_do_not_touch_each_others_lines(runs: Runs) -> None:
    runs.hold("line0")
    first = runs.start("-j", "1", lines=["line0", "line1"])
    runs.wait_for("start", "line0")
    second = runs.run("-j", "1", lines=["line0", "line1"], command=["echo", "other"])
    assert second.status == 0
    assert sorted(second.out.splitlines()) == [b"other line0", b"other line1"]
    runs.let_go("line0")
    assert runs.finish(first).status == 0


@pytest.mark.slow
def test_completed_lines_are_not_run_again_and_added_lines_are(runs: Runs) -> None:
    assert runs.run("-j", "2", lines=["a", "b", "a"]).status == 0
    assert runs.count("end") == {"a": 2, "b": 1}
    assert runs.run("-j", "2", lines=["b", "a", "a"]).status == 0
    assert runs.count("end") == {"a": 2, "b": 1}
    assert runs.run("-j", "2", lines=["a", "a", "c", "b", "a"]).status == 0
    assert runs.count("end") == {"a": 3, "b": 1, "c": 1}


def test_lines_are_worked_on_while_more_are_still_to_come(runs: Runs) -> None:
    read, write = os.pipe()
    process = runs.start("-j", "1", stdin=read)
    os.close(read)
    os.write(write, b"early\n")
    runs.wait_for("end", "early")
    os.write(write, b"late")
    os.close(write)
    assert runs.finish(process).status == 0
    assert runs.count("end") == {"early": 1, "late": 1}


def test_with_keep_order_the_outputs_of_a_killed_run_and_of_the_next_run_are_in_order(runs: Runs) -> None:
    runs.hold("line5")
    path = runs.folder / "output"
    with path.open("ab") as output:
        killed = runs.start("-k", "-j", "3", lines=LINES, stdout=output)
        runs.wait_for("start", "line5")
        runs.wait_for("end", *LINES[:5], *LINES[6:12])
        os.killpg(killed.pid, signal.SIGKILL)
        os.kill(runs.pid_of("line5"), signal.SIGKILL)
        killed.wait()
        again = runs.start("-k", "-j", "3", lines=LINES, stdout=output)
        wait_for(lambda: runs.count("start")["line5"] == 2)
        runs.let_go("line5")
        assert runs.finish(again).status == 0
    printed = [line for number, line in enumerate(path.read_text().splitlines()) if number == 0 or line]
    without_repeats = [line for number, line in enumerate(printed) if line not in printed[:number]]
    assert without_repeats == [f"did {line}" for line in LINES]
