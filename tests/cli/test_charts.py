"""The bar of states and the line of rates on the screen of ``top``."""

from __future__ import annotations

from rich.console import Console

from sqlite_claims import NewTask
from sqlite_claims.cli.map.lines import line_digest, task_name
from sqlite_claims.cli.top.charts import rate_line, state_bar
from sqlite_claims.cli.top.main import _frame
from sqlite_claims.cli.top.sampler import Sampler
from sqlite_claims.model import TaskState

from .conftest import Cli

NONE = dict.fromkeys(TaskState, 0)


def lengths(counts: dict[TaskState, int], width: int) -> dict[str, int]:
    bar = state_bar({**NONE, **counts}, width)
    assert len(bar) in (0, width)
    return {str(span.style): span.end - span.start for span in bar.spans}


def test_the_length_of_each_colour_is_the_share_of_a_state() -> None:
    assert lengths({TaskState.COMPLETED: 50, TaskState.READY: 50}, 80) == {"green": 40, "blue": 40}


def test_a_rare_state_is_visible() -> None:
    assert lengths({TaskState.COMPLETED: 999_999, TaskState.FAILED: 1}, 80) == {"green": 79, "red": 1}


def test_without_tasks_or_room_there_is_no_bar() -> None:
    assert lengths({}, 80) == {}
    assert lengths({TaskState.READY: 1}, 3) == {}


def test_the_highest_rate_has_the_highest_level() -> None:
    assert rate_line([0.0, 35.0, 70.0], 10) == "▁▅█"
    assert rate_line([9.0, 0.0, 1.0], 2) == "▁█"
    assert rate_line([0.0, 0.0], 10) == "▁▁"
    assert rate_line([], 10) == ""


def test_charts_fit_the_terminal_and_are_left_out_without_one(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("i", [NewTask(f"t{number}") for number in range(3)])
        snapshot = Sampler(store).take()
    for width in (20, 80, 160):
        console = Console(width=width, force_terminal=True, color_system=None)
        with console.capture() as captured:
            console.print(_frame("title", snapshot, None, console=console, height=20, rates=[1.0] * 300))
        lines = captured.get().splitlines()
        assert "█" * width in lines
        assert max(map(len, lines)) <= width
        assert any(line.startswith("completed per secon") for line in lines)
    plain = Console(width=80, force_terminal=False)
    with plain.capture() as captured:
        plain.print(_frame("title", snapshot, None, console=plain, height=None, rates=[1.0, 2.0]))
    assert "█" not in captured.get()


def test_a_worker_is_shown_with_the_line_of_its_oldest_claim(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("i", [NewTask(task_name(line_digest(b"line 1"), 1), b"line \x1b1")])
        store.claim_available_tasks("worker", 1, 60)
    assert "line \\x1b1 of i" in cli("top", "--once").out
