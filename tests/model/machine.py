"""A Hypothesis state machine that makes the same calls on all stores and compares the stores.

All stores share one clock, which moves only when the machine advances it. The memory store is the oracle: all stores
must give the same answer or the same class of error for each call. After each step, everything that can be read must be
the same in all stores. The machine also checks that each change of state is in the diagrams of docs/state-machine.md.

Each subject has a module of rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ..conformance.transitions import Watch, drawn
from .claims import Claims
from .clocks import Clocks
from .instances import Instances
from .limits import Limits
from .schedules import Schedules
from .tasks import Tasks
from .whole import WholeStore


class SideBySide(Claims, Tasks, Instances, Limits, Schedules, WholeStore, Clocks):
    """The stores, and all calls that can be made on them."""


def explore(make_bench: Callable[..., Any], implementations: list[str], *, all_drawn: bool = True, **how: Any) -> None:
    """Play histories. With ``all_drawn``, fail if some field of a task or instance was never drawn."""
    # The asynchronous store runs the same synchronous store in a thread, so a comparison with the asynchronous store
    # would find nothing new.
    side_by_side = [name for name in implementations if name != "async"]
    watch = Watch()
    own = {"make_bench": staticmethod(make_bench), "implementations": side_by_side, "watch": watch}
    machine = type("Stores", (SideBySide,), own)
    run_state_machine_as_test(machine, settings=settings(database=None, phases=(Phase.generate, Phase.shrink), **how))
    tasks, instances = drawn()
    if all_drawn:
        assert (watch.tasks - tasks, watch.instances - instances) == (set(), set())
