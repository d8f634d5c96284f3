"""All actions of the simulated processes, each with a relative frequency. An action draws all its values from the
generator that it is given, so any part of a history can be played again without the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from sqlite_claims import InstanceState, InvalidStateError, NewTask, NotFoundError, RetryPolicy, TaskState

from ..model.claims import SETTLE, SETTLE_MANY
from ..model.limits import RULES
from .process import Process
from .world import Difference, Pair, World

Action = Callable[[World, Random, Process], None]
ACTIONS: dict[str, Action] = {}
WEIGHTS: dict[str, float] = {}
# Actions that may affect every process. Because of that, these actions never run within a call of a process.
OF_THE_MACHINE = {"all_processes_die", "copy_is_put_to_work", "reboot", "kill_process", "machine_sleeps"}

INSTANCES = ["i", "j", "k", "l"]
WORKERS = ["w", "v", "u"]
TTLS = [None, 0, 0.2, 1, 10, 30, 30, 3600]
WORKER_TAGS = [None, None, None, [], ["a"], ["a", "b"], ["b", "c"]]
WORKER_KINDS = [None, None, None, None, ["x"], ["x", "y"], [""], ["", "y"], ["nothing"]]
POLICIES = [RetryPolicy(10, 2, 60, 0), RetryPolicy(0, 1, 0, 0), RetryPolicy(0.3, 1, 30, 0)]
OPEN = [TaskState.BLOCKED, TaskState.SCHEDULED, TaskState.READY, TaskState.CLAIMED]
DELAYS: list[Any] = [None, 0, 0.3, 10, 60]
DUE = [None] * 6 + [("delay", 10), ("delay", 0.25), ("at", -30), ("at", 20), ("at", 60), ("at", 0.4)]
_TASKS_MAX = 10
_SESSIONS_MAX = 4
_NO_SESSION: Pair = (None, None)


def action(weight: float) -> Callable[[Action], Action]:
    """Register an action. The weight is its relative frequency."""

    def register(function: Action) -> Action:
        ACTIONS[function.__name__] = function
        WEIGHTS[function.__name__] = weight
        return function

    return register


def new_tasks(world: World, random: Random) -> list[NewTask]:
    """Draw tasks. Some depend on other drawn tasks, and a few depend on a task that may or may not be stored."""
    now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.wall_us())
    numbers = sorted(random.sample(range(_TASKS_MAX), random.randint(1, 6)))
    tasks = []
    for number in numbers:
        earlier = [other for other in range(number) if other in numbers or random.random() < 0.05]
        due = random.choice(DUE)
        when: dict[str, Any] = {}
        if due is not None:
            when = {"delay": due[1]} if due[0] == "delay" else {"available_at": now + timedelta(seconds=due[1])}
        tasks.append(
            NewTask(
                f"t{number}",
                random.choice([None, None, b"", b"in"]),
                kind=random.choice([None, "x", "y"]),
                depends_on=[f"t{n}" for n in random.sample(earlier, min(len(earlier), random.choice([0, 0, 1, 2, 3])))],
                priority=random.randint(1, 5),
                tags=random.choice([[], [], ["a"], ["a", "b"], ["c"]]),
                max_attempts=random.randint(1, 3),
                max_lost=random.randint(1, 3),
                retry=random.choice(POLICIES),
                limit=random.choice([None, None, None, "a", "a:1", "a:2", "b:1"]),
                unique_key=random.choice([None] * 8 + ["k", "l"]),
                expires_at=random.choice([None] * 8 + [now + timedelta(seconds=20), now + timedelta(seconds=60)]),
                metadata=random.choice([None, None, {"a": "b"}]),
                **when,
            )
        )
    return tasks


def some_task(world: World, random: Random, states: list[TaskState] | None = None) -> tuple[str, str]:
    """Draw the name of a stored task or, sometimes, of a task that does not exist."""
    stored = [(task.instance_id, task.task_id) for task in world.oracle.list_tasks(states=states)]
    return random.choice([*stored, ("i", "nothing")])


def some_claim(world: World, random: Random) -> int:
    """Draw the index of a claim, preferably a recent one."""
    newest = max(0, len(world.claims) - 12) if random.random() < 0.8 else 0
    return random.randrange(newest, len(world.claims))


def _some_session(random: Random, process: Process) -> Pair:
    return random.choice(process.sessions) if process.sessions and random.random() < 0.6 else _NO_SESSION


def draw_settling(random: Random) -> Callable[[Any, Any], Any]:
    how, delay = random.choice(list(SETTLE.values())), random.choice(DELAYS)
    return lambda store, claim: how(store, claim, delay)


# -- adding


@action(5)
def add_instance(world: World, random: Random, process: Process) -> None:
    name, if_exists = random.choice(INSTANCES), random.choice(["skip", "error"])
    tasks = new_tasks(world, random) if random.random() < 0.95 else []
    world.ask(
        process,
        lambda store: store.add_instance(name, tasks, definition_hash=f"{name}/1", if_exists=if_exists),
        any_error=True,
    )


@action(5)
def add_tasks(world: World, random: Random, process: Process) -> None:
    name, tasks, if_exists = random.choice(INSTANCES), new_tasks(world, random), random.choice(["skip", "error"])
    world.ask(process, lambda store: store.add_tasks(name, tasks, if_exists=if_exists), any_error=True)


# -- finding and claiming


@action(6)
def find(world: World, random: Random, process: Process) -> None:
    worker, limit = random.choice(WORKERS), random.choice([1, 2, 3, 1000])
    tags, kinds = random.choice(WORKER_TAGS), random.choice(WORKER_KINDS)
    world.ask(
        process, lambda store: store.find_available_tasks(worker, limit, tags=tags, kinds=kinds), may_be_killed=False
    )
    world.ask(process, lambda store: store.wait_for_tasks(0, tags=tags, kinds=kinds), may_be_killed=False)


@action(14)
def claim(world: World, random: Random, process: Process) -> None:
    worker, limit, ttl = random.choice(WORKERS), random.choice([1, 1, 2, 3, 1000]), random.choice(TTLS)
    tags, kinds = random.choice(WORKER_TAGS), random.choice(WORKER_KINDS)
    claimed = world.ask(
        process,
        lambda store, session: store.claim_available_tasks(worker, limit, ttl, tags=tags, kinds=kinds, session=session),
        _some_session(random, process),
    )
    if claimed is not None:
        world.granted(([each.claim for each in claimed[0]], [each.claim for each in claimed[1]]))


@action(6)
def claim_by_name(world: World, random: Random, process: Process) -> None:
    names, worker, ttl = some_task(world, random), random.choice(WORKERS), random.choice(TTLS)
    claimed = world.ask(
        process,
        lambda store, session: store.claim_task(*names, worker, ttl, session=session),
        _some_session(random, process),
    )
    if claimed is not None and claimed[0] is not None:
        world.granted(([claimed[0]], [claimed[1]]))


@action(3)
def take_over_expired(world: World, random: Random, process: Process) -> None:
    ttl = random.choice(TTLS)
    for old, _ in [pair for pair in world.claims if pair[0].is_expired()][:4]:
        worker = random.choice(WORKERS)
        claimed = world.ask(
            process, lambda store, old=old, worker=worker: store.claim_task(old.instance_id, old.task_id, worker, ttl)
        )
        if claimed is not None and claimed[0] is not None:
            world.granted(([claimed[0]], [claimed[1]]))


# -- calls of holders, also of claims that were lost long ago


@action(5)
def renew(world: World, random: Random, process: Process) -> None:
    if not world.claims:
        return
    index, ttl = some_claim(world, random), random.choice(TTLS)
    renewed = world.ask(process, lambda store, held: store.renew_task_claim(held, ttl), world.claims[index])
    world.claims[index] = renewed or world.claims[index]


@action(22)
def settle(world: World, random: Random, process: Process) -> None:
    if not world.claims:
        claim(world, random, process)
        return
    held = world.claims.pop(some_claim(world, random))
    world.ask(process, draw_settling(random), held)
    world.settled.append(held)


@action(4)
def settle_again(world: World, random: Random, process: Process) -> None:
    if world.settled:
        world.ask(process, draw_settling(random), random.choice(list(world.settled)))


@action(5)
def settle_many(world: World, random: Random, process: Process) -> None:
    pool = [*world.claims[-6:], *list(world.settled)[-2:]]
    if pool:
        batch = [random.choice(pool) for _ in range(random.randint(1, 6))]
        world.ask(
            process,
            random.choice(list(SETTLE_MANY.values())),
            ([pair[0] for pair in batch], [pair[1] for pair in batch]),
        )


@action(4)
def release_or_extend_by_name(world: World, random: Random, process: Process) -> None:
    if not world.claims:
        return
    held, worker = world.claims[some_claim(world, random)][0], random.choice(WORKERS)
    names = held.instance_id, held.task_id, random.choice([held.worker_id, held.worker_id, worker])
    by = random.choice([None, 0, 5, 20])
    if by is None:
        world.ask(process, lambda store: store.release_task_claim(*names))
    else:
        world.ask(process, lambda store: store.extend_task_claim(*names, by))


# -- instances


@action(7)
def control(world: World, random: Random, process: Process) -> None:
    name, verb = random.choice(INSTANCES), random.choice(["pause", "pause", "resume", "resume", "resume", "cancel"])
    world.ask(process, lambda store: getattr(store, f"{verb}_instance")(name), takes_effect_first=True)


@action(5)
def retry(world: World, random: Random, process: Process) -> None:
    names = some_task(world, random, [TaskState.FAILED] if random.random() < 0.8 else None)
    world.ask(process, lambda store: store.retry_task(*names))


@action(3)
def work_for_a_while(world: World, random: Random, process: Process) -> None:
    """Claim and complete available tasks, so that some instances end."""
    worker = random.choice(WORKERS)
    for _ in range(random.randint(2, 6)):
        claimed = world.ask(process, lambda store: store.claim_available_tasks(worker, 5, 30))
        if claimed is None or not claimed[0]:
            return
        held = [each.claim for each in claimed[0]], [each.claim for each in claimed[1]]
        world.granted(held)
        world.ask(process, lambda store, claims: store.complete_tasks([(each, b"done") for each in claims]), held)


@action(3)
def prune(world: World, random: Random, process: Process) -> None:
    older_than, limit = random.choice([0, 0, 30]), random.choice([1, 1000])
    # Instances are pruned one by one, so other processes may see a state in which only some of them have been removed.
    world.ask(
        process,
        lambda store: store.prune(older_than, limit=limit),
        takes_effect_first=True,
        may_be_killed=limit == 1,
    )


@action(1)
def set_aging(world: World, random: Random, process: Process) -> None:
    interval = random.choice([None, None, 10, 25, 3600, 0.5])
    world.ask(process, lambda store: store.set_aging_interval(interval))


@action(1.5)
def set_or_remove_limit(world: World, random: Random, process: Process) -> None:
    name, bounds = random.choice(["a", "a", "b", "c"]), random.choice(RULES)
    if bounds is None:
        world.ask(process, lambda store: store.remove_limit(name))
    else:
        world.ask(process, lambda store: store.set_limit(name, **bounds))
    world.ask(process, lambda store: store.list_limits(), may_be_killed=False)


# -- processes and the machine


@action(4)
def worker_starts_or_ends(world: World, random: Random, process: Process) -> None:
    if not process.sessions or random.random() < 0.5:
        if len(process.sessions) < _SESSIONS_MAX:
            worker = random.choice(WORKERS)
            process.sessions.append((process.store.open_session(worker), world.oracle.open_session(worker)))
        return
    of_file, of_oracle = process.sessions.pop(random.randrange(len(process.sessions)))
    if random.random() < 0.5:
        of_file.close()
        of_oracle.close()
    else:
        of_file.drop()
        of_oracle.kill()
    world.sweep(process)


@action(1.5)
def kill_process(world: World, random: Random, process: Process) -> None:
    world.restart(process, killed=random.random() < 0.7)


@action(0.7)
def all_processes_die(world: World, random: Random, _: Process) -> None:
    world.go_down(random)


@action(0.5)
def copy_is_put_to_work(world: World, random: Random, _: Process) -> None:
    world.go_down(random, copied=True)


@action(0.5)
def reboot(world: World, random: Random, _: Process) -> None:
    world.go_down(random, reboot=True, copied=random.random() < 0.3)


@action(10)
def time_passes(world: World, random: Random, _: Process) -> None:
    world.clock.advance(random.choice([0.05, 0.2, 0.3, 1, 10, 10, 30, 60, 100]))


@action(1.5)
def wall_clock_is_set(world: World, random: Random, _: Process) -> None:
    world.clock.step_wall(random.choice([-86400, -3600, -20, 20, 3600]))


@action(1.2)
def machine_sleeps(world: World, random: Random, process: Process) -> None:
    world.note_time(process)
    world.clock.sleep(random.choice([0.2, 30, 3600]))
    world.note_time(random.choice(world.processes))


# -- reading


@action(2)
def read_everything(world: World, random: Random, process: Process) -> None:
    if damage := process.store.check():
        raise Difference(f"check: {damage}")
    for task in list(world.oracle.list_tasks()):
        names = task.instance_id, task.task_id
        world.ask(process, lambda store, names=names: store.explain_task(*names), may_be_killed=False)
        world.ask(process, lambda store, names=names: store.get_task(*names), may_be_killed=False)
    for state in TaskState:
        world.ask(process, lambda store, state=state: list(store.list_tasks(states=[state])), may_be_killed=False)
    for name in INSTANCES:
        world.ask(process, lambda store, name=name: store.get_instance(name), may_be_killed=False)
        world.ask(process, lambda store, name=name: list(store.list_tasks(name, limit=3)), may_be_killed=False)
    worker = random.choice(WORKERS)
    world.ask(process, lambda store: sorted(store.list_claims(worker), key=repr), may_be_killed=False)
    _nothing_ready_is_hidden(world, process)


def _nothing_ready_is_hidden(world: World, process: Process) -> None:
    """Check that each ready task without a limit of an instance in progress is offered."""
    found = world.ask(process, lambda store: store.find_available_tasks("onlooker", 1000), may_be_killed=False)
    assert found is not None
    offered = {(task.instance_id, task.task_id) for task in found[0]}
    in_progress = {each.instance_id for each in process.store.list_instances(states=[InstanceState.IN_PROGRESS])}
    for task in process.store.list_tasks(states=[TaskState.READY]):
        if task.limit is None and task.instance_id in in_progress and (task.instance_id, task.task_id) not in offered:
            raise Difference(f"{task.instance_id}/{task.task_id} is ready and not offered")


def work_off(world: World) -> None:
    """Resume all instances and complete all claimable tasks, until every task has ended."""
    for name in INSTANCES:
        try:
            for store in (world.processes[0].store, world.oracle):
                store.resume_instance(name)
        except (NotFoundError, InvalidStateError):  # the instance was cancelled
            continue
    for turn in range(4000):
        process = world.processes[turn % len(world.processes)]
        claimed = world.ask(process, lambda store: store.claim_available_tasks("z", 5, 30), may_be_killed=False)
        assert claimed is not None
        if claimed[0]:
            held = [each.claim for each in claimed[0]], [each.claim for each in claimed[1]]
            world.granted(held)
            world.ask(
                process,
                lambda store, claims: store.complete_tasks([(each, b"end") for each in claims]),
                held,
                may_be_killed=False,
            )
        elif not list(world.oracle.list_tasks(states=OPEN, limit=1)):
            return
        else:
            world.clock.advance(3700)
            for each in list(process.store.list_claims()):
                if each.expires_at is None:
                    names = each.instance_id, each.task_id, each.worker_id
                    world.ask(process, lambda store, names=names: store.release_task_claim(*names), may_be_killed=False)
    raise Difference(f"not every task ends: {world.oracle.stats()}")
