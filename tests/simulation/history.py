"""This module draws a history from a seed, plays it, and shrinks it if it fails.

``python -m tests.simulation.history SEED [STEPS]`` plays a history again and prints its shrunk form if it fails.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from sqlite_claims.sqlite.scan import core_available

from . import transactions  # noqa: F401 - the import registers an action
from .actions import ACTIONS, OF_THE_MACHINE, WEIGHTS, work_off
from .constants import small_constants
from .process import Process
from .world import Difference, World, claims

STEPS = 120
# The name of an action, and the seed for its random values.
Step = tuple[str, int]
_SHRINK_TRIES = 400


@dataclass(slots=True)
class Outcome:
    """The result of playing a history."""

    calls: int = 0
    step: int = -1  # the index of the step that began last
    failure: str = ""
    kind: str = ""  # the class of the failure; a shrunk history must fail with the same class
    kills: Counter[str] = field(default_factory=Counter)


def draw(seed: int, steps: int = STEPS) -> list[Step]:
    """Draw a history."""
    random = Random(seed)
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    return [(name, random.getrandbits(60)) for name in random.choices(names, weights, k=steps)]


def play(seed: int, steps: list[Step], *, to_the_end: bool = True) -> Outcome:
    """Play a history on a new machine. With ``to_the_end``, complete all remaining tasks after the last step."""
    outcome = Outcome()
    # The files of the simulation need not survive a power cut. In memory, the simulation is several times faster.
    shared_memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 - used for a new folder
    with tempfile.TemporaryDirectory(dir=shared_memory) as folder, small_constants(Random(f"constants {seed}")):
        world = World(Random(f"world {seed}"), Path(folder), with_core=core_available())
        try:
            for outcome.step, (name, drawn) in enumerate(steps):
                _step(world, name, drawn)
            if to_the_end:
                work_off(world)
                if damage := world.processes[0].store.check():
                    raise Difference(f"check at the end: {damage}")
            world.close()
        except (Exception, Difference) as error:  # noqa: BLE001 - the error is part of the outcome
            outcome.kind = type(error).__name__
            outcome.failure = f"{error}" if isinstance(error, Difference) else traceback.format_exc()
        outcome.calls, outcome.kills = world.calls, world.kills
    return outcome


def _step(world: World, name: str, drawn: int) -> None:
    """Run an action on a process chosen by the action's seed, then compare everything that can be read."""
    random = Random(drawn)
    process = random.choice(world.processes)

    def interleave(busy: Process) -> None:
        others = [other for other in world.processes if other is not busy]
        chosen = [other for other in ACTIONS if other not in OF_THE_MACHINE]
        within = random.choices(chosen, [WEIGHTS[other] for other in chosen])[0]
        ACTIONS[within](world, random, random.choice(others))

    world.interleave = interleave
    ACTIONS[name](world, random, process)
    _look(world, random)


def _look(world: World, random: Random) -> None:
    process = random.choice(world.processes)
    tasks = world.ask(process, lambda store: list(store.list_tasks()), may_be_killed=False)
    instances = world.ask(process, lambda store: list(store.list_instances()), may_be_killed=False)
    world.ask(process, claims, may_be_killed=False)
    world.ask(process, lambda store: store.stats(), may_be_killed=False)
    assert tasks is not None
    assert instances is not None
    if tasks[0]:
        some = random.choice(tasks[0])
        world.ask(process, lambda store: store.explain_task(some.instance_id, some.task_id), may_be_killed=False)
    counted: dict[str, Counter[str]] = {}
    for task in tasks[0]:
        counted.setdefault(task.instance_id, Counter())[task.state] += 1
    for instance in instances[0]:
        if +Counter(instance.counts) != counted.get(instance.instance_id, Counter()):
            raise Difference(f"{instance} counts otherwise than {counted.get(instance.instance_id)}")


def shrink(seed: int, steps: list[Step], kind: str) -> list[Step]:
    """Remove steps as long as the history fails with the same class of failure."""
    parts = 2
    for _ in range(_SHRINK_TRIES):
        size = max(1, len(steps) // parts)
        for start in range(0, len(steps), size):
            fewer = steps[:start] + steps[start + size :]
            outcome = play(seed, fewer, to_the_end=False)
            if outcome.kind == kind:
                steps = fewer[: outcome.step + 1]
                parts = max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(steps), parts * 2)
    return steps


def report(seed: int, steps: list[Step], outcome: Outcome) -> str:
    """Describe a failure: the command that repeats it, and the shortest history that shows it."""
    begun = steps[: outcome.step + 1]
    shrunk = shrink(seed, begun, outcome.kind)
    again = play(seed, shrunk, to_the_end=False)
    return (
        f"python -m tests.simulation.history {seed} {len(steps)}\n"
        f"failed at step {outcome.step}: {outcome.failure}\n\n"
        f"shrunk to {[name for name, _ in shrunk]}:\n{shrunk}\n"
        f"{again.failure or 'which fails only when all is worked off at the end'}"
    )


def main() -> None:
    """Play the history of a seed again."""
    seed = int(sys.argv[1])
    steps = draw(seed, int(sys.argv[2]) if len(sys.argv) > 2 else STEPS)
    outcome = play(seed, steps)
    print(report(seed, steps, outcome) if outcome.kind else f"{outcome.calls} calls, no difference")
    sys.exit(bool(outcome.kind))


if __name__ == "__main__":
    main()
