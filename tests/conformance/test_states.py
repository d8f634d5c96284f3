"""A store makes every state transition in the diagrams of docs/state-machine.md, and no other transitions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlite_claims import NewTask
from sqlite_claims.testing import ManualClock

from .transitions import Watch, drawn


def test_tasks_and_instances_go_from_state_to_state_as_is_drawn(bench: Any, clock: ManualClock) -> None:
    watch = Watch()

    def do(what: str, *args: Any, **how: Any) -> Any:
        result = getattr(bench.store, what)(*args, **how)
        watch.look(bench.store)
        return result

    def claim(task_id: str, instance_id: str = "i", ttl: float | None = 30, **how: Any) -> Any:
        claimed = do("claim_task", instance_id, task_id, "w", ttl, **how)
        assert claimed is not None
        return claimed

    def wait(seconds: float) -> None:
        clock.advance(seconds)
        watch.look(bench.store)

    def set_the_wall_clock(by: float) -> None:
        clock.step_wall(by)
        watch.look(bench.store)

    day = datetime.fromtimestamp(clock.wall_us() / 1e6 + 3, UTC)
    do("add_instance", "i", [NewTask("a"), NewTask("b", depends_on=["a"]), NewTask("c", depends_on=["a"], delay=5)])
    do("add_tasks", "i", [NewTask("d", delay=5), NewTask("day", available_at=day)])
    do("release_task", claim("a"))
    do("release_task", claim("a"), delay=3)
    wait(3)
    set_the_wall_clock(-3600)
    set_the_wall_clock(3600)
    do("fail_task", claim("a"), "again")
    wait(10)
    claim("a")
    wait(30)
    do("complete_task", claim("a"))
    wait(5)
    session = do("open_session", "w")
    claim("b", ttl=None, session=session)
    bench.kill(session)
    do("find_available_tasks", "v", 1)
    for name in ("b", "c", "d", "day"):
        do("complete_task", claim(name))

    do("add_tasks", "i", [NewTask("e", max_lost=1), NewTask("f", depends_on=["e"])])
    claim("e")
    wait(30)
    do("find_available_tasks", "v", 1)
    do("retry_task", "i", "e")
    do("fail_task", claim("e"), "no", retry=False)

    for name in ("to complete", "to fail", "to resume", "to cancel"):
        do("add_instance", name, [NewTask("held")])
        held = claim("held", name)
        do("pause_instance", name)
        if name == "to complete":
            do("complete_task", held)
        elif name == "to fail":
            do("fail_task", held, "no", retry=False)
        elif name == "to resume":
            do("resume_instance", name)
    do("add_tasks", "to resume", [NewTask("ready"), NewTask("later", delay=5), NewTask("next", depends_on=["held"])])
    do("cancel_instance", "to resume")
    do("cancel_instance", "to cancel")

    soon = datetime.fromtimestamp(clock.wall_us() / 1e6 + 3, UTC)
    for name, delay in (("to expire", None), ("to expire later", 5)):
        do("add_instance", name, [NewTask("t", delay=delay, expires_at=soon)])
    do("pause_instance", "to expire later")
    wait(3)
    do("find_available_tasks", "v", 1)
    do("add_tasks", "to expire", [NewTask("u")])

    assert (watch.tasks, watch.instances) == drawn()
